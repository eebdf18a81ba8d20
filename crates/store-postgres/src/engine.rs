//! The engine: transactions from threads that may block, each on a connection that its own thread drives (a lane) or,
//! when those are taken, on one of a pool that a small runtime drives.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use deadpool_postgres::{Object, Pool};
use florin_ledger::{Account, AccountId, AccountMap};
use florin_store::{Begun, Engine, EngineKind, EngineStatus, Interruption, NotDone, StoreError, Ticket, Work};
use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio_postgres::{Error, Row};
use tracing::debug;

use crate::{
    Process,
    ahead::WriteLane,
    batch::Ending,
    connect,
    driver::{Driver, OwnLane},
    error::{is_connection_lost, is_stale_plan, pool_error, store_error},
    lease::ReadLease,
    ledger::{
        cache::{LedgerCache, Moment},
        read,
    },
    migrate,
    tx::PostgresTx,
};

/// How often a transaction is tried that others got in the way of.
const TRIES: u32 = 10;

/// How often a batch is decided. A node that decides on what it remembers does not wait for one that locks, which may
/// so lose several times; but it loses its own turn as often, and then locks, too.
const DECISIONS: u32 = 50;

/// Connections beside the pool: one for a writer, two for readers of balances.
const LANES: usize = 3;

/// How the server is used.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// Connections at the most; below 4 it is 4.
    pub pool_size: usize,
    /// How long opening a connection may take, milliseconds.
    pub connect_timeout_ms: u64,
    /// How long to wait for a connection when all are busy, milliseconds.
    pub acquire_timeout_ms: u64,
    /// How long a statement may run, milliseconds.
    pub statement_timeout_ms: u64,
    /// How long a statement may wait for a lock before its transaction is tried again, milliseconds.
    pub lock_timeout_ms: u64,
    /// Certificates (PEM) of authorities to trust beside the public ones; empty for none.
    pub ca_certificates_pem: String,
    /// This process among those that share the database. With it, balances are answered from memory while no other one
    /// is connected; without it, the database is asked for each.
    pub process: Option<Process>,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            pool_size: 16,
            connect_timeout_ms: 2_000,
            acquire_timeout_ms: 2_000,
            statement_timeout_ms: 30_000,
            lock_timeout_ms: 10_000,
            ca_certificates_pem: String::new(),
            process: None,
        }
    }
}

/// PostgreSQL: a server, and any number of nodes that use it.
pub struct PostgresEngine {
    pool: Pool,
    /// None only while it is dropped.
    runtime: Option<Runtime>,
    handle: Handle,
    /// How long to wait for an answer; longer than any statement may take.
    pub(crate) answer_timeout: Duration,
    retries: AtomicU64,
    pub(crate) cache: Arc<LedgerCache>,
    /// For one writer at a time; another one takes a connection from the pool.
    pub(crate) write_lane: Mutex<WriteLane>,
    /// For readers of balances, likewise.
    balance_lanes: [Mutex<OwnLane>; 2],
}

impl fmt::Debug for PostgresEngine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PostgresEngine").field("pool", &self.pool.status()).finish_non_exhaustive()
    }
}

