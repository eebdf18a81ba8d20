//! Ending an account.

use florin_store::{
    StoreError, Tx,
    audit::{self, AuditEvent},
    session,
    user::{self, USERNAME, UserRow},
};
use uuid::Uuid;

use super::{FieldErrors, UserError, read::overtaken};
use crate::{App, Caller, session::ended::USER_DELETED};

const HOLDS_MONEY: &str = "The account still holds money: withdraw it first.";

enum Outcome {
    Deleted(Vec<Uuid>),
    HoldsMoney,
    Overtaken,
}

impl App {
    /// Ends the caller's account: sessions end at once, what is personal is erased, the name is free again. The row
    /// stays, for the ledger's sake. Refused while a wallet of the user holds money.
    ///
    /// # Errors
    /// [`UserError::Invalid`] with messages about `current_password` or `non_field_errors`.
    pub async fn delete_user(
        &self,
        caller: &Caller,
        current_password: &str,
        request_id: &str,
    ) -> Result<(), UserError> {
        let (user, errors) = self.proven_user(caller, current_password).await?;
        errors.into_result()?;
        let now_us = self.clock.now_us();
        let event = self.event(USER_DELETED, Some(user.id), Some(user.id), request_id);
        let write = move |tx: &mut dyn Tx| delete_in_tx(tx, &user, &event, now_us);
        let ended = |outcome: &Outcome| match outcome {
            Outcome::Deleted(ended) => ended.clone(),
            Outcome::HoldsMoney | Outcome::Overtaken => Vec::new(),
        };
        match self.write_ending((USER_DELETED, now_us), write, ended).await? {
            Outcome::Deleted(_) => Ok(()),
            Outcome::HoldsMoney => Err(UserError::Invalid(FieldErrors::one("non_field_errors", HOLDS_MONEY))),
            Outcome::Overtaken => Err(overtaken()),
        }
    }
}

fn delete_in_tx(tx: &mut dyn Tx, user: &UserRow, event: &AuditEvent, now_us: i64) -> Result<Outcome, StoreError> {
    // First what may refuse: a transaction that only returns is committed.
    if user::holds_money(tx, user.id)? {
        return Ok(Outcome::HoldsMoney);
    }
    let erased_name = format!("deleted-{}", user.number);
    if !user::erase_user(tx, user.id, &user.password_hash, &erased_name, now_us)? {
        return Ok(Outcome::Overtaken);
    }
    user::release(tx, USERNAME, &user.username, user.id)?;
    audit::insert_event(tx, event)?;
    session::end_sessions_of(tx, user.id, None, USER_DELETED, now_us).map(Outcome::Deleted)
}
