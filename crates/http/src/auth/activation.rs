//! `POST /api/auth/users/activation/` and `resend_activation/`. Accounts are active from the start and no mail is sent,
//! so no activation token is ever valid.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    django::{Form, Refusal, TextRule},
    state::Http,
};

/// An activation link's parts.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({"uid": "MQ", "token": "c0ffee"}))]
#[expect(dead_code, reason = "documents what the form reads")]
pub(crate) struct Activation {
    /// The user.
    uid: String,
    /// The token.
    token: String,
}

/// An e-mail address.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({"email": "alice@example.com"}))]
#[expect(dead_code, reason = "documents what the form reads")]
pub(crate) struct EmailAddress {
    /// The address.
    email: String,
}

/// Activate an account. Accounts are active from the start, so this always answers that the token is not valid.
#[utoipa::path(post, path = "/api/auth/users/activation/", tag = "users", request_body = Activation, responses(
    (status = 400, description = "Messages by field", body = Object,
        example = json!({"token": ["Invalid token for given user."]}))))]
pub(crate) async fn activation(State(http): State<Http>, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let mut form = Form::read(&parts, &http.read(body).await?)?;
    form.text("uid", TextRule::REQUIRED);
    form.text("token", TextRule::REQUIRED);
    form.finish()?;
    Err(Refusal::field("token", "Invalid token for given user."))
}

/// Ask for another activation mail. None is ever sent, so this always answers 400.
#[utoipa::path(post, path = "/api/auth/users/resend_activation/", tag = "users", request_body = EmailAddress,
    responses((status = 400, description = "Not in use here, or messages by field", body = Object,
        example = json!({"detail": "Accounts are active from the start; no mail is sent."}))))]
pub(crate) async fn resend_activation(State(http): State<Http>, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let mut form = Form::read(&parts, &http.read(body).await?)?;
    form.text("email", TextRule::REQUIRED);
    form.finish()?;
    let text = "Accounts are active from the start; no mail is sent.";
    Err(Refusal::Detail(StatusCode::BAD_REQUEST, text.into()))
}
