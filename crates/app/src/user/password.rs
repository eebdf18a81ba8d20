//! Changing the password.

use florin_identity::check_password;
use florin_store::{Tx, audit, session, user};
use uuid::Uuid;

use super::{FieldErrors, UserError, read::overtaken};
use crate::{App, Caller, session::ended::PASSWORD_CHANGE};

impl App {
    /// Writes another password and ends every other session of the user at once. The caller's own stays.
    ///
    /// # Errors
    /// [`UserError::Invalid`] with messages about `current_password`, or else about `new_password`.
    pub async fn set_password(
        &self,
        caller: &Caller,
        current: &str,
        new: &str,
        request_id: &str,
    ) -> Result<(), UserError> {
        let (user, errors) = self.proven_user(caller, current).await?;
        errors.into_result()?;
        let mut errors = FieldErrors::default();
        errors.add("new_password", check_password(new, &user.username, &user.email));
        errors.into_result()?;

        let new_hash = self.passwords.hash(new, &*self.rng).await?;
        let now_us = self.clock.now_us();
        let event = self.event(PASSWORD_CHANGE, Some(user.id), Some(user.id), request_id);
        let keep = caller.session_id;
        let write = move |tx: &mut dyn Tx| {
            if !user::set_password_hash(tx, user.id, &user.password_hash, &new_hash, now_us)? {
                return Ok(None);
            }
            audit::insert_event(tx, &event)?;
            session::end_sessions_of(tx, user.id, Some(keep), PASSWORD_CHANGE, now_us).map(Some)
        };
        let ended = |ended: &Option<Vec<Uuid>>| ended.clone().unwrap_or_default();
        let written = self.write_ending((PASSWORD_CHANGE, now_us), write, ended).await?;
        written.map(drop).ok_or_else(overtaken)
    }
}
