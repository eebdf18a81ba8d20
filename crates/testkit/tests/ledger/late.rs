//! A batch whose answer was lost, and which arrives while it is looked for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
};

use florin_app::{CommitQueue, QueueSettings};
use florin_ledger::{Account, AccountId, Batch, Kind};
use florin_store::{
    Begun, Engine, EngineKind, EngineStatus, Interruption, NotDone, StoreError, Ticket, Work,
    ledger::apply_batch_in_tx, read, wallet,
};
use florin_store_postgres::{PostgresEngine, PostgresOptions};
use florin_testkit::postgres::fresh_database;
use futures_util::FutureExt as _;

use crate::{NOW_US, ahead::StoppedClock, apply, command, divergence, is_applied, open_wallet};

/// Lost patience makes the second look one under locks, for which whoever holds them is waited for.
const LOCK_TIMEOUT_MS: u64 = 300;

/// PostgreSQL, whose first answer is lost before anything has arrived.
struct Unanswered {
    inner: PostgresEngine,
    is_lost: AtomicBool,
}

impl Engine for Unanswered {
    fn kind(&self) -> EngineKind {
        self.inner.kind()
    }

    fn peek_account(&self, id: AccountId) -> Option<Account> {
        self.inner.peek_account(id)
    }

    fn read(&self, work: Work<'_>) -> Result<(), StoreError> {
        self.inner.read(work)
    }

    fn write(&self, work: Work<'_>) -> Result<(), StoreError> {
        self.inner.write(work)
    }

    fn begin_write(&self, behind: Option<Ticket>, work: Work<'_>) -> Result<Begun, NotDone> {
        if self.is_lost.swap(true, Ordering::Relaxed) {
            return self.inner.begin_write(behind, work);
        }
        let lost = || StoreError::OutcomeUnknown("the connection was lost".to_owned());
        // Decided, but not written.
        let decided = self.inner.write(&mut |tx| work(tx).and(Err(lost())));
        Err(NotDone::Failed(decided.err().unwrap_or_else(lost)))
    }

    fn end_write(&self, ticket: Ticket, interruption: Interruption<'_>) -> Option<Result<(), NotDone>> {
        self.inner.end_write(ticket, interruption)
    }

    fn status(&self) -> Result<EngineStatus, StoreError> {
        self.inner.status()
    }

    fn migrate(&self) -> Result<Vec<&'static str>, StoreError> {
        self.inner.migrate()
    }
}

#[test]
fn a_batch_that_arrives_while_it_is_looked_for_is_applied_once() {
    let Some(database) = fresh_database() else { return };
    let options = PostgresOptions { lock_timeout_ms: LOCK_TIMEOUT_MS, ..PostgresOptions::default() };
    let inner = PostgresEngine::connect(database.url(), options).unwrap();
    inner.migrate().unwrap();
    let wallet = open_wallet(&inner, 1);
    // From here on there are accounts that can be locked.
    assert!(apply(&inner, 0, &[command(10, Kind::Deposit, wallet, 100, 0)]).iter().all(is_applied));

    let engine: Arc<dyn Engine> = Arc::new(Unanswered { inner, is_lost: AtomicBool::new(false) });
    let (queue, mut writer) =
        CommitQueue::stepped(Arc::clone(&engine), Arc::new(StoppedClock), 0, QueueSettings::default());
    let deposit = command(11, Kind::Deposit, wallet, 1, 0);
    let submitted = queue.submit(deposit.clone()).unwrap();

    let (is_at_work, at_work) = mpsc::channel();
    let (release, released) = mpsc::channel();
    let (server, deposit) = (&database.connect(), &deposit);
    thread::scope(|scope| {
        // What the server still does for the connection that was lost.
        scope.spawn(move || {
            florin_store::write(server, |tx| {
                apply_batch_in_tx(tx, 0, Batch::each(std::slice::from_ref(deposit)), NOW_US)?;
                tx.query("SELECT COUNT(*) FROM batches", &[])?;
                is_at_work.send(()).unwrap();
                released.recv().unwrap();
                Ok(())
            })
            .unwrap();
        });
        at_work.recv().unwrap();
        let looking = scope.spawn(move || writer.step());
        database.wait_for_waiting("FOR UPDATE OF a");
        release.send(()).unwrap();
        assert!(looking.join().unwrap());
    });
    assert!(is_applied(&submitted.verdict().now_or_never().unwrap().unwrap()));
    let row = read(engine.as_ref(), |tx| wallet::find_wallet(tx, wallet)).unwrap().unwrap();
    assert_eq!((row.account.balance().posted_minor, row.account.version), (101, 2));
    assert_eq!(divergence(engine.as_ref()), None);
}
