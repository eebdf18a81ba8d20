//! Refusals on Florin's own routes: problem bodies of RFC 9457.

use std::borrow::Cow;

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use florin_app::{
    Failure,
    user::{FieldErrors, UserError},
    wallet::{WalletError, explain},
};
use florin_ledger::Rejection;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::{
    caller::AuthRefusal,
    django::CHALLENGE,
    envelope::Cause,
    idempotency_key::{InvalidKey, KEY_RULE, mark_replayed},
    request_body::BodyRefusal,
    request_id::RequestId,
};

/// A refusal. Its body is written when the request's id is at hand, in the envelope.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: String,
    errors: Vec<(Cow<'static, str>, Vec<String>)>,
    retry_after_s: Option<u32>,
    replayed: bool,
    cause: Option<Cause>,
}

/// The body of a refusal on Florin's own routes (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem, example = json!({
    "type": "urn:florin:problem:insufficient_funds", "title": "Insufficient funds", "status": 422,
    "code": "insufficient_funds", "detail": "Available: 10.00, required: 25.00.", "errors": {},
    "request_id": "8c3f6c0e5b7b4a0f9d6a1c2b3d4e5f60"
}))]
pub(crate) struct ProblemBody<'a> {
    /// Names the kind of problem.
    #[serde(rename = "type")]
    kind: String,
    /// The kind in words.
    title: &'a str,
    /// The HTTP status.
    status: u16,
    /// The kind, for programs: `validation_error`, `not_authenticated`, `token_not_valid`, `permission_denied`,
    /// `wallet_not_found`, `user_not_found`, `insufficient_funds`, `ceiling_exceeded`, `asset_mismatch`,
    /// `account_closed`, `unknown_asset`, `idempotency_key_reused`, `throttled`, `unavailable` and so on.
    code: &'a str,
    /// This occurrence in words.
    detail: &'a str,
    /// Messages by field.
    #[schema(value_type = std::collections::HashMap<String, Vec<String>>)]
    errors: Map<String, Value>,
    /// The request's id, as in `X-Request-Id`.
    request_id: &'a str,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            title,
            detail: detail.into(),
            errors: Vec::new(),
            retry_after_s: None,
            replayed: false,
            cause: None,
        }
    }

    pub(crate) fn invalid(errors: FieldErrors) -> Self {
        let names: Vec<&str> = errors.0.iter().map(|(name, _)| *name).collect();
        let detail = format!("These fields do not hold: {}.", names.join(", "));
        let problem = Self::new(StatusCode::BAD_REQUEST, "validation_error", "Invalid request", detail);
        let errors = errors.0.into_iter().map(|(name, messages)| (Cow::Borrowed(name), messages)).collect();
        Self { errors, ..problem }
    }

    /// Messages about items of a list, by their place: `commands[17].wallet`.
    pub(crate) fn invalid_items(errors: Vec<(String, Vec<String>)>) -> Self {
        let first = errors.first().map(|(name, messages)| format!("{name}: {}", messages.join(" ")));
        let detail = format!("{} Nothing was applied.", first.unwrap_or_default());
        let problem = Self::new(StatusCode::BAD_REQUEST, "validation_error", "Invalid request", detail);
        Self { errors: errors.into_iter().map(|(name, messages)| (Cow::Owned(name), messages)).collect(), ..problem }
    }

    pub(crate) fn invalid_field(name: &'static str, message: impl Into<String>) -> Self {
        Self::invalid(FieldErrors(vec![(name, vec![message.into()])]))
    }

    pub(crate) fn not_found(code: &'static str, title: &'static str) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, title, format!("{title}."))
    }

    pub(crate) fn forbidden() -> Self {
        let detail = "You do not have permission to perform this action.";
        Self::new(StatusCode::FORBIDDEN, "permission_denied", "Permission denied", detail)
    }

    pub(crate) fn timeout() -> Self {
        let detail = "The request took too long. Whether it took effect is not known; repeat it with the same \
                      Idempotency-Key, or read before you repeat it.";
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", "Request timed out", detail);
        Self { retry_after_s: Some(1), ..problem }
    }

    pub(crate) fn failure(failure: &Failure) -> Self {
        let unavailable = matches!(failure, Failure::Unavailable(_));
        let problem = if unavailable {
            let detail = "The service cannot do this now. Please try again.";
            Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Temporarily unavailable", detail)
        } else {
            Self::internal()
        };
        Self { retry_after_s: unavailable.then_some(1), cause: Some(Cause::of(failure)), ..problem }
    }

    pub(crate) fn internal() -> Self {
        let detail = "Something went wrong here. The request id finds it in the log.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", "Internal error", detail)
    }

    fn rejected(rejection: &Rejection, exponent: u8) -> Self {
        let (code, detail) = explain(rejection, exponent);
        let (status, title) = match rejection {
            Rejection::AccountNotFound { .. } => (StatusCode::NOT_FOUND, "Wallet not found"),
            Rejection::Malformed { .. } => (StatusCode::BAD_REQUEST, "Malformed movement"),
            Rejection::AccountClosed { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "Wallet closed"),
            Rejection::AssetMismatch { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "Asset mismatch"),
            Rejection::InsufficientFunds { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "Insufficient funds"),
            Rejection::CeilingExceeded { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "Ceiling exceeded"),
            Rejection::IdempotencyKeyReused => (StatusCode::UNPROCESSABLE_ENTITY, "Idempotency key reused"),
            Rejection::BatchRefused { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "Batch refused"),
        };
        Self::new(status, code, title, detail)
    }

    /// The idempotency key of a whole request was used with another one.
    pub(crate) fn key_reused() -> Self {
        Self::rejected(&Rejection::IdempotencyKeyReused, 0)
    }

    /// Too many large requests are in hand.
    pub(crate) fn busy() -> Self {
        Self::failure(&Failure::Unavailable("too many large requests at once".to_owned()))
    }

    /// Writes the body.
    pub(crate) fn render(&self, request_id: &RequestId) -> Body {
        let errors = self.errors.iter().map(|(name, messages)| (name.to_string(), messages.clone().into())).collect();
        let body = ProblemBody {
            kind: format!("urn:florin:problem:{}", self.code),
            title: self.title,
            status: self.status.as_u16(),
            code: self.code,
            detail: &self.detail,
            errors,
            request_id: request_id.as_str(),
        };
        Body::from(serde_json::to_vec(&body).unwrap_or_default())
    }
}

