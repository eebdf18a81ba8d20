//! Brings the rows of accounts and the index of keys after the journal: a generation of commits at a time, in their
//! order, a little with each commit.
//!
//! A row written for many commits costs one write, and neighbours share their page. No commit carries much beyond its
//! own size, so none of them waits for a generation.

use florin_ledger::{AccountId, AccountSet, KeyDigest};
use florin_store::StoreError;
use rusqlite::{Connection, params};

use super::{
    key_index::KeyIndex,
    key_run::{Entry, Run, name_of},
    memory::{Held, Memory},
    record::Place,
    staged::Staged,
};
use crate::{error::store_error, minor::Minor};

/// Rows and keys written with each commit, beside the operations' share: in the end a generation is written before the
/// next one is full, at an even pace.
const ROWS_WITH_A_COMMIT: usize = 32;

pub(crate) const UPDATE_ACCOUNT: &str = "UPDATE accounts SET posted_debits = ?3, posted_credits = ?4, \
    pending_debits = ?5, pending_credits = ?6, version = ?7, updated_at = ?8, last_place = ?9 \
    WHERE bucket = ?1 AND id = ?2";

pub(crate) const UPDATE_SETTLED: &str = "UPDATE settled SET sequence = ?1";

/// What is not in the tables: the generation that gathers, and the one that is being written.
#[derive(Debug, Default)]
pub(crate) struct Settling {
    young: Generation,
    old: Option<Sorted>,
    /// How far the open transaction has come with `old`.
    staged: Progress,
    pub(crate) key_index: KeyIndex,
    /// That a generation gathers.
    pub(crate) generation_operations: usize,
}

#[derive(Debug, Default)]
struct Generation {
    accounts: AccountSet,
    keys: Vec<(KeyDigest, Place)>,
    operations: usize,
    last_sequence: i64,
}

/// A generation in the order of the tables.
#[derive(Debug)]
struct Sorted {
    accounts: Vec<(u16, AccountId)>,
    keys: Vec<Entry>,
    digests: Vec<KeyDigest>,
    done: Progress,
    last_sequence: i64,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Progress {
    accounts: usize,
    keys: usize,
    /// That of the keys, once it is begun.
    run: Option<Run>,
}

impl Settling {
    pub(crate) fn new(generation_operations: usize) -> Self {
        Self { generation_operations: generation_operations.max(1), ..Self::default() }
    }

    /// Writes the next rows, in the open transaction of a batch of `operations`. `staged` gives the accounts of this
    /// transaction; the others are in memory.
    pub(crate) fn step(
        &mut self,
        connection: &Connection,
        operations: usize,
        staged: impl Fn(AccountId) -> Option<Held>,
        memory: &Memory,
    ) -> Result<(), StoreError> {
        let Some(old) = &self.old else { return Ok(()) };
        let share = (old.accounts.len() + old.keys.len()).div_ceil(self.generation_operations);
        let rows = operations.saturating_mul(share).saturating_add(ROWS_WITH_A_COMMIT);
        let from = if self.staged == Progress::default() { old.done } else { self.staged };
        let held = |id| staged(id).or_else(|| memory.find_account(id));
        let accounts = old.write_accounts(connection, from.accounts, rows, held)?;
        let left = rows - (accounts - from.accounts);
        let from_keys = Progress { accounts, ..from };
        self.staged = old.write_keys(connection, from_keys, left, &mut self.key_index, memory)?;
        if old.is_done(self.staged) && !old.is_done(from) {
            if let Some(run) = self.staged.run {
                self.key_index.finish(connection, run)?;
            }
            let mut update = connection.prepare_cached(UPDATE_SETTLED).map_err(store_error)?;
            update.execute(params![old.last_sequence]).map_err(store_error)?;
        }
        Ok(())
    }

    /// The commit is done: its accounts and keys are to be written, and what it wrote is written.
    pub(crate) fn committed(&mut self, batch: &Staged, last_sequence: i64, memory: &Memory) {
        self.young.accounts.extend(&batch.changed);
        self.young.keys.extend(batch.keys.iter().map(|(digest, place)| (*digest, *place)));
        self.young.operations += batch.operations;
        self.young.last_sequence = last_sequence;
        self.key_index.committed();
        let staged = std::mem::take(&mut self.staged);
        if let Some(old) = &mut self.old {
            if staged != Progress::default() {
                old.done = staged;
            }
            if old.is_done(old.done) {
                memory.forget_keys(&old.digests);
                self.old = None;
            }
        }
        if self.old.is_none() && self.young.operations >= self.generation_operations {
            self.old = Some(Sorted::from(std::mem::take(&mut self.young)));
        }
    }

