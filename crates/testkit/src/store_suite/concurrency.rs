//! Many at once: isolation, locks, and what a panic leaves behind.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
};

use florin_ledger::{AccountId, Batch, Outcome, Verdict};
use florin_store::{Engine, StoreError, Tx, Value, ledger::apply_batch_in_tx, read, write};
use uuid::Uuid;

use super::batches::{deposit_by, open_wallet};

const THREADS: u16 = 4;
const ROUNDS: u16 = 20;

/// The test's transactions so far.
static LAST_TRANSACTION: AtomicU64 = AtomicU64::new(1);

fn insert_counter(tx: &mut dyn Tx, name: &str) -> Result<u64, StoreError> {
    tx.execute("INSERT INTO counters (name, value) VALUES ($1, 0)", &[Value::Text(name.to_owned())])
}

fn count(tx: &mut dyn Tx) -> Result<i64, StoreError> {
    tx.query("SELECT count(*) FROM counters WHERE name LIKE 'test-%'", &[])?[0].get_int(0)
}

/// A reader neither sees an open write nor waits for it.
pub fn reads_do_not_see_an_open_write(engine: &dyn Engine) {
    engine.migrate().unwrap();
    let (written, is_written) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let writer = scope.spawn(move || {
            write(engine, |tx| {
                insert_counter(tx, "test-a")?;
                written.send(()).unwrap();
                released.recv().unwrap();
                Ok(())
            })
        });
        is_written.recv().unwrap();
        assert_eq!(read(engine, count).unwrap(), 0);
        release.send(()).unwrap();
        writer.join().unwrap().unwrap();
    });
    assert_eq!(read(engine, count).unwrap(), 1);
}

/// Two reads in one unit of work see the same, whatever is committed between them.
pub fn reads_are_of_one_snapshot(engine: &dyn Engine) {
    engine.migrate().unwrap();
    let both = read(engine, |tx| {
        let before = count(tx)?;
        thread::scope(|scope| scope.spawn(|| write(engine, |tx| insert_counter(tx, "test-a"))).join().unwrap())?;
        Ok((before, count(tx)?))
    });
    assert_eq!(both.unwrap(), (0, 0));
    assert_eq!(read(engine, count).unwrap(), 1);
}

fn open_wallets(engine: &dyn Engine, count: u16) -> Vec<AccountId> {
    (1..=u128::from(count)).map(|number| open_wallet(engine, number).id).collect()
}

/// One deposit to each, in one batch of a writer.
fn add_one_to_each(engine: &dyn Engine, writer: u16, ids: &[AccountId]) {
    let next = || u128::from(LAST_TRANSACTION.fetch_add(1, Ordering::Relaxed));
    let batch: Vec<_> = ids.iter().map(|id| deposit_by(writer, next(), *id, 1)).collect();
    let applied = write(engine, |tx| apply_batch_in_tx(tx, writer, Batch::each(&batch), 42)).unwrap();
    let is_applied = |verdict: &Verdict| matches!(verdict.outcome, Outcome::Applied(_));
    assert_eq!(applied.verdicts.iter().filter(|verdict| is_applied(verdict)).count(), 12.min(ids.len()));
}

fn in_threads(run: impl Fn(u16) + Sync) {
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let run = &run;
            scope.spawn(move || (0..ROUNDS).for_each(|_| run(thread)));
        }
    });
}

/// What is read under lock and written back is not lost to others who do the same.
pub fn accounts_locked_lose_no_update(engine: &dyn Engine) {
    engine.migrate().unwrap();
    let ids = open_wallets(engine, 1);
    in_threads(|thread| add_one_to_each(engine, thread, &ids));
    let accounts = read(engine, |tx| tx.lock_accounts(&ids)).unwrap();
    let expected = i64::from(THREADS * ROUNDS);
    let account = &accounts[&ids[0]];
    assert_eq!((account.posted_credits_minor, account.version), (i128::from(expected), expected));
}

/// Accounts asked for in opposite orders are locked in one order.
pub fn locks_in_any_order_meet_no_deadlock(engine: &dyn Engine) {
    engine.migrate().unwrap();
    let mut forwards = open_wallets(engine, 12);
    forwards.push(AccountId(Uuid::nil()));
    let backwards: Vec<_> = forwards.iter().rev().copied().collect();
    in_threads(|thread| {
        let ids = if thread % 2 == 0 { &forwards } else { &backwards };
        add_one_to_each(engine, thread, ids);
    });
    let accounts = read(engine, |tx| tx.lock_accounts(&backwards)).unwrap();
    assert_eq!(accounts.len(), 12, "an account that is not there is left out");
    assert!(accounts.values().all(|account| account.version == i64::from(THREADS * ROUNDS)));
}

/// Writers with one number take turns, from the first batch on.
pub fn a_chain_that_two_begin_at_once_has_no_gap(engine: &dyn Engine) {
    engine.migrate().unwrap();
    assert_eq!(read(engine, |tx| tx.find_chain_head(7)).unwrap(), None);
    let ids = open_wallets(engine, 1);
    in_threads(|_| add_one_to_each(engine, 7, &ids));
    let head = read(engine, |tx| tx.find_chain_head(7)).unwrap().unwrap();
    assert_eq!(head.number, i64::from(THREADS * ROUNDS));
    let rows = read(engine, |tx| {
        tx.query("SELECT previous_hash, hash FROM batches WHERE writer = $1 ORDER BY number", &[Value::Int(7)])
    });
    let mut end = [0; 32];
    for row in rows.unwrap() {
        assert_eq!(row.get_array::<32>(0).unwrap(), end);
        end = row.get_array(1).unwrap();
    }
    assert_eq!(end, head.hash);
    assert_eq!(read(engine, |tx| tx.find_chain_head(8)).unwrap(), None, "another writer's chain is another chain");
}

/// A panic in the work rolls back; the engine goes on.
pub fn a_panic_leaves_the_engine_working(engine: &dyn Engine) {
    engine.migrate().unwrap();
    for _ in 0..40 {
        let result = std::panic::catch_unwind(AssertUnwindSafe(|| {
            write(engine, |tx| -> Result<(), StoreError> {
                insert_counter(tx, "test-a")?;
                std::panic::resume_unwind(Box::new("the work panics"))
            })
        }));
        assert!(result.is_err());
        let result = std::panic::catch_unwind(AssertUnwindSafe(|| {
            read(engine, |tx| -> Result<(), StoreError> {
                count(tx)?;
                std::panic::resume_unwind(Box::new("the work panics"))
            })
        }));
        assert!(result.is_err());
    }
    assert_eq!(read(engine, count).unwrap(), 0);
    write(engine, |tx| insert_counter(tx, "test-a")).unwrap();
    assert_eq!(read(engine, count).unwrap(), 1);
}
