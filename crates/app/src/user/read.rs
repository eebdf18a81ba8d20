//! Reading users.

use florin_store::user::{self, NUMBER, UserRow, number_claim};
use uuid::Uuid;

use super::{FieldErrors, User, UserError, WRONG_PASSWORD};
use crate::{App, Caller};

impl App {
    /// The caller's own account.
    ///
    /// # Errors
    /// [`UserError::NotFound`] when it was disabled or deleted meanwhile.
    pub async fn get_user(&self, caller: &Caller) -> Result<User, UserError> {
        self.live_user(caller.user_id).await.map(User::from)
    }

    /// The account of this number, if it is the caller's own or the caller is staff.
    ///
    /// # Errors
    /// [`UserError::NotFound`], also for somebody else's.
    pub async fn find_user_by_number(&self, caller: &Caller, number: i64) -> Result<User, UserError> {
        if number == caller.user_number {
            return self.get_user(caller).await;
        }
        if number < 1 || !self.with_current_rights(caller).await?.is_staff {
            return Err(UserError::NotFound);
        }
        let row = self.read(move |tx| user::find_user_by_claim(tx, NUMBER, &number_claim(number))).await?;
        row.filter(|row| row.deleted_at_us.is_none()).map(User::from).ok_or(UserError::NotFound)
    }

    pub(crate) async fn live_user(&self, id: Uuid) -> Result<UserRow, UserError> {
        let row = self.read(move |tx| user::find_user(tx, id)).await?;
        row.filter(UserRow::is_live).ok_or(UserError::NotFound)
    }

    /// The caller with the current password checked: messages about `current_password` if it is wrong.
    pub(crate) async fn proven_user(
        &self,
        caller: &Caller,
        current_password: &str,
    ) -> Result<(UserRow, FieldErrors), UserError> {
        let user = self.live_user(caller.user_id).await?;
        let mut errors = FieldErrors::default();
        let matches = florin_identity::is_within_password_bounds(current_password)
            && self.passwords.check(current_password, Some(user.password_hash.clone()), &*self.rng).await?.matches;
        if !matches {
            errors.add("current_password", vec![WRONG_PASSWORD.to_owned()]);
        }
        Ok((user, errors))
    }
}

/// The password was changed between its check and the write.
pub(crate) fn overtaken() -> UserError {
    UserError::Invalid(FieldErrors::one("current_password", WRONG_PASSWORD))
}
