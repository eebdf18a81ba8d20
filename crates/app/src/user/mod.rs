//! Users: registering, changing and ending an account.

use thiserror::Error;
use uuid::Uuid;

use crate::Failure;

/// A user, without anything secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Id inside Florin.
    pub id: Uuid,
    /// The integer that clients see.
    pub number: i64,
    /// Name to sign in with.
    pub username: String,
    /// May be empty.
    pub email: String,
    /// A disabled user cannot sign in.
    pub is_active: bool,
    /// Staff routes are open.
    pub is_staff: bool,
    /// Made by `florin createsuperuser`.
    pub is_superuser: bool,
    /// Microseconds since the Unix epoch, UTC.
    pub created_at_us: i64,
}

/// Messages by field, in the order of the fields, in the words that Django REST framework uses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldErrors(pub Vec<(&'static str, Vec<String>)>);

/// Why a change to a user was refused.
#[derive(Debug, Error)]
pub enum UserError {
    /// Some fields do not hold.
    #[error("invalid fields")]
    Invalid(FieldErrors),
    /// No such user, or not one that the caller may see.
    #[error("user not found")]
    NotFound,
    /// The caller may not do this.
    #[error("not permitted")]
    Forbidden,
    /// See [`Failure`].
    #[error(transparent)]
    Failure(#[from] Failure),
}
