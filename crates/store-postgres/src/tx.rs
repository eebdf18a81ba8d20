//! One transaction on one connection: statements, parameters, rows, and its end.

use std::{collections::HashMap, future::Future, thread, time::Duration};

use deadpool_postgres::Object;
use florin_ledger::{Account, AccountId, AccountMap, Hash, IdempotencyKey, Outcome};
use florin_money::Asset;
use florin_store::{
    BatchFacts, BatchRows, ChainHead, PostingFilter, PostingPage, Row, StoreError, StoredBatch, Tx, Value,
    request_answer::RequestAnswer,
};
use futures_util::{FutureExt, future::join};
use tokio_postgres::{Error, error::SqlState, types::ToSql};

use crate::{
    batch::{Batch, Ending, conclude},
    codec::{Param, row_of},
    copy::copy_rows,
    driver::Driver,
    engine::Kind,
    error::{is_connection_lost, is_retryable, is_stale_plan, store_error},
    lease::GRACE,
    ledger::{
        cache::LedgerCache,
        caution::Basis,
        chain::{self, ChainReader},
        change, read,
        request_answers::{answer_rows, find_request_answers},
        write::BatchWrite,
    },
    statements as sql,
};

/// An open transaction. `BEGIN` travels with the first statement.
pub(crate) struct PostgresTx<'c> {
    driver: Driver<'c>,
    client: &'c Object,
    kind: Kind,
    answer_timeout: Duration,
    cache: &'c LedgerCache,
    batch: Batch,
    /// Whether a batch is decided on what one leaves behind that is on its way on this connection.
    is_behind: bool,
    /// The batch's statement, kept back: it may turn out to be the whole transaction.
    unsent: Option<BatchWrite>,
    /// The chains that are being read from end to end, by writer.
    chains: HashMap<u16, ChainReader>,
    has_begun: bool,
    /// A statement failed: the server will not commit this transaction.
    has_failed: bool,
    /// It failed in a way that another try may mend.
    may_retry: bool,
    /// The connection must not be used again.
    is_broken: bool,
}

impl<'c> PostgresTx<'c> {
    /// `is_first_try`: whether a batch may be decided without locks.
    pub(crate) fn new(
        driver: Driver<'c>,
        client: &'c Object,
        kind: Kind,
        answer_timeout: Duration,
        cache: &'c LedgerCache,
        is_first_try: bool,
    ) -> Self {
        Self {
            cache,
            batch: Batch::new(is_first_try),
            is_behind: false,
            unsent: None,
            chains: HashMap::new(),
            driver,
            client,
            kind,
            answer_timeout,
            has_begun: false,
            has_failed: false,
            may_retry: false,
            is_broken: false,
        }
    }

    /// With its batch decided on what the one before leaves behind, which is on its way on this connection.
    pub(crate) fn behind(self) -> Self {
        Self { is_behind: true, ..self }
    }

    /// The batch, if it is all there is to the transaction and the server was not asked for it: it can be sent and left
    /// on its way.
    pub(crate) fn take_single(&mut self) -> Option<(BatchWrite, Batch)> {
        let batch = self.unsent.take_if(|batch| batch.is_single() && !self.has_begun && !self.has_failed)?;
        Some((batch, std::mem::take(&mut self.batch)))
    }