impl PostgresEngine {
    /// Prepares a pool for the server at `url` (`postgres://user:password@host:port/database?sslmode=…`).
    ///
    /// Connections are opened when they are needed: a server that is not there yet is [`StoreError::Unavailable`]
    /// later, and is used as soon as it is there.
    ///
    /// # Errors
    /// [`StoreError::Internal`] when the URL or a certificate cannot be read.
    pub fn connect(url: &str, options: PostgresOptions) -> Result<Self, StoreError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("florin-postgres")
            .enable_all()
            .build()
            .map_err(|error| StoreError::Unavailable(format!("no threads for PostgreSQL: {error}")))?;
        let cache = Arc::new(LedgerCache::new(ReadLease::new(options.process)));
        let lane = || OwnLane::new(url, &options, &cache);
        let shared = options.pool_size.saturating_sub(LANES).max(1);
        let pool = connect::pool(url, shared, &options, &cache)?;
        Ok(Self {
            write_lane: Mutex::new(WriteLane::new(lane()?)),
            balance_lanes: [Mutex::new(lane()?), Mutex::new(lane()?)],
            pool,
            handle: runtime.handle().clone(),
            runtime: Some(runtime),
            answer_timeout: Duration::from_millis(options.statement_timeout_ms.saturating_add(5_000)),
            retries: AtomicU64::new(0),
            cache,
        })
    }

    /// How many transactions were tried again because others got in the way.
    #[must_use]
    pub fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    pub(crate) fn transact(&self, kind: Kind, work: Work<'_>) -> Result<(), StoreError> {
        let (mut attempt, mut decisions, mut is_first_try) = (1, 1, true);
        loop {
            match self.attempt(kind, is_first_try, &mut *work) {
                Ending::Done => return Ok(()),
                Ending::Failed(error) => return Err(error),
                Ending::Conflict(error) if decisions >= DECISIONS => return Err(error),
                // From now on under locks.
                Ending::Conflict(error) => {
                    debug!(%error, decisions, "a batch is decided again");
                    decisions += 1;
                }
                Ending::Retry(error) if attempt >= TRIES => return Err(error),
                Ending::Retry(error) => {
                    let count = self.retries.fetch_add(1, Ordering::Relaxed);
                    debug!(%error, attempt, "a transaction is tried again");
                    thread::sleep(backoff(attempt, count));
                    attempt += 1;
                }
            }
            is_first_try = false;
        }
    }

    fn attempt(&self, kind: Kind, is_first_try: bool, work: Work<'_>) -> Ending {
        let lane = if kind == Kind::Write { self.write_lane.try_lock() } else { None };
        // Who waits for the end of what is on its way must not wait for this, too.
        let lane = lane.filter(|lane| lane.idle().is_some());
        let (driver, pool) = self.way(lane.as_deref().and_then(WriteLane::idle));
        let loan = match self.borrow(driver, pool, kind) {
            Ok(loan) => loan,
            Err(error) => return Ending::Failed(error),
        };
        let Some(client) = &loan.client else { return Ending::Failed(lost_client()) };
        let mut tx = PostgresTx::new(driver, client, kind, self.answer_timeout, &self.cache, is_first_try);
        let result = work(&mut tx);
        let (ending, is_reusable) = tx.end(result);
        loan.give_back(is_reusable);
        ending
    }

    /// What this node remembers of the accounts, and the rows that differ from it: one statement, and a database
    /// transaction by itself.
    fn confirm(&self, ids: &[AccountId]) -> Result<Confirmed, StoreError> {
        let lane = self.balance_lanes.iter().find_map(Mutex::try_lock);
        let (driver, pool) = self.way(lane.as_deref());
        let loan = self.borrow(driver, pool, Kind::Read)?;
        let client = loan.client.as_ref().ok_or_else(lost_client)?;
        // Not before the connection is there: a new one makes this node forget.
        let (mut since, known) = (self.cache.moment(), self.cache.find_accounts(ids));
        let asked = self.cache.lease().ask_if_due();
        let read = read::select_changed_accounts(client, asked, ids, &known);
        let answer = driver.block_on(async { tokio::time::timeout(self.answer_timeout, read).await });
        let answer = answer.map_err(|_| StoreError::Unavailable("PostgreSQL did not answer in time".to_owned()))?;
        loan.give_back(answer.is_ok());
        Ok(answer.map(|(is_alone, rows)| {
            if let Some((asked, is_alone)) = asked.zip(is_alone) {
                since.tenure = self.cache.lease().answered(asked, is_alone);
            }
            Confirmation { since, known, rows }
        }))
    }

    /// By the lane, if there was a free one, else by the pool.
    fn way<'e>(&'e self, lane: Option<&'e OwnLane>) -> (Driver<'e>, &'e Pool) {
        lane.and_then(OwnLane::parts).unwrap_or((Driver::Shared(&self.handle), &self.pool))
    }

    pub(crate) fn borrow(&self, driver: Driver<'_>, pool: &Pool, kind: Kind) -> Result<Loan<'_>, StoreError> {
        let name = self.cache.lease().name();
        let client = driver.block_on(pool.get()).map_err(|error| pool_error(&error))?;
        Ok(Loan { engine: self, client: Some(client), kind, name })
    }

    fn borrow_shared(&self) -> Result<Loan<'_>, StoreError> {
        self.borrow(Driver::Shared(&self.handle), &self.pool, Kind::Write)
    }

    /// A connection was thrown away in the middle of a write: this process has another name from now on, and with it
    /// new connections.
    fn rename(&self) {
        self.cache.renounce();
        drop(self.pool.retain(|_, _| false));
        // One that is in use looks at the name when it is given back.
        if let Some(lane) = self.write_lane.try_lock() {
            lane.idle().into_iter().for_each(OwnLane::close);
        }
        self.balance_lanes.iter().filter_map(Mutex::try_lock).for_each(|lane| lane.close());
    }
}

/// Accounts as they are remembered, the rows of those that are not so any more, and the moment before they were asked
/// for.
struct Confirmation {
    since: Moment,
    known: AccountMap<Account>,
    rows: Vec<Row>,
}

type Confirmed = Result<Confirmation, Error>;

/// What kind of transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Read,
    Write,
}

impl Kind {
    pub(crate) const fn begin(self) -> &'static str {
        match self {
            Self::Read => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            Self::Write => "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
        }
    }
}

impl Engine for PostgresEngine {
    fn kind(&self) -> EngineKind {
        EngineKind::Postgres
    }

    fn peek_account(&self, id: AccountId) -> Option<Account> {
        self.cache.peek(id)
    }

