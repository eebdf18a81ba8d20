//! `POST /api/auth/token/` (and `/api/auth/jwt/create/`): signing in.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use florin_app::session::{SignInError, TokenPair};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    django::{DetailBody, Form, Refusal, TextRule, is_python_space, json},
    request_id::RequestId,
    state::Http,
};

/// Name and password.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({"username": "alice", "password": "Str0ng-Passw0rd!"}))]
#[expect(dead_code, reason = "documents what the form reads")]
pub(crate) struct Credentials {
    /// Upper and lower case count.
    username: String,
    /// The password.
    password: String,
}

/// Two tokens.
#[derive(Serialize, ToSchema)]
#[schema(as = TokenPair, example = json!({"refresh": "fr1.N2Q0…", "access": "eyJhbGciOi…"}))]
pub(crate) struct TokenPairBody<'a> {
    /// An opaque token for the next pair; it can be used once.
    refresh: &'a str,
    /// A JWT for `Authorization: Bearer`.
    access: &'a str,
}

impl<'a> From<&'a TokenPair> for TokenPairBody<'a> {
    fn from(pair: &'a TokenPair) -> Self {
        Self { refresh: &pair.refresh, access: &pair.access }
    }
}

/// Sign in.
#[utoipa::path(post, path = "/api/auth/token/", tag = "sessions", request_body = Credentials, responses(
    (status = 200, description = "Signed in", body = TokenPairBody<'_>),
    (status = 400, description = "Messages by field", body = Object,
        example = json!({"username": ["This field is required."]})),
    (status = 401, description = "Unknown name, wrong password or disabled user", body = DetailBody<'_>,
        example = json!({"detail": "No active account found with the given credentials"}))))]
pub(crate) async fn create_token(State(http): State<Http>, request: Request) -> Result<Response, Refusal> {
    sign_in(http, request).await
}

/// Sign in (another name of `/api/auth/token/`).
#[utoipa::path(post, path = "/api/auth/jwt/create/", tag = "sessions", request_body = Credentials, responses(
    (status = 200, description = "Signed in", body = TokenPairBody<'_>),
    (status = 400, description = "Messages by field", body = Object),
    (status = 401, description = "Unknown name, wrong password or disabled user", body = DetailBody<'_>)))]
pub(crate) async fn create_jwt(State(http): State<Http>, request: Request) -> Result<Response, Refusal> {
    sign_in(http, request).await
}

async fn sign_in(http: Http, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let mut form = Form::read(&parts, &http.read(body).await?)?;
    let username = form.text("username", TextRule::REQUIRED);
    let trimmed = form.text("password", TextRule::REQUIRED);
    form.finish()?;
    let sent = form.text("password", TextRule { keep_blanks: true, ..TextRule::REQUIRED });
    let (username, trimmed) = (username.unwrap_or_default(), trimmed.unwrap_or_default());
    let request_id = RequestId::from_extensions(&parts.extensions);
    let mut outcome = http.app.sign_in(&username, &trimmed, request_id.as_str()).await;
    // Django's form drops blanks around the password, its registration does not: who registered so gets in too.
    let sent = sent.filter(|sent| sent.starts_with(is_python_space) || sent.ends_with(is_python_space));
    if let (Err(SignInError::Refused), Some(sent)) = (&outcome, sent) {
        outcome = http.app.sign_in(&username, &sent, request_id.as_str()).await;
    }
    match outcome {
        Ok(pair) => Ok(json(StatusCode::OK, &TokenPairBody::from(&pair))),
        Err(SignInError::Refused) => {
            let text = "No active account found with the given credentials";
            Err(Refusal::Detail(StatusCode::UNAUTHORIZED, text.into()))
        }
        Err(SignInError::Failure(failure)) => Err(failure.into()),
    }
}
