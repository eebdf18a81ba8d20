//! Opening an account.

use florin_identity::{
    USERNAME_TAKEN, check_email, check_password, check_username, normalize_email, normalize_username,
};
use florin_store::{
    audit,
    user::{self, NUMBER, USERNAME, UserRow, number_claim},
};

use super::{FieldErrors, User, UserError};
use crate::{App, port::new_id};

impl App {
    /// Opens an account. Name and address are judged first, the password only when they hold.
    ///
    /// # Errors
    /// [`UserError::Invalid`] with messages about `email`, `username` or `password`.
    pub async fn register(
        &self,
        username: &str,
        email: &str,
        password: &str,
        request_id: &str,
    ) -> Result<User, UserError> {
        self.create_user(username, email, password, false, request_id).await
    }

    /// Opens an account to which staff routes are open. For the command line on the host.
    ///
    /// # Errors
    /// As [`App::register`].
    pub async fn create_superuser(&self, username: &str, email: &str, password: &str) -> Result<User, UserError> {
        self.create_user(username, email, password, true, "").await
    }

    async fn create_user(
        &self,
        username: &str,
        email: &str,
        password: &str,
        is_superuser: bool,
        request_id: &str,
    ) -> Result<User, UserError> {
        let mut errors = FieldErrors::default();
        errors.add("email", check_email(email));
        errors.add("username", self.check_new_username(username).await?);
        errors.into_result()?;
        let mut errors = FieldErrors::default();
        errors.add("password", check_password(password, username, email));
        errors.into_result()?;

        let password_hash = self.passwords.hash(password, &*self.rng).await?;
        let row = UserRow {
            id: new_id(&*self.clock, &*self.rng),
            number: 0,
            username: normalize_username(username),
            email: normalize_email(email),
            password_hash,
            is_active: true,
            is_staff: is_superuser,
            is_superuser,
            token_version: 0,
            created_at_us: self.clock.now_us(),
            deleted_at_us: None,
        };
        let action = if is_superuser { "create_superuser" } else { "register" };
        let event = self.event(action, Some(row.id).filter(|_| !is_superuser), Some(row.id), request_id);
        let written = self
            .write(move |tx| {
                user::claim(tx, USERNAME, &row.username, row.id)?;
                audit::insert_event(tx, &event)?;
                // The counter last: every other registration waits for it until the commit.
                let row = UserRow { number: user::take_number(tx)?, ..row.clone() };
                user::claim(tx, NUMBER, &number_claim(row.number), row.id)?;
                user::insert_user(tx, &row)?;
                Ok(User::from(row))
            })
            .await?;
        written.map_err(|_| UserError::Invalid(FieldErrors::one("username", USERNAME_TAKEN)))
    }

    /// Messages about a name that somebody wants. A race for it is decided by the claim.
    pub(crate) async fn check_new_username(&self, username: &str) -> Result<Vec<String>, UserError> {
        let messages = check_username(username);
        if !messages.is_empty() {
            return Ok(messages);
        }
        let name = normalize_username(username);
        let owner = self.read(move |tx| user::find_claim(tx, USERNAME, &name)).await?;
        Ok(owner.map(|_| USERNAME_TAKEN.to_owned()).into_iter().collect())
    }
}
