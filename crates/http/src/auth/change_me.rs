//! `PUT` and `PATCH /api/auth/users/me/`: the e-mail address. The username has a route of its own.

use axum::{
    body::Body,
    extract::{Request, State},
    http::{StatusCode, request::Parts},
    response::Response,
};
use florin_app::Caller;
use serde::Deserialize;
use utoipa::ToSchema;

use super::UserBody;
use crate::{
    django::{Form, Refusal, TextRule, json},
    request_id::RequestId,
    state::Http,
};

/// What may change; other members are ignored.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({"email": "alice@new.example.com"}))]
#[expect(dead_code, reason = "documents what the form reads")]
pub(crate) struct UserChange {
    /// May be empty; missing leaves it as it is.
    #[schema(required = false)]
    email: String,
}

/// Change your e-mail address.
#[utoipa::path(put, path = "/api/auth/users/me/", tag = "users", security(("bearer" = [])), request_body = UserChange,
    responses((status = 200, description = "You, changed", body = UserBody<'_>),
    (status = 400, description = "Messages by field", body = Object,
        example = json!({"email": ["Enter a valid email address."]}))))]
pub(crate) async fn put_me(State(http): State<Http>, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let caller = http.caller(&parts.headers)?;
    change(&http, &caller, &parts, body).await
}

/// Change your e-mail address.
#[utoipa::path(patch, path = "/api/auth/users/me/", tag = "users", security(("bearer" = [])), request_body = UserChange,
    responses((status = 200, description = "You, changed", body = UserBody<'_>),
    (status = 400, description = "Messages by field", body = Object,
        example = json!({"email": ["Enter a valid email address."]}))))]
pub(crate) async fn patch_me(State(http): State<Http>, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let caller = http.caller(&parts.headers)?;
    change(&http, &caller, &parts, body).await
}

/// The change itself, for `me` and for the caller's own number.
pub(super) async fn change(http: &Http, caller: &Caller, parts: &Parts, body: Body) -> Result<Response, Refusal> {
    let mut form = Form::read(parts, &http.read(body).await?)?;
    let email = form.text("email", TextRule { blank_ok: true, ..TextRule::default() });
    form.finish()?;
    let request_id = RequestId::from_extensions(&parts.extensions);
    let user = match email {
        Some(email) => http.app.set_email(caller, &email, request_id.as_str()).await?,
        None => http.app.get_user(caller).await?,
    };
    Ok(json(StatusCode::OK, &UserBody::from(&user)))
}
