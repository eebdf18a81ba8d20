//! The one door to a database: a small synchronous executor, run on threads that may block.

use std::{future::Future, pin::Pin};

use florin_ledger::{Account, AccountId, AccountMap, Applied, BatchHeader, Command, Hash, IdempotencyKey, Outcome};
use florin_money::Asset;

use crate::{
    ChainHead, PostingFilter, PostingPage, Row, StoreError, StoredBatch, Value,
    request_answer::{COLUMNS, RequestAnswer, SELECT_ANSWER, answer_of, place_of, row_of},
};

/// A statement, typed parameters, typed rows: inside one database transaction.
///
/// Statements are static text with `$1`, `$2` … parameters, in the subset of SQL that both engines share. The last
/// methods are the few things that engines do differently, all of the ledger's batch.
pub trait Tx {
    /// Runs a statement and gives its rows.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn query(&mut self, sql: &'static str, params: &[Value]) -> Result<Vec<Row>, StoreError>;

    /// Runs a statement and gives the number of rows it changed.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn execute(&mut self, sql: &'static str, params: &[Value]) -> Result<u64, StoreError>;

    /// Inserts rows with these columns, separated by commas, into a table: for many rows at once.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn insert_rows(
        &mut self,
        table: &'static str,
        columns: &'static str,
        rows: &[Vec<Value>],
    ) -> Result<(), StoreError>;

    /// These accounts, in a write locked until the transaction ends, in the order of buckets and ids. That holds off
    /// who locks them, too; a batch that is decided on what an engine remembers may be written all the same. Missing
    /// ones are left out.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn lock_accounts(&mut self, ids: &[AccountId]) -> Result<AccountMap<Account>, StoreError>;

    /// Makes sure that these accounts were as [`Tx::begin_batch`] gave them at some moment since then: an engine may
    /// give them from memory and compare them when they are written. A refusal is decided on accounts that nothing
    /// writes, so it asks for this.
    ///
    /// # Errors
    /// See [`StoreError`]; one of them has changed, and the whole unit of work is to be run again.
    fn confirm_accounts(&mut self, ids: &[AccountId]) -> Result<(), StoreError>;

    /// Up to `limit` accounts after this one, in the order of buckets and ids, out of what is stored.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn page_accounts(&mut self, after: Option<AccountId>, limit: usize) -> Result<Vec<Account>, StoreError>;

    /// Earlier answers to these keys of commands: those of [`Tx::write_batch`], which may be all that an engine looks
    /// for. Each key has the fingerprint of the request that was answered, or as much of it as is kept where that is
    /// not the request that is asked for. Missing ones are left out.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn find_answers(&mut self, keys: &[&IdempotencyKey]) -> Result<Vec<(IdempotencyKey, Outcome)>, StoreError>;

    /// What a batch of `writer` is decided on, for one that is about to be decided and written by this transaction:
    /// the end of the chain, then the accounts, then the answers, as the methods of these names give them. An engine
    /// that is far away asks for all of them together, or gives what it remembers: [`Tx::write_batch`] finds out
    /// whether that is still true.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn begin_batch(
        &mut self,
        writer: u16,
        ids: &[AccountId],
        keys: &[&IdempotencyKey],
    ) -> Result<BatchFacts, StoreError> {
        let head = self.find_chain_head(writer)?;
        let accounts = self.lock_accounts(ids)?;
        Ok(BatchFacts { head, accounts, answers: self.find_answers(keys)? })
    }

    /// The end of `writer`'s chain; none before its first batch. A batch fits only behind the one that is the last when
    /// it is written.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn find_chain_head(&mut self, writer: u16) -> Result<Option<ChainHead>, StoreError>;

    /// The hash of this batch of `writer`, if it is there; what is said of it after the commit is as lasting as that. A
    /// server may have it on its own disk alone, and not on the standby for which commits wait: this transaction then
    /// waits, too, because it locks the header.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn lock_header(&mut self, writer: u16, number: i64) -> Result<Option<Hash>, StoreError> {
        let params = [Value::Int(i64::from(writer)), Value::Int(number)];
        let rows = self.query("SELECT hash FROM batches WHERE writer = $1 AND number = $2", &params)?;
        rows.first().map(|row| row.get_array(0)).transpose()
    }

    /// The end of every chain: its writer, the last number and the last hash, in the order of writers.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn list_chain_heads(&mut self) -> Result<Vec<Row>, StoreError>;

    /// Writes everything a batch came to.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn write_batch(&mut self, rows: &BatchRows<'_>) -> Result<(), StoreError>;

    /// Earlier answers to whole requests with these keys, in the order of the keys. An engine may give none where
    /// [`Tx::keep_request_answers`], or the commit, finds out.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn find_request_answers(&mut self, keys: &[&IdempotencyKey]) -> Result<Vec<Option<RequestAnswer>>, StoreError> {
        let mut answers = Vec::with_capacity(keys.len());
        for key in keys {
            let rows = self.query(SELECT_ANSWER, &place_of(key))?;
            answers.push(rows.first().map(|row| answer_of(row, 0)).transpose()?);
        }
        Ok(answers)
    }

    /// Keeps answers to whole requests beside their keys, in the order of scopes and keys.
    ///
    /// # Errors
    /// See [`StoreError`]; also when one of the keys was answered before.
    fn keep_request_answers(
        &mut self,
        answers: &[(&IdempotencyKey, RequestAnswer)],
        now_us: i64,
    ) -> Result<(), StoreError> {
        let rows: Vec<_> = answers.iter().map(|(key, answer)| row_of(key, answer, now_us)).collect();
        if rows.is_empty() { Ok(()) } else { self.insert_rows("request_answers", COLUMNS, &rows) }
    }

    /// A page of an account's postings, newest first.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn list_postings(&mut self, account_id: AccountId, filter: &PostingFilter) -> Result<PostingPage, StoreError>;

    /// The next batches of `writer` after the one with this number, in order: some thousands of transactions at once,
    /// none at the end. For who reads a chain from its beginning to its end, also several chains in turns; going on
    /// elsewhere than behind the last batch that was given costs as much as a beginning. `asset_of` is asked where a
    /// posting is stored without its asset.
    ///
    /// # Errors
    /// See [`StoreError`], and [`StoreError::Inconsistent`] for what cannot be read as a batch.
    fn list_batches(
        &mut self,
        writer: u16,
        after_number: i64,
        asset_of: &dyn Fn(AccountId) -> Option<Asset>,
    ) -> Result<Vec<StoredBatch>, StoreError>;

    /// How many postings are stored, whether a chain holds them or not.
    ///
    /// # Errors
    /// See [`StoreError`], and [`StoreError::Inconsistent`] for postings that the engine itself would not find,
    /// or would not find by their keys.
    fn count_postings(&mut self) -> Result<u64, StoreError>;
}

