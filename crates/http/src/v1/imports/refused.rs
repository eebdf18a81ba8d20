//! `GET /api/v1/imports/{id}/refused`: the rows that were refused, and why.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{import_id, problem_of};
use crate::{
    django::json,
    pagination::{ListQuery, cursor_text},
    problem::{Problem, ProblemBody},
    state::Http,
    v1::IdInPath,
};

/// A row that was refused.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"line": 17, "code": "insufficient_funds", "detail": "Available: 1.00, required: 5.00."}))]
pub(crate) struct RefusedRow {
    /// The number of the line that the row begins on, from 1.
    line: u64,
    /// Why, for programs: the codes of a batch's results.
    code: String,
    /// Why, for people.
    detail: String,
}

/// A page of refused rows.
#[derive(Serialize, ToSchema)]
pub(crate) struct RefusedPage {
    /// In the order of their lines; at most 1 000.
    #[schema(value_type = Vec<RefusedRow>)]
    items: Box<RawValue>,
    /// Ask with it as `cursor` for what follows; null at the end.
    next_cursor: Option<String>,
}

/// The rows of an import that were refused so far.
#[utoipa::path(get, path = "/api/v1/imports/{id}/refused", tag = "admin", security(("bearer" = [])),
    params(("id" = uuid::Uuid, Path, description = "The import"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before")),
    responses((status = 200, description = "A page", body = RefusedPage),
    (status = 400, description = "`validation_error`", body = ProblemBody<'_>),
    (status = 403, description = "`permission_denied`: not staff", body = ProblemBody<'_>),
    (status = 404, description = "`import_not_found`", body = ProblemBody<'_>)))]
pub(crate) async fn list_refused(
    State(http): State<Http>,
    path: IdInPath,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let caller = http.staff(&parts).await?;
    let id = import_id(&path)?;
    let mut query = ListQuery::read(&parts, &["cursor"])?;
    let after = query.cursor(|text| text.parse().ok());
    query.finish()?;
    let page = http.app.list_refusals(&caller, id, after.unwrap_or(0)).await.map_err(problem_of)?;
    let items = RawValue::from_string(page.json).map_err(|_| Problem::internal())?;
    Ok(json(StatusCode::OK, &RefusedPage { items, next_cursor: cursor_text(page.next) }))
}
