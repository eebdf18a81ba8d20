//! Ending sessions, and learning of those that other nodes ended.

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
        self.write_own(move |tx| {
            if session::end_session(tx, user_id, session_id, LOGOUT, now_us)? {
                audit::insert_event(tx, &event)?;
            }
            Ok(())
        })
        .await?;
        self.note_ended(vec![session_id], LOGOUT, now_us);
        Ok(())
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

    /// Makes ended sessions count at once on this node.
    pub(crate) fn note_ended(&self, ids: Vec<Uuid>, reason: &str, now_us: i64) {
        self.ended.enter(ended_at(ids, reason, now_us), now_us);
    }

    /// Sessions that ended before this time have no access token that still counts.
    pub(crate) fn ended_since_us(&self) -> i64 {
        let keep_s = self.settings.access_token_ttl_s.saturating_add(LEEWAY_S);
        self.clock.now_us().saturating_sub(keep_s.saturating_mul(1_000_000))
    }
}
