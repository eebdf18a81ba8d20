//! Refusals in the words and forms of Django REST framework.

use std::borrow::Cow;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use florin_app::{
    Failure,
    user::{FieldErrors, UserError},
    wallet::WalletError,
};
use florin_ledger::Rejection;
use florin_money::format_minor;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::json as reply;
use crate::{
    caller::AuthRefusal,
    envelope::Cause,
    idempotency_key::{InvalidKey, KEY_RULE, mark_replayed},
    request_body::BodyRefusal,
};

/// `WWW-Authenticate` of every 401.
pub(crate) const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"api\"");

/// The words of a 503.
pub(crate) const UNAVAILABLE: &str = "Service temporarily unavailable, try again later.";

/// `Retry-After` of a 503, seconds.
pub(crate) const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

const NON_FIELD: &str = "non_field_errors";

/// A refusal with one sentence.
#[derive(Serialize, ToSchema)]
#[schema(as = Detail, example = json!({"detail": "Authentication credentials were not provided."}))]
pub(crate) struct DetailBody<'a> {
    /// Why.
    pub(crate) detail: &'a str,
    /// The kind, for programs: `token_not_valid`, `bad_authorization_header`, `user_not_found`; often missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<&'a str>,
}

/// Why a request is refused on a route of the dialect.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// `{"detail"}`.
    Detail(StatusCode, Cow<'static, str>),
    /// 401 with `{"detail", "code"}`.
    Token(&'static str, &'static str),
    /// Nobody is let in.
    Auth(AuthRefusal),
    /// 400 with messages by field.
    Fields(FieldErrors),
    /// Messages by field under `errors`, as the wallet's routes have them.
    Errors(StatusCode, FieldErrors),
    /// A refusal that was given before to the same request.
    Replayed(Box<Self>),
    /// Not the caller's doing.
    Failure(Cause, bool),
}

impl Refusal {
    pub(crate) const fn not_found() -> Self {
        Self::Detail(StatusCode::NOT_FOUND, Cow::Borrowed("Not found."))
    }

    pub(crate) const fn no_such_user() -> Self {
        Self::Detail(StatusCode::NOT_FOUND, Cow::Borrowed("No User matches the given query."))
    }

    pub(crate) const fn forbidden() -> Self {
        Self::Detail(StatusCode::FORBIDDEN, Cow::Borrowed("You do not have permission to perform this action."))
    }

    pub(crate) fn field(name: &'static str, message: impl Into<String>) -> Self {
        Self::Fields(FieldErrors(vec![(name, vec![message.into()])]))
    }

    pub(crate) fn defect(text: &str) -> Self {
        Self::Failure(Cause::defect(text), false)
    }

    /// Field messages go under `errors` on the wallet's routes.
    pub(crate) fn under_errors(self) -> Self {
        match self {
            Self::Fields(errors) => Self::Errors(StatusCode::BAD_REQUEST, errors),
            other => other,
        }
    }

    fn rejected(rejection: &Rejection, exponent: u8) -> Self {
        let refused = |status, message: String| Self::Errors(status, FieldErrors(vec![(NON_FIELD, vec![message])]));
        let bad = |message: &str| refused(StatusCode::BAD_REQUEST, message.to_owned());
        match rejection {
            Rejection::AccountNotFound { .. } => WalletError::NotFound.into(),
            Rejection::InsufficientFunds { available_minor, required_minor, .. } => bad(&format!(
                "Insufficient balance. Current balance: {}, Required: {}",
                format_minor(*available_minor, exponent),
                format_minor(*required_minor, exponent)
            )),
            Rejection::AccountClosed { .. } => bad("Wallet is closed."),
            Rejection::AssetMismatch { .. } => bad("The wallet holds another asset."),
            Rejection::CeilingExceeded { .. } => bad("The balance would be too large."),
            Rejection::Malformed { reason } => bad(reason),
            Rejection::IdempotencyKeyReused => {
                let message = "This Idempotency-Key was used with another request.";
                refused(StatusCode::UNPROCESSABLE_ENTITY, message.to_owned())
            }
            // These routes send no batches.
            Rejection::BatchRefused { item } => bad(&format!("Item {item} was refused.")),
        }
    }
}

/// The sentence of a 429.
pub(crate) fn throttled_text(seconds: u64) -> String {
    let unit = if seconds == 1 { "second" } else { "seconds" };
    format!("Request was throttled. Expected available in {seconds} {unit}.")
}

fn messages(errors: FieldErrors) -> Map<String, Value> {
    errors.0.into_iter().map(|(name, messages)| (name.to_owned(), messages.into())).collect()
}

fn detail(status: StatusCode, detail: &str, code: Option<&str>) -> Response {
    reply(status, &DetailBody { detail, code })
}

