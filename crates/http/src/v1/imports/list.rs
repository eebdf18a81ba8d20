//! `GET /api/v1/imports`: all imports, newest first.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{ImportBody, problem_of};
use crate::{
    django::json,
    pagination::{ListQuery, cursor_text},
    problem::{Problem, ProblemBody},
    state::Http,
};

/// A page of imports.
#[derive(Serialize, ToSchema)]
pub(crate) struct ImportPage<'a> {
    /// Newest first.
    items: Vec<ImportBody<'a>>,
    /// Ask with it as `cursor` for what follows; null at the end.
    next_cursor: Option<String>,
}

/// Imports, newest first.
#[utoipa::path(get, path = "/api/v1/imports", tag = "admin", security(("bearer" = [])),
    params(("limit" = Option<u16>, Query, description = "1 to 200; 50 without it"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before")),
    responses((status = 200, description = "A page", body = ImportPage<'_>),
    (status = 400, description = "`validation_error`", body = ProblemBody<'_>),
    (status = 403, description = "`permission_denied`: not staff", body = ProblemBody<'_>)))]
pub(crate) async fn list_imports(State(http): State<Http>, request: Request) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let caller = http.staff(&parts).await?;
    let mut query = ListQuery::read(&parts, &["limit", "cursor"])?;
    let limit = query.limit();
    let before = query.cursor(|text| {
        let (time, id) = text.split_once(':')?;
        // Nothing was imported before the epoch, and long before it no engine has a time.
        let time_us = time.parse().ok().filter(|time_us: &i64| *time_us >= 0)?;
        Some((time_us, Uuid::try_parse(id).ok()?))
    });
    query.finish()?;
    let page = http.app.list_imports(&caller, before, limit).await.map_err(problem_of)?;
    let items = page.items.iter().map(ImportBody::from).collect();
    Ok(json(StatusCode::OK, &ImportPage { items, next_cursor: cursor_text(page.next) }))
}
