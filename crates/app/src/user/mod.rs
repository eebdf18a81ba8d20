//! Users: registering, changing and ending an account.

mod delete;
mod email;
mod password;
pub(crate) mod password_hash;
pub(crate) mod password_pool;
mod read;
mod register;
mod staff;
mod username;

use florin_store::user::UserRow;
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

/// What is said of a current password that is not the user's.
const WRONG_PASSWORD: &str = "Invalid password.";

impl FieldErrors {
    /// One message about one field.
    pub(crate) fn one(field: &'static str, message: &str) -> Self {
        Self(vec![(field, vec![message.to_owned()])])
    }

    /// Adds the messages about a field, if there are any.
    pub(crate) fn add(&mut self, field: &'static str, messages: Vec<String>) {
        if !messages.is_empty() {
            self.0.push((field, messages));
        }
    }

    /// An error, unless nothing was added.
    pub(crate) fn into_result(self) -> Result<(), UserError> {
        if self.0.is_empty() { Ok(()) } else { Err(UserError::Invalid(self)) }
    }
}

impl From<UserRow> for User {
    fn from(row: UserRow) -> Self {
        Self {
            id: row.id,
            number: row.number,
            username: row.username,
            email: row.email,
            is_active: row.is_active,
            is_staff: row.is_staff,
            is_superuser: row.is_superuser,
            created_at_us: row.created_at_us,
        }
    }
}