    /// The transaction was rolled back, and its rows with it.
    pub(crate) fn rolled_back(&mut self) {
        self.staged = Progress::default();
        self.key_index.rolled_back();
    }

    /// Whether the account's row is behind.
    pub(crate) fn holds(&self, id: AccountId) -> bool {
        self.young.accounts.contains(&id) || self.old.as_ref().is_some_and(|old| old.holds(id))
    }

    /// Writes everything that is left, in transactions of its own.
    pub(crate) fn all(&mut self, connection: &Connection, memory: &Memory) -> Result<(), StoreError> {
        for _ in 0..2 {
            if self.old.is_none() {
                if self.young.operations == 0 {
                    return Ok(());
                }
                self.old = Some(Sorted::from(std::mem::take(&mut self.young)));
            }
            connection.execute_batch("BEGIN IMMEDIATE").map_err(store_error)?;
            let written = self
                .step(connection, usize::MAX / 4, |_| None, memory)
                .and_then(|()| connection.execute_batch("COMMIT").map_err(store_error));
            if let Err(error) = written {
                self.rolled_back();
                let _ = connection.execute_batch("ROLLBACK");
                return Err(error);
            }
            self.staged = Progress::default();
            self.key_index.committed();
            if let Some(old) = self.old.take() {
                memory.forget_keys(&old.digests);
            }
        }
        Ok(())
    }
}

impl From<Generation> for Sorted {
    fn from(generation: Generation) -> Self {
        let mut accounts: Vec<_> = generation.accounts.into_iter().map(|id| (id.bucket(), id)).collect();
        accounts.sort_unstable();
        let digests: Vec<_> = generation.keys.iter().map(|(digest, _)| *digest).collect();
        let mut keys: Vec<_> = generation.keys.iter().map(|(digest, place)| (name_of(digest), *place)).collect();
        keys.sort_unstable();
        Self { accounts, keys, digests, done: Progress::default(), last_sequence: generation.last_sequence }
    }
}

impl Sorted {
    /// Writes up to `count` accounts from this one on; where the next ones begin.
    fn write_accounts(
        &self,
        connection: &Connection,
        from: usize,
        count: usize,
        held: impl Fn(AccountId) -> Option<Held>,
    ) -> Result<usize, StoreError> {
        let end = self.accounts.len().min(from.saturating_add(count));
        for (_, id) in &self.accounts[from..end] {
            let missing = || StoreError::Internal(format!("account {} was forgotten before it was written", id.0));
            update_account(connection, &held(*id).ok_or_else(missing)?)?;
        }
        Ok(end)
    }

    /// Writes the blocks of about `count` keys more; how far it is then.
    fn write_keys(
        &self,
        connection: &Connection,
        from: Progress,
        count: usize,
        key_index: &mut KeyIndex,
        memory: &Memory,
    ) -> Result<Progress, StoreError> {
        let left = &self.keys[from.keys..];
        if count == 0 || left.is_empty() {
            return Ok(from);
        }
        let run = match from.run {
            Some(run) => run,
            None => key_index.begin(connection, self.keys.len())?,
        };
        let written = run.write_some(connection, left, count)?;
        let mut known_keys = memory.known_keys.lock();
        left[..written].iter().for_each(|(name, _)| known_keys.insert(*name));
        Ok(Progress { keys: from.keys + written, run: Some(run), ..from })
    }

    fn is_done(&self, progress: Progress) -> bool {
        progress.accounts == self.accounts.len() && progress.keys == self.keys.len()
    }

    /// Among those that are not written yet.
    fn holds(&self, id: AccountId) -> bool {
        self.accounts[self.done.accounts..].binary_search(&(id.bucket(), id)).is_ok()
    }
}

fn update_account(connection: &Connection, held: &Held) -> Result<(), StoreError> {
    let account = &held.account;
    let mut update = connection.prepare_cached(UPDATE_ACCOUNT).map_err(store_error)?;
    let changed = update
        .execute(params![
            account.id.bucket(),
            account.id.0.as_bytes(),
            Minor(account.posted_debits_minor),
            Minor(account.posted_credits_minor),
            Minor(account.pending_debits_minor),
            Minor(account.pending_credits_minor),
            account.version,
            account.updated_at_us,
            held.place.0,
        ])
        .map_err(store_error)?;
    if changed == 1 {
        return Ok(());
    }
    Err(StoreError::Inconsistent(format!("account {} was changed but is not there", account.id.0)))
}