fn unauthorized(refusal: &AuthRefusal) -> Response {
    let status = StatusCode::UNAUTHORIZED;
    let mut response = match refusal {
        AuthRefusal::BadHeader => {
            let text = "Authorization header must contain two space-delimited values";
            detail(status, text, Some("bad_authorization_header"))
        }
        AuthRefusal::InvalidToken => {
            let message = "Token is invalid or expired";
            let of_class = json!({"token_class": "AccessToken", "token_type": "access", "message": message});
            let text = "Given token not valid for any token type";
            reply(status, &json!({"detail": text, "code": "token_not_valid", "messages": [of_class]}))
        }
        AuthRefusal::UserGone => detail(status, "User not found", Some("user_not_found")),
        _ => detail(status, "Authentication credentials were not provided.", None),
    };
    response.headers_mut().insert(header::WWW_AUTHENTICATE, CHALLENGE);
    response
}

fn failed(cause: Cause, unavailable: bool) -> Response {
    let mut response = if unavailable {
        detail(StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE, None)
    } else {
        detail(StatusCode::INTERNAL_SERVER_ERROR, "A server error occurred.", None)
    };
    if unavailable {
        response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
    }
    response.extensions_mut().insert(cause);
    response
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Detail(status, text) => {
                let mut response = detail(status, &text, None);
                if status == StatusCode::UNAUTHORIZED {
                    response.headers_mut().insert(header::WWW_AUTHENTICATE, CHALLENGE);
                }
                response
            }
            Self::Token(text, code) => {
                let mut response = detail(StatusCode::UNAUTHORIZED, text, Some(code));
                response.headers_mut().insert(header::WWW_AUTHENTICATE, CHALLENGE);
                response
            }
            Self::Auth(AuthRefusal::Throttled(seconds)) => {
                let mut response = detail(StatusCode::TOO_MANY_REQUESTS, &throttled_text(seconds), None);
                response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
                response
            }
            Self::Auth(AuthRefusal::Failure(failure)) => Self::from(failure).into_response(),
            Self::Auth(refusal) => unauthorized(&refusal),
            Self::Fields(errors) => reply(StatusCode::BAD_REQUEST, &messages(errors)),
            Self::Errors(status, errors) => reply(status, &json!({"errors": messages(errors)})),
            Self::Replayed(refusal) => {
                let mut response = refusal.into_response();
                mark_replayed(&mut response, true);
                response
            }
            Self::Failure(cause, unavailable) => failed(cause, unavailable),
        }
    }
}

impl From<AuthRefusal> for Refusal {
    fn from(refusal: AuthRefusal) -> Self {
        Self::Auth(refusal)
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Failure(Cause::of(&failure), matches!(failure, Failure::Unavailable(_)))
    }
}

impl From<BodyRefusal> for Refusal {
    fn from(refusal: BodyRefusal) -> Self {
        match refusal {
            BodyRefusal::Shape(message) => Self::field(NON_FIELD, message),
            other => Self::Detail(other.status(), other.to_string().into()),
        }
    }
}

impl From<InvalidKey> for Refusal {
    fn from(_: InvalidKey) -> Self {
        Self::field(NON_FIELD, KEY_RULE)
    }
}

impl From<UserError> for Refusal {
    fn from(error: UserError) -> Self {
        match error {
            UserError::Invalid(errors) => Self::Fields(errors),
            UserError::NotFound => Self::no_such_user(),
            UserError::Forbidden => Self::forbidden(),
            UserError::Failure(failure) => failure.into(),
        }
    }
}

impl From<WalletError> for Refusal {
    fn from(error: WalletError) -> Self {
        match error {
            WalletError::NotFound => Self::Detail(StatusCode::NOT_FOUND, "Wallet not found".into()),
            WalletError::UnknownAsset => Self::field("asset", "This asset is not known here."),
            WalletError::Forbidden => Self::forbidden(),
            WalletError::Rejected { rejection, asset, replayed } => {
                let refusal = Self::rejected(&rejection, asset.exponent());
                if replayed { Self::Replayed(Box::new(refusal)) } else { refusal }
            }
            WalletError::Failure(failure) => failure.into(),
        }
    }
}

impl From<FieldErrors> for Refusal {
    fn from(errors: FieldErrors) -> Self {
        Self::Fields(errors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_opaque_and_keep_their_cause_for_the_log() {
        let unavailable = Refusal::from(Failure::Unavailable("disk /var/secret is full".to_owned())).into_response();
        assert_eq!(unavailable.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(unavailable.headers()[header::RETRY_AFTER], "1");
        assert!(unavailable.extensions().get::<Cause>().is_some());
        let internal = Refusal::from(Failure::Internal("SELECT".to_owned())).into_response();
        assert_eq!(internal.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!internal.headers().contains_key(header::RETRY_AFTER));
        assert!(internal.extensions().get::<Cause>().is_some());
    }

    #[test]
    fn one_second_is_one_second() {
        assert_eq!(throttled_text(1), "Request was throttled. Expected available in 1 second.");
        assert_eq!(throttled_text(2), "Request was throttled. Expected available in 2 seconds.");
    }
}