impl IntoResponse for Problem {
    fn into_response(mut self) -> Response {
        let mut response = self.status.into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, CHALLENGE);
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        mark_replayed(&mut response, self.replayed);
        if let Some(cause) = self.cause.take() {
            response.extensions_mut().insert(cause);
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        Self::failure(&failure)
    }
}

impl From<AuthRefusal> for Problem {
    fn from(refusal: AuthRefusal) -> Self {
        let unauthorized = |code, detail: &str| Self::new(StatusCode::UNAUTHORIZED, code, "Not authenticated", detail);
        match refusal {
            AuthRefusal::Missing => unauthorized("not_authenticated", "Authentication credentials were not provided."),
            AuthRefusal::BadHeader => {
                unauthorized("bad_authorization_header", "Authorization header must contain two space-delimited values")
            }
            AuthRefusal::InvalidToken => unauthorized("token_not_valid", "Token is invalid or expired"),
            AuthRefusal::UserGone => unauthorized("user_not_found", "User not found"),
            AuthRefusal::Throttled(seconds) => {
                let detail = crate::django::throttled_text(seconds);
                let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "throttled", "Too many requests", detail);
                Self { retry_after_s: u32::try_from(seconds).ok(), ..problem }
            }
            AuthRefusal::Failure(failure) => failure.into(),
        }
    }
}

impl From<BodyRefusal> for Problem {
    fn from(refusal: BodyRefusal) -> Self {
        let (code, title) = match &refusal {
            BodyRefusal::TooLarge(_) => ("body_too_large", "Request body too large"),
            BodyRefusal::Unsupported(_) => ("unsupported_media_type", "Unsupported media type"),
            BodyRefusal::Parse(_) => ("parse_error", "Malformed request body"),
            BodyRefusal::Shape(message) => return Self::invalid_field("non_field_errors", message.clone()),
        };
        Self::new(refusal.status(), code, title, refusal.to_string())
    }
}

impl From<InvalidKey> for Problem {
    fn from(_: InvalidKey) -> Self {
        let status = StatusCode::BAD_REQUEST;
        Self::new(status, "invalid_idempotency_key", "Invalid idempotency key", KEY_RULE)
    }
}

impl From<WalletError> for Problem {
    fn from(error: WalletError) -> Self {
        match error {
            WalletError::NotFound => Self::not_found("wallet_not_found", "Wallet not found"),
            WalletError::UnknownAsset => {
                let errors = vec![(Cow::Borrowed("asset"), vec!["This asset is not known here.".to_owned()])];
                let detail = "This asset is not known here.";
                let problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "unknown_asset", "Unknown asset", detail);
                Self { errors, ..problem }
            }
            WalletError::Forbidden => Self::forbidden(),
            WalletError::Rejected { rejection, asset, replayed } => {
                Self { replayed, ..Self::rejected(&rejection, asset.exponent()) }
            }
            WalletError::Failure(failure) => failure.into(),
        }
    }
}

impl From<UserError> for Problem {
    fn from(error: UserError) -> Self {
        match error {
            UserError::Invalid(errors) => Self::invalid(errors),
            UserError::NotFound => Self::not_found("user_not_found", "User not found"),
            UserError::Forbidden => Self::forbidden(),
            UserError::Failure(failure) => failure.into(),
        }
    }
}

impl From<FieldErrors> for Problem {
    fn from(errors: FieldErrors) -> Self {
        Self::invalid(errors)
    }
}
