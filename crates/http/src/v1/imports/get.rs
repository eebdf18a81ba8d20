//! `GET /api/v1/imports/{id}`: how far an import is.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};

use super::{ImportBody, import_id, problem_of};
use crate::{
    django::json,
    problem::{Problem, ProblemBody},
    state::Http,
    v1::IdInPath,
};

/// An import and how far it was worked on.
#[utoipa::path(get, path = "/api/v1/imports/{id}", tag = "admin", security(("bearer" = [])),
    params(("id" = uuid::Uuid, Path, description = "The import")),
    responses((status = 200, description = "The import", body = ImportBody<'_>),
    (status = 403, description = "`permission_denied`: not staff", body = ProblemBody<'_>),
    (status = 404, description = "`import_not_found`", body = ProblemBody<'_>)))]
pub(crate) async fn get_import(
    State(http): State<Http>,
    path: IdInPath,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let caller = http.staff(&parts).await?;
    let import = http.app.get_import(&caller, import_id(&path)?).await.map_err(problem_of)?;
    Ok(json(StatusCode::OK, &ImportBody::from(&import)))
}
