//! `/api/auth/users/{id}/`: a user by number. Others than staff reach only themselves.

use axum::{
    extract::{Path, Request, State, rejection::PathRejection},
    http::{Method, StatusCode},
    response::Response,
};

use super::{UserBody, change_me, delete_me};
use crate::{
    django::{Refusal, json},
    state::Http,
};

type NumberInPath = Result<Path<String>, PathRejection>;

fn number_of(path: &NumberInPath) -> Result<i64, Refusal> {
    let text = path.as_ref().map_err(|_| Refusal::not_found())?.as_str();
    let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits {
        return Err(Refusal::not_found());
    }
    text.parse().map_err(|_| Refusal::no_such_user())
}

/// Show a user: yourself, or anybody for staff.
#[utoipa::path(get, path = "/api/auth/users/{id}/", tag = "users", security(("bearer" = [])),
    params(("id" = i64, Path, description = "The user's number")), responses(
    (status = 200, description = "The user", body = UserBody<'_>),
    (status = 404, description = "No such user, or not yours to see", body = crate::django::DetailBody<'_>,
        example = json!({"detail": "No User matches the given query."}))))]
pub(crate) async fn get_user(
    State(http): State<Http>,
    path: NumberInPath,
    request: Request,
) -> Result<Response, Refusal> {
    let caller = http.caller(request.headers())?;
    let user = http.app.find_user_by_number(&caller, number_of(&path)?).await?;
    Ok(json(StatusCode::OK, &UserBody::from(&user)))
}

/// Change your e-mail address, by your number.
#[utoipa::path(put, path = "/api/auth/users/{id}/", tag = "users", security(("bearer" = [])),
    params(("id" = i64, Path, description = "Your number")), request_body = change_me::UserChange, responses(
    (status = 200, description = "You, changed", body = UserBody<'_>),
    (status = 400, description = "Messages by field", body = Object),
    (status = 404, description = "Not you", body = crate::django::DetailBody<'_>)))]
pub(crate) async fn put_user(
    State(http): State<Http>,
    path: NumberInPath,
    request: Request,
) -> Result<Response, Refusal> {
    change(http, path, request).await
}

/// Change your e-mail address, by your number.
#[utoipa::path(patch, path = "/api/auth/users/{id}/", tag = "users", security(("bearer" = [])),
    params(("id" = i64, Path, description = "Your number")), request_body = change_me::UserChange, responses(
    (status = 200, description = "You, changed", body = UserBody<'_>),
    (status = 400, description = "Messages by field", body = Object),
    (status = 404, description = "Not you", body = crate::django::DetailBody<'_>)))]
pub(crate) async fn patch_user(
    State(http): State<Http>,
    path: NumberInPath,
    request: Request,
) -> Result<Response, Refusal> {
    change(http, path, request).await
}

async fn change(http: Http, path: NumberInPath, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let caller = http.caller(&parts.headers)?;
    if number_of(&path)? != caller.user_number {
        return Err(Refusal::no_such_user());
    }
    change_me::change(&http, &caller, &parts, body).await
}

/// Delete your account, by your number.
#[utoipa::path(delete, path = "/api/auth/users/{id}/", tag = "users", security(("bearer" = [])),
    params(("id" = i64, Path, description = "Your number")), request_body = delete_me::Consent, responses(
    (status = 204, description = "Deleted"),
    (status = 400, description = "Messages by field", body = Object),
    (status = 403, description = "Not you", body = crate::django::DetailBody<'_>),
    (status = 404, description = "Not a number", body = crate::django::DetailBody<'_>)))]
pub(crate) async fn delete_user(
    State(http): State<Http>,
    path: NumberInPath,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    debug_assert_eq!(parts.method, Method::DELETE);
    let caller = http.caller(&parts.headers)?;
    // The same answer whether that user exists or not.
    if number_of(&path)? != caller.user_number {
        return Err(Refusal::forbidden());
    }
    delete_me::delete(&http, &caller, &parts, body).await
}
