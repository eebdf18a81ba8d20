//! `PATCH /api/v1/admin/users/{number}`: enabling and disabling a user.

use axum::{
    extract::{Path, Request, State, rejection::PathRejection},
    http::StatusCode,
    response::Response,
};
use serde::Deserialize;
use utoipa::ToSchema;

use super::users::StaffUser;
use crate::{
    django::{Form, json},
    problem::{Problem, ProblemBody},
    request_id::RequestId,
    state::Http,
};

/// What may change.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({"is_active": false}))]
#[expect(dead_code, reason = "documents what the form reads")]
pub(crate) struct StaffUserChange {
    /// A disabled user cannot sign in, and all sessions end at once.
    is_active: bool,
}

/// Enable or disable a user.
#[utoipa::path(patch, path = "/api/v1/admin/users/{number}", tag = "admin", security(("bearer" = [])),
    params(("number" = i64, Path, description = "The user's number")), request_body = StaffUserChange,
    responses((status = 200, description = "The user, changed", body = StaffUser<'_>),
    (status = 400, description = "`validation_error`, `parse_error`", body = ProblemBody<'_>),
    (status = 403, description = "`permission_denied`", body = ProblemBody<'_>),
    (status = 404, description = "`user_not_found`", body = ProblemBody<'_>)))]
pub(crate) async fn set_active(
    State(http): State<Http>,
    number: Result<Path<i64>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let caller = http.staff(&parts).await?;
    let Ok(Path(number)) = number else { return Err(Problem::not_found("user_not_found", "User not found")) };
    let mut form = Form::read(&parts, &http.read(body).await?)?;
    let active = form.flag("is_active");
    form.finish()?;
    let request_id = RequestId::from_extensions(&parts.extensions);
    let user = http.app.set_active(&caller, number, active.unwrap_or_default(), request_id.as_str()).await?;
    Ok(json(StatusCode::OK, &StaffUser::from(&user)))
}