/// What a batch is decided on.
#[derive(Debug)]
pub struct BatchFacts {
    /// The end of the writer's chain; none before its first batch.
    pub head: Option<ChainHead>,
    /// Those accounts that exist.
    pub accounts: AccountMap<Account>,
    /// Those keys that were answered before, with their answers.
    pub answers: Vec<(IdempotencyKey, Outcome)>,
}

/// The rows of one batch of the ledger.
#[derive(Debug)]
pub struct BatchRows<'a> {
    /// Newly applied transactions, with their command, in order.
    pub applied: Vec<(&'a Command, &'a Applied)>,
    /// Accounts as they are after the batch.
    pub changed: Vec<&'a Account>,
    /// Accounts among `changed` that do not exist yet (stripes of system accounts).
    pub opened: Vec<&'a Account>,
    /// Keys answered by this batch.
    pub answered: Vec<(&'a IdempotencyKey, &'a Outcome)>,
    /// The chain's new header; none if nothing was applied.
    pub header: Option<&'a BatchHeader>,
    /// The batch's time, microseconds since the Unix epoch, UTC.
    pub recorded_at_us: i64,
}

/// Which engine it is. For messages and metrics; no rule depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineKind {
    /// Embedded.
    Sqlite,
    /// A server.
    Postgres,
}

/// The state of the schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineStatus {
    /// Highest migration applied; 0 for an empty database.
    pub applied: u32,
    /// Names of migrations not yet applied, in order.
    pub pending: Vec<&'static str>,
}

/// What a unit of work is: it may run more than once (serialization failures are retried whole), so it must not keep
/// results of an earlier run.
pub type Work<'a> = &'a mut dyn FnMut(&mut dyn Tx) -> Result<(), StoreError>;

/// A write that is on its way, among those of its engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket(pub u64);

/// How far a write is that was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// It is committed.
    Done,
    /// It is decided and sent; [`Engine::end_write`] tells its end.
    UnderWay(Ticket),
}

