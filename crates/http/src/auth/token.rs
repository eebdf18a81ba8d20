//! `POST /api/auth/token/` (and `/api/auth/jwt/create/`): signing in.

use axum::{
    extract::{Request, State},
    http::{StatusCode, request::Parts},
    response::Response,
};
use florin_app::session::{SignInError, TokenPair};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    caller::AuthRefusal,
    client_address::ClientAddress,
    django::{DetailBody, Form, Refusal, TextRule, is_python_space, json},
    request_id::RequestId,
    sign_in_limit::SignInLimit,
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
#[schema(as = TokenPair, example = json!({"refresh": "rt_AAEBj…", "access": "eyJhbGciOi…"}))]
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
        example = json!({"detail": "No active account found with the given credentials"})),
    (status = 429, description = "Too many failures under this name or from this address; `Retry-After` says when to \
        come back", body = DetailBody<'_>)))]
pub(crate) async fn create_token(State(http): State<Http>, request: Request) -> Result<Response, Refusal> {
    sign_in(http, request).await
}

/// Sign in (another name of `/api/auth/token/`).
#[utoipa::path(post, path = "/api/auth/jwt/create/", tag = "sessions", request_body = Credentials, responses(
    (status = 200, description = "Signed in", body = TokenPairBody<'_>),
    (status = 400, description = "Messages by field", body = Object),
    (status = 401, description = "Unknown name, wrong password or disabled user", body = DetailBody<'_>),
    (status = 429, description = "Too many failures under this name or from this address; `Retry-After` says when to \
        come back", body = DetailBody<'_>)))]
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
    let from = Origin::of(&http, &parts);
    from.check()?;
    let request_id = RequestId::from_extensions(&parts.extensions);
    // Django's form drops blanks around the password, its registration does not: who registered so gets in too.
    let sent = sent.filter(|sent| sent.starts_with(is_python_space) || sent.ends_with(is_python_space));
    let passwords: Vec<&str> = std::iter::once(trimmed.as_str()).chain(sent.as_deref()).collect();
    match http.app.sign_in_with_any(&username, &passwords, request_id.as_str()).await {
        Ok(pair) => Ok(json(StatusCode::OK, &TokenPairBody::from(&pair))),
        Err(SignInError::Refused) => {
            from.count_failure(&username);
            let text = "No active account found with the given credentials";
            Err(Refusal::Detail(StatusCode::UNAUTHORIZED, text.into()))
        }
        Err(SignInError::Throttled { retry_after_s }) => Err(AuthRefusal::Throttled(retry_after_s).into()),
        Err(SignInError::Failure(failure)) => Err(failure.into()),
    }
}

/// Where an attempt comes from, and what counts there; nothing where no limit is set or no address is known.
struct Origin<'a> {
    counted: Option<(&'a SignInLimit, ClientAddress)>,
    http: &'a Http,
}

impl<'a> Origin<'a> {
    fn of(http: &'a Http, parts: &Parts) -> Self {
        Self { counted: http.sign_in_limit.as_ref().zip(http.proxies.client_of(parts)), http }
    }

    /// Refuses before a password is looked at.
    fn check(&self) -> Result<(), Refusal> {
        let Some((limit, address)) = self.counted else { return Ok(()) };
        limit.check(address, self.http.app.clock().now_us()).map_err(|retry_after_s| {
            metrics::counter!("florin_sign_in_throttled_total").increment(1);
            AuthRefusal::Throttled(retry_after_s).into()
        })
    }

    fn count_failure(&self, username: &str) {
        if let Some((limit, address)) = self.counted {
            limit.count(address, username, self.http.app.clock().now_us());
        }
    }
}
