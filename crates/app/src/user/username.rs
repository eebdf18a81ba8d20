//! Changing the username.

use florin_identity::{USERNAME_TAKEN, normalize_username};
use florin_store::{
    audit,
    user::{self, USERNAME},
};

use super::{FieldErrors, UserError, read::overtaken};
use crate::{App, Caller};

impl App {
    /// Writes another name. The old one is free again; the own name again is no error.
    ///
    /// # Errors
    /// [`UserError::Invalid`] with messages about `current_password` and `new_username`.
    pub async fn set_username(
        &self,
        caller: &Caller,
        current_password: &str,
        new_username: &str,
        request_id: &str,
    ) -> Result<(), UserError> {
        let (user, mut errors) = self.proven_user(caller, current_password).await?;
        let new_name = normalize_username(new_username);
        if new_name != user.username {
            errors.add("new_username", self.check_new_username(new_username).await?);
        }
        errors.into_result()?;
        if new_name == user.username {
            return Ok(());
        }
        let now_us = self.clock.now_us();
        let event = self.event("username_change", Some(user.id), Some(user.id), request_id);
        let written = self
            .write(move |tx| {
                user::claim(tx, USERNAME, &new_name, user.id)?;
                if !user::set_username(tx, user.id, &user.password_hash, &new_name, now_us)? {
                    // Gives the claim back: it was of this transaction.
                    user::release(tx, USERNAME, &new_name, user.id)?;
                    return Ok(false);
                }
                user::release(tx, USERNAME, &user.username, user.id)?;
                audit::insert_event(tx, &event)?;
                Ok(true)
            })
            .await?;
        match written {
            Ok(true) => Ok(()),
            Ok(false) => Err(overtaken()),
            Err(_) => Err(UserError::Invalid(FieldErrors::one("new_username", USERNAME_TAKEN))),
        }
    }
}
