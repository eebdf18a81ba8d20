//! `POST /api/auth/users/set_password/`.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use utoipa::ToSchema;

use super::GivenPassword;
use crate::{
    django::{Form, Refusal, TextRule},
    request_id::RequestId,
    state::Http,
};

/// A new password, and the current one.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({"new_password": "N3w-Passw0rd!!", "current_password": "Str0ng-Passw0rd!"}))]
#[expect(dead_code, reason = "documents what the form reads")]
pub(crate) struct PasswordChange {
    /// Blanks around it are dropped.
    new_password: String,
    /// Your password until now.
    current_password: String,
}

/// Change your password. All your sessions end at once.
#[utoipa::path(post, path = "/api/auth/users/set_password/", tag = "users", security(("bearer" = [])),
    request_body = PasswordChange, responses((status = 204, description = "Changed"),
    (status = 400, description = "Messages by field", body = Object,
        example = json!({"new_password": ["This password is too common."]}))))]
pub(crate) async fn set_password(State(http): State<Http>, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let caller = http.caller(&parts.headers)?;
    let mut form = Form::read(&parts, &http.read(body).await?)?;
    let new = form.text("new_password", TextRule::REQUIRED);
    let current = GivenPassword::from_form(&mut form, "current_password");
    form.finish()?;
    let (Some(new), Some(current)) = (new, current) else {
        return Err(Refusal::defect("a required field is missing"));
    };
    let request_id = RequestId::from_extensions(&parts.extensions);
    let mut outcome = http.app.set_password(&caller, &current.sent, &new, request_id.as_str()).await;
    if let Some(trimmed) = current.second_try(&outcome) {
        outcome = http.app.set_password(&caller, trimmed, &new, request_id.as_str()).await;
    }
    outcome?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
