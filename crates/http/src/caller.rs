//! Who is asking: the bearer token of a request, and the caller's rate.

use axum::http::{HeaderMap, Method, header};
use florin_app::{Caller, Failure, session::TokenError};

use crate::state::Http;

/// Why nobody is let in. Each dialect has its own words for it.
#[derive(Debug)]
pub(crate) enum AuthRefusal {
    /// No bearer token.
    Missing,
    /// Not two parts.
    BadHeader,
    /// Not a token of ours, over, or ended.
    InvalidToken,
    /// Its user is gone or disabled.
    UserGone,
    /// Too many requests; seconds until the next is welcome.
    Throttled(u64),
    /// Could not be checked.
    Failure(Failure),
}

/// The token of `Authorization: Bearer <token>`. The scheme's name is case-sensitive, as clients know it.
fn bearer(headers: &HeaderMap) -> Result<&str, AuthRefusal> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Err(AuthRefusal::Missing) };
    let Ok(text) = value.to_str() else { return Err(AuthRefusal::Missing) };
    // As nearly everybody writes it; a token of ours has no blank in it.
    if let Some(token) = text.strip_prefix("Bearer ")
        && !token.is_empty()
        && !token.bytes().fold(false, |found, byte| found | byte.is_ascii_whitespace())
    {
        return Ok(token);
    }
    let mut parts = text.split_ascii_whitespace();
    if parts.next() != Some("Bearer") {
        return Err(AuthRefusal::Missing);
    }
    match (parts.next(), parts.next()) {
        (Some(token), None) => Ok(token),
        _ => Err(AuthRefusal::BadHeader),
    }
}

impl Http {
    /// The caller, by the access token. Costs no I/O.
    pub(crate) fn caller(&self, headers: &HeaderMap) -> Result<Caller, AuthRefusal> {
        self.app.authenticate(bearer(headers)?).map_err(|error| match error {
            TokenError::Invalid | TokenError::WrongType => AuthRefusal::InvalidToken,
            TokenError::UserGone => AuthRefusal::UserGone,
            TokenError::Failure(failure) => AuthRefusal::Failure(failure),
        })
    }

    /// The caller, counted against the rate limit where one is set.
    pub(crate) fn counted_caller(&self, method: &Method, headers: &HeaderMap) -> Result<Caller, AuthRefusal> {
        let caller = self.caller(headers)?;
        if let Some(throttling) = &self.throttling {
            let is_read = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
            throttling.count(caller.user_id, is_read, self.app.clock().now_us()).map_err(AuthRefusal::Throttled)?;
        }
        Ok(caller)
    }
}
