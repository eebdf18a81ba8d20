//! `POST /api/auth/users/set_username/`.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use utoipa::ToSchema;

use super::GivenPassword;
use crate::{
    django::{Form, Refusal, TextRule},
    request_id::RequestId,
    state::Http,
};

/// A new name, and the password.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({"new_username": "alice2", "current_password": "Str0ng-Passw0rd!"}))]
#[expect(dead_code, reason = "documents what the form reads")]
pub(crate) struct UsernameChange {
    /// As at registration.
    new_username: String,
    /// Your password.
    current_password: String,
}

/// Change your username.
#[utoipa::path(post, path = "/api/auth/users/set_username/", tag = "users", security(("bearer" = [])),
    request_body = UsernameChange, responses((status = 204, description = "Changed"),
    (status = 400, description = "Messages by field", body = Object,
        example = json!({"current_password": ["Invalid password."]}))))]
pub(crate) async fn set_username(State(http): State<Http>, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let caller = http.caller(&parts.headers)?;
    let mut form = Form::read(&parts, &http.read(body).await?)?;
    let username = form.text("new_username", TextRule { nul_checked_later: true, ..TextRule::REQUIRED });
    if let Some(username) = &username {
        form.refuse_all("new_username", florin_identity::check_username(username));
    }
    let current = GivenPassword::from_form(&mut form, "current_password");
    form.finish()?;
    let (Some(username), Some(current)) = (username, current) else {
        return Err(Refusal::defect("a required field is missing"));
    };
    let request_id = RequestId::from_extensions(&parts.extensions);
    let mut outcome = http.app.set_username(&caller, &current.sent, &username, request_id.as_str()).await;
    if let Some(trimmed) = current.second_try(&outcome) {
        outcome = http.app.set_username(&caller, trimmed, &username, request_id.as_str()).await;
    }
    outcome?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
