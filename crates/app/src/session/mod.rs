//! Sessions: signing in, refreshing, checking and ending.

pub(crate) mod access_token;
pub(crate) mod authenticate;
mod clean_up;
mod end;
pub(crate) mod ended;
mod issue;
mod key_care;
pub(crate) mod keys;
mod refresh;
mod refresh_token;
mod sign_in;
pub(crate) mod staff_right;

pub use clean_up::CleanedUp;
pub use florin_identity::KeyWish;
pub use key_care::{JWKS_MAX_AGE_S, KeyCare, key_rules};

use thiserror::Error;

use crate::Failure;

/// What a client holds after signing in.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenPair {
    /// A JWT for the API.
    pub access: String,
    /// An opaque token for the next pair.
    pub refresh: String,
    /// Life of the access token, seconds.
    pub expires_in_s: i64,
}

/// Why nobody was signed in.
#[derive(Debug, Error)]
pub enum SignInError {
    /// Unknown name, wrong password or disabled user: told apart by nobody.
    #[error("no active account found with the given credentials")]
    Refused,
    /// Too many failures under this name, whether or not it is anybody's. The attempt was not looked at.
    #[error("too many failed sign-ins; the next attempt is welcome in {retry_after_s} s")]
    Throttled {
        /// Until the next attempt is welcome, seconds from 1.
        retry_after_s: u64,
    },
    /// See [`Failure`].
    #[error(transparent)]
    Failure(#[from] Failure),
}

/// Why a token was refused.
#[derive(Debug, Error)]
pub enum TokenError {
    /// Not a token of ours, or its time is over, or its session has ended.
    #[error("token is invalid or expired")]
    Invalid,
    /// An access token where a refresh token belongs, or the reverse.
    #[error("token has wrong type")]
    WrongType,
    /// The token is good but its user is gone or disabled.
    #[error("user not found or disabled")]
    UserGone,
    /// See [`Failure`].
    #[error(transparent)]
    Failure(#[from] Failure),
}