    fn read_accounts(&self, ids: &[AccountId]) -> Result<AccountMap<Account>, StoreError> {
        let answer = match self.confirm(ids)? {
            // A connection that died unnoticed, or is older than a migration, says nothing about the next one.
            Err(error) if is_connection_lost(&error) || is_stale_plan(&error) => self.confirm(ids)?,
            answer => answer,
        };
        let Confirmation { since, known: mut accounts, rows } = answer.map_err(|error| store_error(&error))?;
        accounts.extend(read::accounts_of(&rows)?);
        self.cache.seen(accounts.values(), since);
        Ok(accounts)
    }

    fn read(&self, work: Work<'_>) -> Result<(), StoreError> {
        self.transact(Kind::Read, work)
    }

    fn write(&self, work: Work<'_>) -> Result<(), StoreError> {
        self.transact(Kind::Write, work)
    }

    fn begin_write(&self, behind: Option<Ticket>, work: Work<'_>) -> Result<Begun, NotDone> {
        self.begin(behind, work)
    }

    fn end_write(&self, ticket: Ticket, interruption: Interruption<'_>) -> Option<Result<(), NotDone>> {
        self.end(ticket, interruption)
    }

    fn status(&self) -> Result<EngineStatus, StoreError> {
        let loan = self.borrow_shared()?;
        let client = loan.client.as_ref().ok_or_else(lost_client)?;
        let status = self.handle.block_on(migrate::status(client))?;
        loan.give_back(true);
        Ok(status)
    }

    fn migrate(&self) -> Result<Vec<&'static str>, StoreError> {
        let loan = self.borrow_shared()?;
        let client = loan.client.as_ref().ok_or_else(lost_client)?;
        let names = self.handle.block_on(migrate::migrate(client))?;
        loan.give_back(true);
        Ok(names)
    }
}

impl Drop for PostgresEngine {
    fn drop(&mut self) {
        self.pool.close();
        if let Some(runtime) = self.runtime.take() {
            // An engine may be dropped on an async thread, which must not wait.
            runtime.shutdown_background();
        }
    }
}

pub(crate) fn lost_client() -> StoreError {
    StoreError::Internal("a borrowed connection is missing".to_owned())
}

/// A connection that is closed, not pooled, unless its transaction has ended: also when the work panicked.
pub(crate) struct Loan<'e> {
    engine: &'e PostgresEngine,
    client: Option<Object>,
    kind: Kind,
    /// That of the process before the connection was there: it has this name or a newer one.
    name: u32,
}

impl<'e> Loan<'e> {
    /// A connection for writing that was taken out of a loan; without one it is lost.
    pub(crate) fn of(engine: &'e PostgresEngine, client: Option<Object>, name: u32) -> Self {
        if client.is_none() {
            engine.rename();
        }
        Self { engine, client, kind: Kind::Write, name }
    }

    /// The connection, for who gives it back by [`Loan::of`], and the name of the process.
    pub(crate) fn into_parts(mut self) -> Result<(Object, u32), StoreError> {
        Ok((self.client.take().ok_or_else(lost_client)?, self.name))
    }

    pub(crate) fn give_back(mut self, is_reusable: bool) {
        if is_reusable && self.name == self.engine.cache.lease().name() {
            self.client = None;
        } else if is_reusable {
            self.kind = Kind::Read;
        }
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        let Some(client) = self.client.take() else { return };
        drop(Object::take(client));
        if self.kind == Kind::Write {
            self.engine.rename();
        }
    }
}

/// 2 ms, doubled each time up to 256 ms, plus up to as much again: spread by a counter, so that those who met once do
/// not meet again.
fn backoff(attempt: u32, count: u64) -> Duration {
    let base_us = 2_000_u64 << (attempt - 1).min(7);
    let spread = count.wrapping_add(u64::from(std::process::id())).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48;
    Duration::from_micros(base_us + base_us * spread / 0xffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_statement_of_the_ledger_can_be_prepared() {
        let Some(database) = florin_testkit::postgres::fresh_database() else { return };
        let engine = PostgresEngine::connect(database.url(), PostgresOptions::default()).unwrap();
        engine.migrate().unwrap();
        let loan = engine.borrow_shared().unwrap();
        let client = loan.client.as_ref().unwrap();
        for statement in crate::statements::STATEMENTS {
            let prepared = engine.handle.block_on(client.prepare_cached(statement));
            prepared.map_err(|error| format!("{error:?}\n{statement}")).unwrap();
        }
    }

    #[test]
    fn those_who_met_once_wait_differently() {
        assert_ne!(backoff(1, 0), backoff(1, 1));
        for attempt in 1..=TRIES {
            let wait = backoff(attempt, u64::from(attempt));
            assert!(wait >= Duration::from_millis(2) && wait <= Duration::from_millis(512), "{wait:?}");
        }
    }
}
