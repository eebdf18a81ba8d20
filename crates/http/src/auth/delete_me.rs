//! `DELETE /api/auth/users/me/`.

use axum::{
    body::Body,
    extract::{Request, State},
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use florin_app::Caller;
use serde::Deserialize;
use utoipa::ToSchema;

use super::GivenPassword;
use crate::{
    django::{Form, Refusal},
    request_id::RequestId,
    state::Http,
};

/// Consent to the end of an account.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({"current_password": "Str0ng-Passw0rd!"}))]
#[expect(dead_code, reason = "documents what the form reads")]
pub(crate) struct Consent {
    /// Your password.
    current_password: String,
}

/// Delete your account. All its sessions end at once.
#[utoipa::path(delete, path = "/api/auth/users/me/", tag = "users", security(("bearer" = [])), request_body = Consent,
    responses((status = 204, description = "Deleted"),
    (status = 400, description = "Messages by field", body = Object,
        example = json!({"current_password": ["Invalid password."]}))))]
pub(crate) async fn delete_me(State(http): State<Http>, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let caller = http.caller(&parts.headers)?;
    delete(&http, &caller, &parts, body).await
}

/// The deletion itself, for `me` and for the caller's own number.
pub(super) async fn delete(http: &Http, caller: &Caller, parts: &Parts, body: Body) -> Result<Response, Refusal> {
    let mut form = Form::read(parts, &http.read(body).await?)?;
    let password = GivenPassword::from_form(&mut form, "current_password");
    form.finish()?;
    let Some(password) = password else { return Err(Refusal::defect("a required field is missing")) };
    let request_id = RequestId::from_extensions(&parts.extensions);
    let mut outcome = http.app.delete_user(caller, &password.sent, request_id.as_str()).await;
    if let Some(trimmed) = password.second_try(&outcome) {
        outcome = http.app.delete_user(caller, trimmed, request_id.as_str()).await;
    }
    outcome?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
