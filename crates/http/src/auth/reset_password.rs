//! `POST /api/auth/users/reset_password/` and `reset_password_confirm/`. No mail is delivered by this build: the first
//! answers alike for every address, the second finds no token valid.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use florin_identity::check_email;
use serde::Deserialize;
use utoipa::ToSchema;

use super::activation::EmailAddress;
use crate::{
    django::{Form, Refusal, TextRule},
    state::Http,
};

/// A reset link's parts and the new password.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({"uid": "MQ", "token": "c0ffee", "new_password": "N3w-Passw0rd!!"}))]
#[expect(dead_code, reason = "documents what the form reads")]
pub(crate) struct PasswordReset {
    /// The user.
    uid: String,
    /// The token.
    token: String,
    /// The new password.
    new_password: String,
}

/// Ask for a password reset. Answers 204 for every well-formed address, known or not; this build delivers no mail.
#[utoipa::path(post, path = "/api/auth/users/reset_password/", tag = "users", request_body = EmailAddress, responses(
    (status = 204, description = "Taken note of; nothing is sent"),
    (status = 400, description = "Messages by field", body = Object,
        example = json!({"email": ["This field is required."]}))))]
pub(crate) async fn reset_password(State(http): State<Http>, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let mut form = Form::read(&parts, &http.read(body).await?)?;
    if let Some(email) = form.text("email", TextRule::REQUIRED) {
        form.refuse_all("email", check_email(&email));
    }
    form.finish()?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Finish a password reset. This build sends no tokens, so none is valid.
#[utoipa::path(post, path = "/api/auth/users/reset_password_confirm/", tag = "users", request_body = PasswordReset,
    responses((status = 400, description = "Messages by field", body = Object,
        example = json!({"token": ["Invalid token for given user."]}))))]
pub(crate) async fn reset_password_confirm(State(http): State<Http>, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let mut form = Form::read(&parts, &http.read(body).await?)?;
    form.text("uid", TextRule::REQUIRED);
    form.text("token", TextRule::REQUIRED);
    form.text("new_password", TextRule::REQUIRED);
    form.finish()?;
    Err(Refusal::field("token", "Invalid token for given user."))
}
