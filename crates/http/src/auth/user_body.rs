//! A user on the wire.

use florin_app::user::User;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// A user.
#[derive(Serialize, ToSchema)]
#[schema(as = User, example = json!({
    "email": "alice@example.com", "id": 1, "username": "alice", "uuid": "0197b9a2-7c31-7d52-9d5e-7f0f2f6f3a11"
}))]
pub(crate) struct UserBody<'a> {
    /// May be empty.
    email: &'a str,
    /// The user's number.
    id: i64,
    /// Name to sign in with.
    username: &'a str,
    /// The user's id inside Florin.
    uuid: Uuid,
}

impl<'a> From<&'a User> for UserBody<'a> {
    fn from(user: &'a User) -> Self {
        Self { email: &user.email, id: user.number, username: &user.username, uuid: user.id }
    }
}
