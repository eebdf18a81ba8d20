//! The rules of identity as pure functions: names, addresses, passwords, sign-in, refresh and the life of signing keys.
//! Nothing here hashes, signs, stores or looks at a clock.

mod email;
mod failures;
mod password;
mod refresh;
mod sign_in;
mod signing_keys;
mod similarity;
mod username;

pub use email::{MAX_EMAIL_CHARS, check_email, normalize_email};
pub use failures::{FORGET_AFTER_US, FORGET_FEW_AFTER_US, FREE_FAILURES, Failures, WAIT_MAX_US};
pub use password::{MAX_PASSWORD_BYTES, MIN_PASSWORD_CHARS, check_password, is_within_password_bounds};
pub use refresh::{RefreshDecision, RefreshFacts, Successor, decide_refresh};
pub use sign_in::{CredentialFacts, SignInDecision, decide_sign_in};
pub use signing_keys::{KeyChange, KeyFacts, KeyRules, KeyState, KeyWish, decide_keys};
pub use username::{MAX_USERNAME_CHARS, USERNAME_TAKEN, check_username, normalize_username};

/// What a field says to a text with a NUL in it.
pub(crate) const NULL_CHARACTERS: &str = "Null characters are not allowed.";
