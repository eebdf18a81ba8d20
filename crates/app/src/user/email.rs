//! Changing the e-mail address.

use florin_identity::{check_email, normalize_email};
use florin_store::{audit, user};

use super::{FieldErrors, User, UserError};
use crate::{App, Caller};

impl App {
    /// Writes another address; an empty one takes it away.
    ///
    /// # Errors
    /// [`UserError::Invalid`] with messages about `email`; [`UserError::NotFound`] when the user is gone.
    pub async fn set_email(&self, caller: &Caller, email: &str, request_id: &str) -> Result<User, UserError> {
        let mut errors = FieldErrors::default();
        errors.add("email", check_email(email));
        errors.into_result()?;
        let (id, email, now_us) = (caller.user_id, normalize_email(email), self.clock.now_us());
        let event = self.event("email_change", Some(id), Some(id), request_id);
        let is_written = self
            .write_own(move |tx| {
                let is_written = user::set_email(tx, id, &email, now_us)?;
                if is_written {
                    audit::insert_event(tx, &event)?;
                }
                Ok(is_written)
            })
            .await?;
        if is_written { self.get_user(caller).await } else { Err(UserError::NotFound) }
    }
}
