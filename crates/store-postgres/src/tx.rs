//! One transaction on one connection: statements, parameters, rows, and its end.

use std::{future::Future, time::Duration};

use deadpool_postgres::Object;
use florin_ledger::{Account, AccountId, IdempotencyKey, Outcome};
use florin_store::{BatchRows, Row, StoreError, Tx, Value};
use futures_util::{FutureExt, future::join};
use tokio::runtime::Handle;
use tokio_postgres::{Error, types::ToSql};

use crate::{
    batch,
    codec::{Param, row_of},
    engine::Kind,
    error::{commit_error, is_connection_lost, is_retryable, is_stale_plan, store_error},
};

/// An open transaction. `BEGIN` travels with the first statement.
pub(crate) struct PostgresTx<'c> {
    handle: &'c Handle,
    client: &'c Object,
    kind: Kind,
    answer_timeout: Duration,
    has_begun: bool,
    /// A statement failed: the server will not commit this transaction.
    has_failed: bool,
    /// It failed in a way that another try may mend.
    may_retry: bool,
    /// The connection must not be used again.
    is_broken: bool,
}

/// How an attempt at a transaction ended.
pub(crate) enum Ending {
    Done,
    Failed(StoreError),
    Retry(StoreError),
}

impl<'c> PostgresTx<'c> {
    pub(crate) fn new(handle: &'c Handle, client: &'c Object, kind: Kind, answer_timeout: Duration) -> Self {
        Self {
            handle,
            client,
            kind,
            answer_timeout,
            has_begun: false,
            has_failed: false,
            may_retry: false,
            is_broken: false,
        }
    }

    /// The connection, for statements that are run by [`Self::run`].
    pub(crate) fn client(&self) -> &'c Object {
        self.client
    }

    pub(crate) fn is_write(&self) -> bool {
        self.kind == Kind::Write
    }

    /// Waits, but not for ever. The timer is made inside: outside there may be no runtime.
    fn wait<T>(&self, work: impl Future<Output = T>) -> Result<T, tokio::time::error::Elapsed> {
        self.handle.block_on(async { tokio::time::timeout(self.answer_timeout, work).await })
    }

    /// Waits for what `work` asks of the server. Several statements in it are sent together.
    pub(crate) fn run<T>(&mut self, work: impl Future<Output = Result<T, Error>>) -> Result<T, StoreError> {
        let begin = (!self.has_begun).then(|| self.client.batch_execute(self.kind.begin()));
        self.has_begun = true;
        let answer = self.wait(async {
            let Some(begin) = begin else { return work.await };
            let (begun, answer) = join(begin, work).await;
            begun.and(answer)
        });
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                self.has_failed = true;
                self.is_broken |= is_connection_lost(&error) || is_stale_plan(&error);
                self.may_retry |= is_retryable(&error) || is_stale_plan(&error);
                Err(store_error(&error))
            }
            Err(_) => {
                self.has_failed = true;
                self.is_broken = true;
                Err(StoreError::Unavailable("PostgreSQL did not answer in time".to_owned()))
            }
        }
    }

    /// Commits, or rolls back when the work failed; also says whether the connection can be used again.
    pub(crate) fn end(mut self, result: Result<(), StoreError>) -> (Ending, bool) {
        let result = match result {
            Ok(()) if self.has_failed => Err(StoreError::Internal(
                "a statement of this transaction failed, so it cannot be committed".to_owned(),
            )),
            other => other,
        };
        let ending = match result {
            _ if !self.has_begun => result.map_or_else(Ending::Failed, |()| Ending::Done),
            Ok(()) if self.kind == Kind::Read => {
                // Nothing to wait for: the next user of the connection queues behind it.
                let _ = self.client.batch_execute("COMMIT").now_or_never();
                Ending::Done
            }
            Ok(()) => self.commit(),
            Err(error) => {
                self.roll_back();
                if self.may_retry { Ending::Retry(error) } else { Ending::Failed(error) }
            }
        };
        (ending, !self.is_broken)
    }

    fn commit(&mut self) -> Ending {
        let commit = self.client.batch_execute("COMMIT");
        match self.wait(commit) {
            Ok(Ok(())) => Ending::Done,
            Ok(Err(error)) => {
                self.is_broken = true;
                let retry = is_retryable(&error);
                let error = commit_error(&error);
                if retry { Ending::Retry(error) } else { Ending::Failed(error) }
            }
            Err(_) => {
                self.is_broken = true;
                Ending::Failed(StoreError::OutcomeUnknown("PostgreSQL did not answer the commit in time".to_owned()))
            }
        }
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

    fn lock_accounts(&mut self, ids: &[AccountId]) -> Result<Vec<Account>, StoreError> {
        batch::lock_accounts(self, ids)
    }

    fn find_answers(&mut self, keys: &[&IdempotencyKey]) -> Result<Vec<(IdempotencyKey, Outcome)>, StoreError> {
        batch::find_answers(self, keys)
    }

    fn lock_chain_head(&mut self, writer: u16) -> Result<Option<(i64, [u8; 32])>, StoreError> {
        batch::lock_chain_head(self, writer)
    }

    fn find_postings(&mut self, places: &[(AccountId, i64)]) -> Result<Vec<Row>, StoreError> {
        batch::find_postings(self, places)
    }

    fn write_batch(&mut self, rows: &BatchRows<'_>) -> Result<(), StoreError> {
        batch::write(self, rows)
    }
}

fn by_reference<'p>(params: &'p [Param<'_>]) -> Vec<&'p (dyn ToSql + Sync)> {
    params.iter().map(|param| param as &(dyn ToSql + Sync)).collect()
}
