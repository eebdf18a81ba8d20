//! Who is asking.

use uuid::Uuid;

/// A user whose access token was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// The user.
    pub user_id: Uuid,
    /// The user's number, as clients see it.
    pub user_number: i64,
    /// The session the token belongs to; nil for work that goes on after the request that ordered it.
    pub session_id: Uuid,
    /// Whether staff routes are open to this user.
    pub is_staff: bool,
}
