//! Ending sessions, and learning of those that other nodes ended.

use std::sync::Arc;

use florin_store::{StoreError, Tx, audit, session};
use uuid::Uuid;

use super::{authenticate::ended_at, ended::LOGOUT};
use crate::{App, Caller, Failure, app::LEEWAY_S};

impl App {
    /// Ends the caller's session: its access and refresh tokens are dead at once. Ending it twice is no error.
    ///
    /// # Errors
    /// Those of storage.
    pub async fn end_session(&self, caller: &Caller, request_id: &str) -> Result<(), Failure> {
        let now_us = self.clock.now_us();
        let event = self.event(LOGOUT, Some(caller.user_id), Some(caller.user_id), request_id);
        let (user_id, session_id) = (caller.user_id, caller.session_id);
        let write = move |tx: &mut dyn Tx| {
            if session::end_session(tx, user_id, session_id, LOGOUT, now_us)? {
                audit::insert_event(tx, &event)?;
            }
            Ok(())
        };
        self.write_ending((LOGOUT, now_us), write, move |()| vec![session_id]).await
    }

    /// As [`App::write_own`]. The sessions that `ended` finds in what it came to are over on this node, too, before
    /// anything else is done, and also when nobody waits for the answer any more.
    pub(crate) async fn write_ending<T: Send + 'static>(
        &self,
        (reason, now_us): (&'static str, i64),
        work: impl FnMut(&mut dyn Tx) -> Result<T, StoreError> + Send + 'static,
        ended: impl FnOnce(&T) -> Vec<Uuid> + Send + 'static,
    ) -> Result<T, Failure> {
        let (engine, list) = (self.engine.clone(), Arc::clone(&self.ended));
        let write = move || {
            let outcome = florin_store::write(&*engine, work)?;
            list.enter(ended_at(ended(&outcome), reason, now_us), now_us);
            Ok(outcome)
        };
        self.blocking(write).await?
    }

    /// Learns of sessions that other nodes ended. To be called about every second where there are several nodes.
    ///
    /// # Errors
    /// Those of storage.
    pub async fn refresh_ended_sessions(&self) -> Result<(), Failure> {
        let since_us = self.ended_since_us();
        let ended = self.read(move |tx| session::list_ended(tx, since_us)).await?;
        self.ended.enter(ended, self.clock.now_us());
        Ok(())
    }

    /// As [`App::refresh_ended_sessions`], at start. Blocks.
    pub(crate) fn load_ended_sessions(&self) -> Result<(), Failure> {
        let since_us = self.ended_since_us();
        let ended = florin_store::read(&*self.engine, |tx: &mut dyn Tx| -> Result<_, StoreError> {
            session::list_ended(tx, since_us)
        })?;
        self.ended.enter(ended, self.clock.now_us());
        Ok(())
    }

    /// Sessions that ended before this time have no access token that still counts.
    pub(crate) fn ended_since_us(&self) -> i64 {
        let keep_s = self.settings.access_token_ttl_s.saturating_add(LEEWAY_S);
        self.clock.now_us().saturating_sub(keep_s.saturating_mul(1_000_000))
    }
}