/// Why a write that was begun did not happen.
#[derive(Debug)]
pub enum NotDone {
    /// Somebody else was there first, or the write before it came to nothing. Nothing of it is written, and
    /// [`Engine::write`] may decide it anew.
    Again(StoreError),
    /// As [`Engine::write`] fails.
    Failed(StoreError),
}

impl NotDone {
    /// The end was asked for of what is not on its way: a defect.
    #[must_use]
    pub fn unknown(ticket: Ticket) -> Self {
        Self::Failed(StoreError::Internal(format!("no write {} is on its way", ticket.0)))
    }
}

/// What may be more urgent than the end of a write.
pub type Interruption<'a> = Pin<&'a mut (dyn Future<Output = ()> + Send)>;

/// A database. All methods block: call them on threads that may.
pub trait Engine: Send + Sync + 'static {
    /// Which engine it is.
    fn kind(&self) -> EngineKind;

    /// The account as it is at this moment, if that is known without asking the database; never waits.
    fn peek_account(&self, id: AccountId) -> Option<Account>;

    /// These accounts, all as of one moment between the call and the answer. Missing ones are left out.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn read_accounts(&self, ids: &[AccountId]) -> Result<AccountMap<Account>, StoreError> {
        let mut accounts = AccountMap::default();
        self.read(&mut |tx| {
            accounts = tx.lock_accounts(ids)?;
            Ok(())
        })?;
        Ok(accounts)
    }

    /// Runs `work` on one consistent snapshot. Never waits for a writer.
    ///
    /// # Errors
    /// Those of `work`, and [`StoreError::Unavailable`].
    fn read(&self, work: Work<'_>) -> Result<(), StoreError>;

    /// Runs `work` in one database transaction and commits it durably; rolls back when `work` fails.
    ///
    /// # Errors
    /// Those of `work`, [`StoreError::Unavailable`] and [`StoreError::OutcomeUnknown`].
    fn write(&self, work: Work<'_>) -> Result<(), StoreError>;

    /// As [`Engine::write`], but an engine may leave a batch of the ledger on its way and come back, so that the next
    /// one is decided meanwhile: behind this one, on what that one leaves behind when it succeeds.
    /// If it does not, what is behind it comes to nothing, too. At most one may be on its way when another is begun,
    /// and their ends are asked for in order.
    ///
    /// # Errors
    /// See [`NotDone`].
    fn begin_write(&self, _behind: Option<Ticket>, work: Work<'_>) -> Result<Begun, NotDone> {
        self.write(work).map(|()| Begun::Done).map_err(NotDone::Failed)
    }

    /// Waits for the end of a write that is on its way; nothing when the interruption is over before.
    fn end_write(&self, ticket: Ticket, _interruption: Interruption<'_>) -> Option<Result<(), NotDone>> {
        Some(Err(NotDone::unknown(ticket)))
    }

    /// What the schema is, without changing anything.
    ///
    /// # Errors
    /// [`StoreError::Foreign`] for a database of something else or of a newer Florin.
    fn status(&self) -> Result<EngineStatus, StoreError>;

    /// Applies pending migrations; safe from several nodes at once. Gives the names applied.
    ///
    /// # Errors
    /// As [`Engine::status`].
    fn migrate(&self) -> Result<Vec<&'static str>, StoreError>;
}

/// Asks the database for nothing, to see whether it answers.
///
/// # Errors
/// Those of the engine.
pub fn probe(engine: &dyn Engine) -> Result<(), StoreError> {
    engine.read(&mut |tx| tx.query("SELECT 1", &[]).map(drop))
}

/// [`Engine::read`] with a result.
///
/// # Errors
/// Those of `work`.
pub fn read<T>(
    engine: &dyn Engine,
    mut work: impl FnMut(&mut dyn Tx) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let mut result = None;
    engine.read(&mut |tx| {
        result = Some(work(tx)?);
        Ok(())
    })?;
    result.ok_or_else(|| StoreError::Internal("the unit of work did not run".to_owned()))
}

/// [`Engine::write`] with a result.
///
/// # Errors
/// Those of `work`.
pub fn write<T>(
    engine: &dyn Engine,
    mut work: impl FnMut(&mut dyn Tx) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let mut result = None;
    engine.write(&mut |tx| {
        result = Some(work(tx)?);
        Ok(())
    })?;
    result.ok_or_else(|| StoreError::Internal("the unit of work did not run".to_owned()))
}
