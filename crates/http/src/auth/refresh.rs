//! `POST /api/auth/token/refresh/` (and `/api/auth/jwt/refresh/`): the next pair.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use florin_app::session::TokenError;
use serde::Deserialize;
use utoipa::ToSchema;

use super::token::TokenPairBody;
use crate::{
    django::{DetailBody, Form, Refusal, TextRule, json},
    request_id::RequestId,
    state::Http,
};

/// A refresh token.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({"refresh": "rt_AAEBj…"}))]
#[expect(dead_code, reason = "documents what the form reads")]
pub(crate) struct Refresh {
    /// The token; it is dead afterwards.
    refresh: String,
}

/// Refresh a session. The token is used up; using it again ends the session.
#[utoipa::path(post, path = "/api/auth/token/refresh/", tag = "sessions", request_body = Refresh, responses(
    (status = 200, description = "The next pair", body = TokenPairBody<'_>),
    (status = 400, description = "Messages by field", body = Object,
        example = json!({"refresh": ["This field may not be blank."]})),
    (status = 401, description = "Not a live refresh token", body = DetailBody<'_>,
        example = json!({"detail": "Token is invalid or expired", "code": "token_not_valid"}))))]
pub(crate) async fn refresh_token(State(http): State<Http>, request: Request) -> Result<Response, Refusal> {
    refresh(http, request).await
}

/// Refresh a session (another name of `/api/auth/token/refresh/`).
#[utoipa::path(post, path = "/api/auth/jwt/refresh/", tag = "sessions", request_body = Refresh, responses(
    (status = 200, description = "The next pair", body = TokenPairBody<'_>),
    (status = 400, description = "Messages by field", body = Object),
    (status = 401, description = "Not a live refresh token", body = DetailBody<'_>)))]
pub(crate) async fn refresh_jwt(State(http): State<Http>, request: Request) -> Result<Response, Refusal> {
    refresh(http, request).await
}

async fn refresh(http: Http, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let mut form = Form::read(&parts, &http.read(body).await?)?;
    let token = form.text("refresh", TextRule::REQUIRED);
    form.finish()?;
    let request_id = RequestId::from_extensions(&parts.extensions);
    let pair = http.app.refresh(&token.unwrap_or_default(), request_id.as_str()).await.map_err(refused)?;
    Ok(json(StatusCode::OK, &TokenPairBody::from(&pair)))
}

/// A refused token, in the dialect's words.
pub(super) fn refused(error: TokenError) -> Refusal {
    match error {
        TokenError::Invalid => Refusal::Token("Token is invalid or expired", "token_not_valid"),
        TokenError::WrongType => Refusal::Token("Token has wrong type", "token_not_valid"),
        TokenError::UserGone => Refusal::Token("No active account found for the given token.", "no_active_account"),
        TokenError::Failure(failure) => failure.into(),
    }
}
