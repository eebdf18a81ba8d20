//! `POST /api/auth/token/verify/` (and `/api/auth/jwt/verify/`): whether a token is alive.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use serde::Deserialize;
use serde_json::json as value;
use utoipa::ToSchema;

use super::refresh::refused;
use crate::{
    django::{DetailBody, Form, Refusal, TextRule, json},
    state::Http,
};

/// Any token.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({"token": "eyJhbGciOi…"}))]
#[expect(dead_code, reason = "documents what the form reads")]
pub(crate) struct Verify {
    /// An access or a refresh token.
    token: String,
}

/// Check a token.
#[utoipa::path(post, path = "/api/auth/token/verify/", tag = "sessions", request_body = Verify, responses(
    (status = 200, description = "Alive", body = Object, example = json!({})),
    (status = 400, description = "Messages by field", body = Object,
        example = json!({"token": ["This field is required."]})),
    (status = 401, description = "Not alive", body = DetailBody<'_>,
        example = json!({"detail": "Token is invalid or expired", "code": "token_not_valid"}))))]
pub(crate) async fn verify_token(State(http): State<Http>, request: Request) -> Result<Response, Refusal> {
    verify(http, request).await
}

/// Check a token (another name of `/api/auth/token/verify/`).
#[utoipa::path(post, path = "/api/auth/jwt/verify/", tag = "sessions", request_body = Verify, responses(
    (status = 200, description = "Alive", body = Object),
    (status = 400, description = "Messages by field", body = Object),
    (status = 401, description = "Not alive", body = DetailBody<'_>)))]
pub(crate) async fn verify_jwt(State(http): State<Http>, request: Request) -> Result<Response, Refusal> {
    verify(http, request).await
}

async fn verify(http: Http, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let mut form = Form::read(&parts, &http.read(body).await?)?;
    let token = form.text("token", TextRule::REQUIRED);
    form.finish()?;
    http.app.verify_any(&token.unwrap_or_default()).await.map_err(refused)?;
    Ok(json(StatusCode::OK, &value!({})))
}
