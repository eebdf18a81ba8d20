//! A transaction's batch: what it was decided on, and what became of it.

use florin_ledger::{Account, AccountId, AccountMap};
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
    is_first_try: bool,
    /// Once it was asked for.
    basis: Option<Basis>,
    /// Whether something was found that is not as it was remembered.
    pub(crate) had_changed: bool,
    /// Before anything was asked for it, or for the first one of the transaction.
    pub(crate) since: Option<Moment>,
    pub(crate) writer: Option<u16>,
    /// The version of each account that was given, and whether this transaction read it.
    pub(crate) given: AccountMap<(i64, bool)>,
    pub(crate) changed: Vec<Account>,
    /// As batches before it, of the same transaction, leave them.
    earlier: AccountMap<Account>,
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
    pub(crate) fn new(is_first_try: bool) -> Self {
        Self { is_first_try, ..Self::default() }
    }

    /// What the transaction's batches are decided on, the same for all of them.
    pub(crate) fn basis(&mut self, cache: &LedgerCache) -> Basis {
        let is_first_try = self.is_first_try;
        *self.basis.get_or_insert_with(|| if is_first_try { cache.basis() } else { Basis::Locks })
    }

    /// Whether it is decided on what the node remembers.
    pub(crate) fn assumes(&self) -> bool {
        self.basis.unwrap_or_default() == Basis::Memory && self.writer.is_some()
    }

    /// Another batch begins behind it, in the same transaction.
    pub(crate) fn begin_another(&mut self) {
        for account in self.changed.drain(..) {
            // What was given before this transaction changed it is no version that somebody else has changed.
            self.given.remove(&account.id);
            self.earlier.insert(account.id, account);
        }
    }

    /// What its transaction itself has written before, over what is remembered.
    pub(crate) fn overlay(&self, writer: u16, ids: &[AccountId], facts: &mut (Option<ChainHead>, AccountMap<Account>)) {
        if self.earlier.is_empty() {
            return;
        }
        let own = self.head.filter(|(own, _)| *own == writer).map(|(_, head)| head);
        facts.0 = own.or(facts.0);
        facts.1.extend(ids.iter().filter_map(|id| Some((*id, self.earlier.get(id)?.clone()))));
    }

    /// Accounts that the batch changes, which is about to be written; those that none before it has changed are new.
    pub(crate) fn change(&mut self, accounts: Vec<Account>, cache: &LedgerCache) {
        if self.earlier.is_empty() {
            cache.writing(&accounts);
        } else {
            let new = accounts.iter().filter(|account| !self.earlier.contains_key(&account.id)).cloned();
            cache.writing(&new.collect::<Vec<_>>());
        }
        self.changed = accounts;
    }

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
    pub(crate) fn remember(mut self, cache: &LedgerCache, ending: &Ending, is_broken: bool) {
        if !self.earlier.is_empty() {
            self.begin_another();
            self.changed = std::mem::take(&mut self.earlier).into_values().collect();
        }
        let Self { basis, had_changed, since, writer, given, changed, head, has_conflict, .. } = self;
        let basis = basis.unwrap_or_default();
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
