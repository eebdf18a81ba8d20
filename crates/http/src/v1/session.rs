//! `DELETE /api/v1/session` (and `POST /api/v1/sessions/logout`): signing out.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};

use crate::{problem::Problem, request_id::RequestId, state::Http};

/// Sign out: the session's access and refresh tokens are dead at once.
#[utoipa::path(delete, path = "/api/v1/session", tag = "sessions", security(("bearer" = [])),
    responses((status = 204, description = "Signed out")))]
pub(crate) async fn end_session(State(http): State<Http>, request: Request) -> Result<Response, Problem> {
    end(http, request).await
}

/// Sign out (another name of `DELETE /api/v1/session`).
#[utoipa::path(post, path = "/api/v1/sessions/logout", tag = "sessions", security(("bearer" = [])),
    responses((status = 204, description = "Signed out")))]
pub(crate) async fn logout(State(http): State<Http>, request: Request) -> Result<Response, Problem> {
    end(http, request).await
}

async fn end(http: Http, request: Request) -> Result<Response, Problem> {
    let caller = http.caller(request.headers())?;
    let request_id = RequestId::from_extensions(request.extensions());
    http.app.end_session(&caller, request_id.as_str()).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
