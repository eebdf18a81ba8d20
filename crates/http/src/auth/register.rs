//! `POST /api/auth/users/`: a new user.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use florin_identity::{check_email, check_username};
use serde::Deserialize;
use utoipa::ToSchema;

use super::UserBody;
use crate::{
    django::{Form, Refusal, TextRule, json},
    request_id::RequestId,
    state::Http,
};

/// A new user.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({"username": "alice", "email": "alice@example.com", "password": "Str0ng-Passw0rd!"}))]
#[expect(dead_code, reason = "documents what the form reads")]
pub(crate) struct Registration {
    /// Letters, digits and `@.+-_`, at most 150; kept in Unicode NFKC.
    username: String,
    /// May be missing or empty.
    #[schema(required = false)]
    email: String,
    /// At least 8 characters, not common, not all digits, not like the name or the address.
    password: String,
}

/// Register a user.
#[utoipa::path(post, path = "/api/auth/users/", tag = "users", request_body = Registration, responses(
    (status = 201, description = "Registered", body = UserBody<'_>),
    (status = 400, description = "Messages by field", body = Object,
        example = json!({"username": ["A user with that username already exists."]}))))]
pub(crate) async fn register(State(http): State<Http>, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let mut form = Form::read(&parts, &http.read(body).await?)?;
    let email = form.text("email", TextRule { blank_ok: true, ..TextRule::default() }).unwrap_or_default();
    form.refuse_all("email", check_email(&email));
    let username = form.text("username", TextRule { nul_checked_later: true, ..TextRule::REQUIRED });
    if let Some(username) = &username {
        form.refuse_all("username", check_username(username));
    }
    let password = form.text("password", TextRule { keep_blanks: true, ..TextRule::REQUIRED });
    form.finish()?;
    let (username, password) = (username.unwrap_or_default(), password.unwrap_or_default());
    let request_id = RequestId::from_extensions(&parts.extensions);
    let user = http.app.register(&username, &email, &password, request_id.as_str()).await?;
    Ok(json(StatusCode::CREATED, &UserBody::from(&user)))
}
