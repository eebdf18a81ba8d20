//! A transaction's batch: what it was decided on, and what became of it.

use florin_ledger::{Account, AccountMap};
use florin_store::{ChainHead, StoreError};
use tokio_postgres::{Error, error::SqlState};

use crate::{
    error::{commit_error, is_retryable, is_stale_plan},
    ledger::{
        cache::{LedgerCache, Moment},
        caution::Basis,
    },
};

/// What the transaction's batch, if it has one, was decided on and came to.
#[derive(Default)]
pub(crate) struct Batch {
    /// Whether the transaction is tried for the first time: later it is decided under locks.
    pub(crate) is_first_try: bool,
    pub(crate) basis: Basis,
    /// Whether something was found that is not as it was remembered.
    pub(crate) had_changed: bool,
    /// Before anything was asked for it.
    pub(crate) since: Option<Moment>,
    pub(crate) writer: Option<u16>,
    /// The version of each account that was given, and whether this transaction read it.
    pub(crate) given: AccountMap<(i64, bool)>,
    pub(crate) changed: Vec<Account>,
    pub(crate) head: Option<(u16, ChainHead)>,
    pub(crate) has_conflict: bool,
}

/// How an attempt at a transaction ended.
#[derive(Debug)]
pub(crate) enum Ending {
    Done,
    Failed(StoreError),
    Retry(StoreError),
    /// What was remembered was not true any more.
    Conflict(StoreError),
}

/// How a transaction ended by the server's answer to its commit, none if it did not come in time; and whether the
/// connection must not be used again.
pub(crate) fn conclude(answer: Option<Result<(), Error>>, batch: &mut Batch) -> (Ending, bool) {
    match answer {
        Some(Ok(())) => (Ending::Done, false),
        Some(Err(error)) if batch.is_conflict(&error) => (Ending::Conflict(batch.conflict()), false),
        Some(Err(error)) => {
            let may_retry = is_retryable(&error) || is_stale_plan(&error);
            let failure = commit_error(&error);
            let ending = if may_retry { Ending::Retry(failure) } else { Ending::Failed(failure) };
            (ending, !is_retryable(&error))
        }
        None => {
            let unknown = StoreError::OutcomeUnknown("PostgreSQL did not answer the commit in time".to_owned());
            (Ending::Failed(unknown), true)
        }
    }
}

impl Batch {
    /// Whether a batch was refused because it was decided on what is not true any more: also a posting or an answer
    /// that another node had written meanwhile tells that.
    pub(crate) fn is_conflict(&self, error: &Error) -> bool {
        error.code() == Some(&SqlState::DIVISION_BY_ZERO)
            || self.writer.is_some() && error.code() == Some(&SqlState::UNIQUE_VIOLATION)
    }

    pub(crate) fn conflict(&mut self) -> StoreError {
        self.has_conflict = true;
        StoreError::Unavailable("another node had changed an account or a chain".to_owned())
    }

    /// Lets the node remember what it wrote, or forget what it may have been wrong about.
    pub(crate) fn remember(self, cache: &LedgerCache, ending: &Ending, is_broken: bool) {
        let Self { basis, had_changed, since, writer, given, changed, head, has_conflict, .. } = self;
        if let (Ending::Done, Some(since)) = (ending, since) {
            cache.committed(&changed, head, since, (basis, had_changed));
            return;
        }
        if given.is_empty() && changed.is_empty() && writer.is_none() {
            return;
        }

        cache.forget(given.keys().copied().chain(changed.iter().map(|account| account.id)), writer);
        if !is_broken {
            cache.ended(&changed);
        }
        if has_conflict {
            cache.overtaken(basis);
        }
    }
}