    /// The connection, for statements that are run by [`Self::run`].
    pub(crate) fn client(&self) -> &'c Object {
        self.client
    }

    pub(crate) fn is_write(&self) -> bool {
        self.kind == Kind::Write
    }

    /// The version of an account as it was given to this transaction.
    pub(crate) fn version_given(&self, id: AccountId) -> i64 {
        self.batch.given.get(&id).map_or(-1, |(version, _)| *version)
    }

    fn conflict(&mut self) -> StoreError {
        self.has_failed = true;
        self.batch.conflict()
    }

    /// As this node remembers them; what it does not, is read, and where it is to ask first, what has changed.
    fn unlocked_facts(&mut self, writer: u16, ids: &[AccountId]) -> Result<BatchFacts, StoreError> {
        let (head, mut accounts) = self.remembered(writer, ids);
        let head = match head {
            Some(head) => Some(head),
            None => read::find_chain_head(self, writer)?,
        };
        let asks = self.batch.basis(self.cache) == Basis::Reading;
        self.give(&accounts, asks);
        let is_asked = |id: &&AccountId| asks || !self.batch.given.contains_key(id);
        let asked: Vec<AccountId> = ids.iter().filter(is_asked).copied().collect();
        if !asked.is_empty() {
            let changed = read::changed_accounts(self, &asked, &accounts)?;
            self.give(&changed, true);
            accounts.extend(changed);
        }
        // A key that was answered before cannot be written again, and then all is decided again.
        Ok(BatchFacts { head, accounts, answers: Vec::new() })
    }

    fn locked_facts(
        &mut self,
        writer: u16,
        ids: &[AccountId],
        keys: &[&IdempotencyKey],
    ) -> Result<BatchFacts, StoreError> {
        // Only to see whether it would have been right.
        let (_, remembered) = self.remembered(writer, ids);
        self.give(&remembered, false);
        let facts = read::lock_facts(self, writer, ids, keys)?;
        self.give(&facts.accounts, true);
        Ok(facts)
    }

    fn remembered(&self, writer: u16, ids: &[AccountId]) -> (Option<ChainHead>, AccountMap<Account>) {
        let mut facts = if self.is_behind { self.cache.find_sent(writer, ids) } else { self.cache.find(writer, ids) };
        self.batch.overlay(writer, ids, &mut facts);
        facts
    }

    /// What is read comes after what is remembered.
    fn give(&mut self, accounts: &AccountMap<Account>, is_read: bool) {
        for account in accounts.values() {
            let before = self.batch.given.insert(account.id, (account.version, is_read));
            self.batch.had_changed |= before.is_some_and(|(version, _)| version != account.version);
        }
    }

    /// Until no other process can believe that it is alone: the connection was not there when that one asked.
    fn wait_for_leases(&self) {
        let rest = GRACE.saturating_sub(Object::metrics(self.client).age());
        if !rest.is_zero() {
            thread::sleep(rest);
        }
    }

    /// Waits, but not for ever. The timer is made inside: outside there may be no runtime.
    fn wait<T>(&self, work: impl Future<Output = T>) -> Result<T, tokio::time::error::Elapsed> {
        self.driver.block_on(async { tokio::time::timeout(self.answer_timeout, work).await })
    }

    /// Waits for what `work` asks of the server. Several statements in it are sent together.
    pub(crate) fn run<T>(&mut self, work: impl Future<Output = Result<T, Error>>) -> Result<T, StoreError> {
        self.send_unsent()?;
        self.ask(work, true)?.map_err(|error| self.failed(&error))
    }

    /// As [`Self::run`], for what needs not be of one transaction with what follows: nothing is begun for it.
    pub(crate) fn run_before<T>(&mut self, work: impl Future<Output = Result<T, Error>>) -> Result<T, StoreError> {
        self.ask(work, false)?.map_err(|error| self.failed(&error))
    }

    /// The batch, if one is kept back, in a transaction that has more in it.
    fn send_unsent(&mut self) -> Result<(), StoreError> {
        let Some(batch) = self.unsent.take() else { return Ok(()) };
        let sent = self.ask(batch.run(self.client), true)?;
        sent.map_err(|error| if self.batch.is_conflict(&error) { self.conflict() } else { self.failed(&error) })
    }

    /// What the server says to `work`, unless it says nothing in time.
    fn ask<T>(
        &mut self,
        work: impl Future<Output = Result<T, Error>>,
        begins: bool,
    ) -> Result<Result<T, Error>, StoreError> {
        let begin = (begins && !self.has_begun).then(|| self.client.batch_execute(self.kind.begin()));
        self.has_begun |= begins;
        let answer = self.wait(async {
            let Some(begin) = begin else { return work.await };
            let (begun, answer) = join(begin, work).await;
            begun.and(answer)
        });
        answer.map_err(|_| {
            self.has_failed = true;
            self.is_broken = true;
            StoreError::Unavailable("PostgreSQL did not answer in time".to_owned())
        })
    }

    fn failed(&mut self, error: &Error) -> StoreError {
        self.has_failed = true;
        self.is_broken |= is_connection_lost(error) || is_stale_plan(error);
        self.may_retry |= is_retryable(error) || is_stale_plan(error);
        store_error(error)
    }

    /// Commits, or rolls back when the work failed; also says whether the connection can be used again.
    pub(crate) fn end(mut self, result: Result<(), StoreError>) -> (Ending, bool) {
        let result = match result {
            Ok(()) if self.has_failed => Err(StoreError::Internal(
                "a statement of this transaction failed, so it cannot be committed".to_owned(),
            )),
            other => other,
        };
        let ending = match (result, self.unsent.take()) {
            (Ok(()), Some(batch)) => self.commit_with(&batch),
            (Ok(()), _) if !self.has_begun => Ending::Done,
            (result, _) => self.conclude(result),
        };
        std::mem::take(&mut self.batch).remember(self.cache, &ending, self.is_broken);
        (ending, !self.is_broken)
    }

    fn conclude(&mut self, result: Result<(), StoreError>) -> Ending {
        match result {
            Ok(()) if self.kind == Kind::Read => {
                // Nothing to wait for: the next user of the connection queues behind it.
                let _ = self.client.batch_execute("COMMIT").now_or_never();
                Ending::Done
            }
            Ok(()) => self.commit(self.client.batch_execute("COMMIT")),
            Err(error) => {
                if self.has_begun {
                    self.roll_back();
                }
                match (self.batch.has_conflict, self.may_retry) {
                    (true, _) => Ending::Conflict(error),
                    (false, true) => Ending::Retry(error),
                    (false, false) => Ending::Failed(error),
                }
            }
        }
    }

    /// The batch and the end in one round trip. Where it is all there is, the server begins and commits by itself.
    fn commit_with(&mut self, batch: &BatchWrite) -> Ending {
        let client = self.client;
        if batch.is_single() && !self.has_begun {
            return self.commit(batch.run(client));
        }
        // What must be prepared first would be sent after the end.
        if let Err(error) = self.run(batch.prepare(client)) {
            return self.conclude(Err(error));
        }
        self.commit(async {
            // A transaction that failed is rolled back by its COMMIT.
            let (sent, committed) = join(batch.run(client), client.batch_execute("COMMIT")).await;
            sent.and(committed)
        })
    }

    /// Waits for what commits: from here on an error without an answer may have been a success.
    fn commit(&mut self, work: impl Future<Output = Result<(), Error>>) -> Ending {
        let answer = self.wait(work).ok();
        let (ending, is_broken) = conclude(answer, &mut self.batch);
        self.is_broken = is_broken;
        ending
    }

    fn roll_back(&mut self) {
        if self.is_broken {
            return;
        }
        let rollback = self.client.batch_execute("ROLLBACK");
        let answer = self.wait(rollback);
        self.is_broken = !matches!(answer, Ok(Ok(())));
    }
}

