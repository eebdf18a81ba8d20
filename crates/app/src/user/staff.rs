//! What staff may do with the accounts of others.

use florin_store::{
    StoreError, Tx, audit, session,
    user::{self, NUMBER, USERNAME, UserRow},
};
use uuid::Uuid;

use super::{User, UserError};
use crate::{App, Caller, session::ended::USER_DISABLED, wallet::Page};

/// Most users on a page.
const PAGE_MAX: u16 = 200;

impl App {
    /// Users in the order of their numbers; with `query`, those whose name contains it, in the order of their names.
    /// `after` is the `next` of the page before.
    ///
    /// # Errors
    /// [`UserError::Forbidden`] unless the caller is staff.
    pub async fn list_users(
        &self,
        caller: &Caller,
        after: Option<&str>,
        limit: u16,
        query: Option<&str>,
    ) -> Result<Page<User>, UserError> {
        if !self.with_current_rights(caller).await?.is_staff {
            return Err(UserError::Forbidden);
        }
        let after = after.unwrap_or_default().to_owned();
        let query = query.filter(|query| !query.is_empty()).map(str::to_lowercase);
        let limit = limit.clamp(1, PAGE_MAX);
        Ok(self.read(move |tx| page(tx, &after, query.as_deref(), limit)).await?)
    }

    /// Enables or disables a user. Disabling ends all sessions at once. Staff cannot disable themselves.
    ///
    /// # Errors
    /// [`UserError::Forbidden`] unless the caller is staff; [`UserError::NotFound`].
    pub async fn set_active(
        &self,
        caller: &Caller,
        number: i64,
        active: bool,
        request_id: &str,
    ) -> Result<User, UserError> {
        let is_own = number == caller.user_number;
        if (is_own && !active) || !self.with_current_rights(caller).await?.is_staff {
            return Err(UserError::Forbidden);
        }
        let found = self.find_user_by_number(caller, number).await?;
        let (id, now_us) = (found.id, self.clock.now_us());
        let action = if active { "user_enabled" } else { USER_DISABLED };
        let event = self.event(action, Some(caller.user_id), Some(id), request_id);
        let write = move |tx: &mut dyn Tx| {
            if !user::set_active(tx, id, active, now_us)? {
                return Ok(None);
            }
            audit::insert_event(tx, &event)?;
            if active {
                return Ok(Some(Vec::new()));
            }
            session::end_sessions_of(tx, id, None, USER_DISABLED, now_us).map(Some)
        };
        let ended = |ended: &Option<Vec<Uuid>>| ended.clone().unwrap_or_default();
        self.write_ending((USER_DISABLED, now_us), write, ended).await?.ok_or(UserError::NotFound)?;
        Ok(User { is_active: active, ..found })
    }
}

fn page(tx: &mut dyn Tx, after: &str, query: Option<&str>, limit: u16) -> Result<Page<User>, StoreError> {
    let kind = if query.is_some() { USERNAME } else { NUMBER };
    let claims = user::list_claims(tx, kind, after, query, limit)?;
    // A number stays claimed after its user was deleted, so a page may be short and still not be the last.
    let is_full = claims.len() == usize::from(limit);
    let next = claims.last().map(|(name, _)| name.clone()).filter(|_| is_full);
    let mut items = Vec::with_capacity(claims.len());
    for (_, id) in claims {
        let row = user::find_user(tx, id)?.filter(|row: &UserRow| row.deleted_at_us.is_none());
        items.extend(row.map(User::from));
    }
    Ok(Page { items, next })
}
