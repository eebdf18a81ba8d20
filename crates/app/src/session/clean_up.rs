//! Deleting what nobody can use any more: dead refresh tokens, ended sessions, old counters of failures.

use florin_store::{session, sign_in_failures};

use crate::{App, Failure};

/// Rows of a kind that one step deletes at most: it never keeps a writer waiting for long.
const STEP_ROWS: u32 = 200;

/// What one step deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleanedUp {
    /// Refresh tokens past their time; sessions that had no other went with them.
    pub tokens: u64,
    /// Ended sessions none of whose access tokens can count any more, with their refresh tokens.
    pub sessions: u64,
    /// Names whose failed sign-ins are forgotten.
    pub failures: u64,
}

impl CleanedUp {
    /// There may be more to delete right now.
    #[must_use]
    pub fn has_more(&self) -> bool {
        let full = u64::from(STEP_ROWS);
        self.tokens >= full || self.sessions >= full || self.failures >= full
    }
}

impl App {
    /// Deletes a bounded number of rows, by the time of this node's clock. Several nodes may do this at once: each row
    /// is deleted by one of them.
    ///
    /// A used refresh token is kept until its time is over, so that its coming back is noticed as theft until then.
    ///
    /// # Errors
    /// Those of storage.
    pub async fn clean_up(&self) -> Result<CleanedUp, Failure> {
        // Past this, no access token that belongs to a row counts any more.
        let dead_us = self.ended_since_us();
        let now_us = self.clock.now_us();
        let cleaned = CleanedUp {
            tokens: self.write_own(move |tx| session::delete_expired_tokens(tx, dead_us, STEP_ROWS)).await?,
            sessions: self.write_own(move |tx| session::delete_ended_sessions(tx, dead_us, STEP_ROWS)).await?,
            failures: self.write_own(move |tx| sign_in_failures::delete_old_failures(tx, now_us, STEP_ROWS)).await?,
        };
        for (kind, rows) in
            [("refresh_tokens", cleaned.tokens), ("sessions", cleaned.sessions), ("failures", cleaned.failures)]
        {
            metrics::counter!("florin_cleaned_rows_total", "kind" => kind).increment(rows);
        }
        Ok(cleaned)
    }
}