impl Tx for PostgresTx<'_> {
    fn query(&mut self, sql: &'static str, params: &[Value]) -> Result<Vec<Row>, StoreError> {
        let client = self.client;
        let params: Vec<Param<'_>> = params.iter().map(Param).collect();
        let rows = self.run(async {
            let statement = client.prepare_cached(sql).await?;
            client.query(&statement, &by_reference(&params)).await
        })?;
        rows.iter().map(row_of).collect()
    }

    fn execute(&mut self, sql: &'static str, params: &[Value]) -> Result<u64, StoreError> {
        let client = self.client;
        let params: Vec<Param<'_>> = params.iter().map(Param).collect();
        self.run(async {
            let statement = client.prepare_cached(sql).await?;
            client.execute(&statement, &by_reference(&params)).await
        })
    }

    fn insert_rows(
        &mut self,
        table: &'static str,
        columns: &'static str,
        rows: &[Vec<Value>],
    ) -> Result<(), StoreError> {
        if rows.iter().any(|row| row.len() != columns.split(',').count()) {
            self.has_failed = true;
            return Err(StoreError::Internal(format!("a row for {table} has not a value for each column")));
        }
        let client = self.client;
        self.run(copy_rows(client, table, columns, rows))
    }

    fn lock_accounts(&mut self, ids: &[AccountId]) -> Result<AccountMap<Account>, StoreError> {
        if self.is_write() { read::lock_accounts(self, ids) } else { read::select_accounts(self, ids) }
    }

    fn confirm_accounts(&mut self, ids: &[AccountId]) -> Result<(), StoreError> {
        let is_assumed = |id: &&AccountId| !self.batch.given.get(id).is_some_and(|(_, is_read)| *is_read);
        let assumed: Vec<AccountId> = ids.iter().filter(is_assumed).copied().collect();
        if assumed.is_empty() || !self.batch.assumes() {
            return Ok(());
        }
        let accounts = read::select_accounts(self, &assumed)?;
        let known = assumed.iter().filter(|id| self.batch.given.contains_key(id)).count();
        let is_as_given = |account: &Account| self.version_given(account.id) == account.version;
        if accounts.len() == known && accounts.values().all(is_as_given) { Ok(()) } else { Err(self.conflict()) }
    }

    fn page_accounts(&mut self, after: Option<AccountId>, limit: usize) -> Result<Vec<Account>, StoreError> {
        read::page_accounts(self, after, limit)
    }

    fn find_answers(&mut self, keys: &[&IdempotencyKey]) -> Result<Vec<(IdempotencyKey, Outcome)>, StoreError> {
        read::find_answers(self, keys)
    }

    fn begin_batch(
        &mut self,
        writer: u16,
        ids: &[AccountId],
        keys: &[&IdempotencyKey],
    ) -> Result<BatchFacts, StoreError> {
        // Not with locks in hand, which others would wait for.
        self.wait_for_leases();
        self.send_unsent()?;
        self.batch.begin_another();
        self.batch.writer = Some(writer);
        self.batch.since.get_or_insert_with(|| self.cache.moment());
        match self.batch.basis(self.cache) {
            Basis::Memory | Basis::Reading => self.unlocked_facts(writer, ids),
            Basis::Locks => self.locked_facts(writer, ids, keys),
        }
    }

    fn lock_header(&mut self, writer: u16, number: i64) -> Result<Option<Hash>, StoreError> {
        let rows = self.query(sql::LOCK_HEADER, &[Value::Int(i64::from(writer)), Value::Int(number)])?;
        rows.first().map(|row| row.get_array(0)).transpose()
    }

    fn list_chain_heads(&mut self) -> Result<Vec<Row>, StoreError> {
        self.query(sql::LIST_LAST_HEADERS, &[])
    }

    fn find_chain_head(&mut self, writer: u16) -> Result<Option<ChainHead>, StoreError> {
        read::find_chain_head(self, writer)
    }

    fn write_batch(&mut self, rows: &BatchRows<'_>) -> Result<(), StoreError> {
        self.send_unsent()?;
        self.unsent = Some(BatchWrite::of(rows, |id| self.version_given(id))?);
        self.batch.change(rows.changed.iter().map(|account| (*account).clone()).collect(), self.cache);
        if self.batch.since.is_none() {
            self.wait_for_leases();
        }
        if let Some(header) = rows.header {
            let head = ChainHead { number: header.number, hash: header.hash(), recorded_at_us: header.recorded_at_us };
            self.batch.head = Some((header.writer, head));
        }
        Ok(())
    }

    fn find_request_answers(&mut self, keys: &[&IdempotencyKey]) -> Result<Vec<Option<RequestAnswer>>, StoreError> {
        // One that was answered before cannot be answered again, and then all is decided again.
        if self.is_write() && self.batch.basis(self.cache) != Basis::Locks {
            return Ok(vec![None; keys.len()]);
        }
        find_request_answers(self, keys)
    }

    fn keep_request_answers(
        &mut self,
        answers: &[(&IdempotencyKey, RequestAnswer)],
        now_us: i64,
    ) -> Result<(), StoreError> {
        if answers.is_empty() {
            return Ok(());
        }
        let rows = answer_rows(answers, now_us)?;
        if let Some(batch) = &mut self.unsent {
            batch.keep(rows);
            return Ok(());
        }
        let client = self.client;
        let sent = self.ask(change(client, sql::INSERT_REQUEST_ANSWERS, &[&rows]), true)?;
        sent.map(drop).map_err(|error| match error.code() {
            Some(&SqlState::UNIQUE_VIOLATION) => self.conflict(),
            _ => self.failed(&error),
        })
    }

    fn list_postings(&mut self, account_id: AccountId, filter: &PostingFilter) -> Result<PostingPage, StoreError> {
        read::list_postings(self, account_id, filter)
    }

    fn list_batches(
        &mut self,
        writer: u16,
        after_number: i64,
        asset_of: &dyn Fn(AccountId) -> Option<Asset>,
    ) -> Result<Vec<StoredBatch>, StoreError> {
        let mut reader = match self.chains.remove(&writer) {
            Some(reader) if reader.is_behind(after_number) => reader,
            other => {
                other.map_or(Ok(()), |reader| reader.close(self))?;
                ChainReader::open(self, writer, after_number)?
            }
        };
        let batches = reader.next_batches(self, asset_of)?;
        self.chains.insert(writer, reader);
        Ok(batches)
    }

    fn count_postings(&mut self) -> Result<u64, StoreError> {
        chain::count_postings(self)
    }
}

fn by_reference<'p>(params: &'p [Param<'_>]) -> Vec<&'p (dyn ToSql + Sync)> {
    params.iter().map(|param| param as &(dyn ToSql + Sync)).collect()
}
