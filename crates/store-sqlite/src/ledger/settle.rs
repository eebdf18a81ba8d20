//! Brings the rows of accounts and keys after the journal: a generation of commits at a time, in the order of the rows,
//! a few of them with each commit.
//!
//! A row written for many commits costs one write, and neighbours share their page. No commit carries more than a few
//! rows beyond its own size, so none of them waits for a generation.

use florin_ledger::{AccountId, AccountSet};
use florin_store::StoreError;
use rusqlite::{Connection, params};

use super::{
    KeyDigest,
    key_filter::KnownKeys,
    memory::{AppliedKey, Held, Memory},
};
use crate::{error::store_error, minor::Minor};

/// Operations that a generation gathers: also what a start after a crash has to read again, twice at most.
const GENERATION_OPERATIONS: usize = 65_536;
/// Rows written with each commit, beside the operations' share: in the end a generation is written before the next
/// one is full, at an even pace.
const ROWS_WITH_A_COMMIT: usize = 32;

pub(crate) const UPDATE_ACCOUNT: &str = "UPDATE accounts SET posted_debits = ?3, posted_credits = ?4, \
    pending_debits = ?5, pending_credits = ?6, version = ?7, updated_at = ?8, last_place = ?9 \
    WHERE bucket = ?1 AND id = ?2";

/// After a crash the keys of an unfinished generation come again.
pub(crate) const INSERT_KEY: &str = "INSERT INTO applied_keys (digest, fingerprint, place) \
    VALUES (?1, ?2, ?3) ON CONFLICT (digest) DO NOTHING";

pub(crate) const UPDATE_SETTLED: &str = "UPDATE settled SET sequence = ?1";

/// What is not in the tables: the generation that gathers, and the one that is being written.
#[derive(Debug, Default)]
pub(crate) struct Settling {
    young: Generation,
    old: Option<Sorted>,
    /// Rows of `old` that the open transaction has written.
    staged: Progress,
}

#[derive(Debug, Default)]
struct Generation {
    accounts: AccountSet,
    keys: Vec<KeyDigest>,
    operations: usize,
    last_sequence: i64,
}

/// A generation in the order of the tables.
#[derive(Debug)]
struct Sorted {
    accounts: Vec<(u16, AccountId)>,
    keys: Vec<KeyDigest>,
    done: Progress,
    last_sequence: i64,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Progress {
    accounts: usize,
    keys: usize,
}

impl Settling {
    /// Writes the next rows, in the open transaction of a batch of `operations`. `staged` gives the accounts of this
    /// transaction; the others are in memory.
    pub(crate) fn step(
        &mut self,
        connection: &Connection,
        operations: usize,
        staged: impl Fn(AccountId) -> Option<Held>,
        memory: &Memory,
        known_keys: &mut KnownKeys,
    ) -> Result<(), StoreError> {
        let Some(old) = &self.old else { return Ok(()) };
        let share = (old.accounts.len() + old.keys.len()).div_ceil(GENERATION_OPERATIONS);
        let rows = ROWS_WITH_A_COMMIT + operations.saturating_mul(share);
        let from = if self.staged == Progress::default() { old.done } else { self.staged };
        let accounts_end = old.accounts.len().min(from.accounts + rows);
        for (_, id) in &old.accounts[from.accounts..accounts_end] {
            let missing = || StoreError::Internal(format!("account {} was forgotten before it was written", id.0));
            update_account(connection, &staged(*id).or_else(|| memory.find_account(*id)).ok_or_else(missing)?)?;
        }
        let left = rows - (accounts_end - from.accounts);
        let keys_end = old.keys.len().min(from.keys + left);
        for digest in &old.keys[from.keys..keys_end] {
            let missing = || StoreError::Internal("a key was forgotten before it was written".to_owned());
            known_keys.insert(digest);
            insert_key(connection, digest, memory.find_key(digest).ok_or_else(missing)?)?;
        }
        self.staged = Progress { accounts: accounts_end, keys: keys_end };
        if old.is_done(self.staged) {
            let mut update = connection.prepare_cached(UPDATE_SETTLED).map_err(store_error)?;
            update.execute(params![old.last_sequence]).map_err(store_error)?;
        }
        Ok(())
    }

    /// The commit is done: its accounts and keys are to be written, and what it wrote is written.
    pub(crate) fn committed(
        &mut self,
        changed: &[AccountId],
        keys: &[(KeyDigest, AppliedKey)],
        operations: usize,
        last_sequence: i64,
        memory: &Memory,
    ) {
        self.young.accounts.extend(changed);
        self.young.keys.extend(keys.iter().map(|(digest, _)| digest));
        self.young.operations += operations;
        self.young.last_sequence = last_sequence;
        let staged = std::mem::take(&mut self.staged);
        if let Some(old) = &mut self.old {
            if staged != Progress::default() {
                old.done = staged;
            }
            if old.is_done(old.done) {
                memory.forget_keys(&old.keys);
                self.old = None;
            }
        }
        if self.old.is_none() && self.young.operations >= GENERATION_OPERATIONS {
            self.old = Some(Sorted::from(std::mem::take(&mut self.young)));
        }
    }

    /// The transaction was rolled back, and its rows with it.
    pub(crate) fn rolled_back(&mut self) {
        self.staged = Progress::default();
    }

    /// Whether the account's row is behind.
    pub(crate) fn holds(&self, id: AccountId) -> bool {
        self.young.accounts.contains(&id) || self.old.as_ref().is_some_and(|old| old.holds(id))
    }

    /// Writes everything that is left, in transactions of its own.
    pub(crate) fn all(
        &mut self,
        connection: &Connection,
        memory: &Memory,
        known_keys: &mut KnownKeys,
    ) -> Result<(), StoreError> {
        for _ in 0..2 {
            if self.old.is_none() {
                if self.young.operations == 0 {
                    return Ok(());
                }
                self.old = Some(Sorted::from(std::mem::take(&mut self.young)));
            }
            connection.execute_batch("BEGIN IMMEDIATE").map_err(store_error)?;
            let written = self
                .step(connection, usize::MAX / 4, |_| None, memory, known_keys)
                .and_then(|()| connection.execute_batch("COMMIT").map_err(store_error));
            if let Err(error) = written {
                self.rolled_back();
                let _ = connection.execute_batch("ROLLBACK");
                return Err(error);
            }
            self.staged = Progress::default();
            if let Some(old) = self.old.take() {
                memory.forget_keys(&old.keys);
            }
        }
        Ok(())
    }
}

impl From<Generation> for Sorted {
    fn from(generation: Generation) -> Self {
        let mut accounts: Vec<_> = generation.accounts.into_iter().map(|id| (id.bucket(), id)).collect();
        accounts.sort_unstable();
        let mut keys = generation.keys;
        keys.sort_unstable();
        Self { accounts, keys, done: Progress::default(), last_sequence: generation.last_sequence }
    }
}

impl Sorted {
    fn is_done(&self, progress: Progress) -> bool {
        progress.accounts == self.accounts.len() && progress.keys == self.keys.len()
    }

    fn holds(&self, id: AccountId) -> bool {
        self.accounts.binary_search(&(id.bucket(), id)).is_ok()
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

fn insert_key(connection: &Connection, digest: &KeyDigest, applied: AppliedKey) -> Result<(), StoreError> {
    let mut insert = connection.prepare_cached(INSERT_KEY).map_err(store_error)?;
    insert.execute(params![digest, applied.fingerprint, applied.place.0]).map_err(store_error)?;
    Ok(())
}
