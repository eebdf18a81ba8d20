//! `GET /api/auth/users/me/`.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};

use super::UserBody;
use crate::{
    django::{Refusal, json},
    state::Http,
};

/// Show yourself.
#[utoipa::path(get, path = "/api/auth/users/me/", tag = "users", security(("bearer" = [])),
    responses((status = 200, description = "You", body = UserBody<'_>)))]
pub(crate) async fn get_me(State(http): State<Http>, request: Request) -> Result<Response, Refusal> {
    let caller = http.caller(request.headers())?;
    let user = http.app.get_user(&caller).await?;
    Ok(json(StatusCode::OK, &UserBody::from(&user)))
}
