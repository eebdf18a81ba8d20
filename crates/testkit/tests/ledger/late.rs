//! A batch whose answer was lost, and which arrives while it is looked for.

use std::{
    sync::{Arc, mpsc},
    thread,
};

use florin_app::{CommitQueue, QueueSettings};
use florin_ledger::{Batch, Kind};
use florin_store::{ledger::apply_batch_in_tx, read, wallet};
use florin_store_postgres::{PostgresEngine, PostgresOptions};
use florin_testkit::{node::StoppedClock, postgres::fresh_database};
use futures_util::FutureExt as _;

use crate::{
    NOW_US,
    ahead::{Distant, End},
    apply, command, divergence, is_applied, open_wallet,
};

/// Lost patience makes the second look one under locks, for which whoever holds them is waited for.
const LOCK_TIMEOUT_MS: u64 = 300;

#[test]
fn a_batch_that_arrives_while_it_is_looked_for_is_applied_once() {
    let Some(database) = fresh_database() else { return };
    let options = PostgresOptions { lock_timeout_ms: LOCK_TIMEOUT_MS, ..PostgresOptions::default() };
    let engine = Distant::over(PostgresEngine::connect(database.url(), options).unwrap(), &[End::Late]);
    let wallet = open_wallet(&engine.inner, 1);
    // From here on there are accounts that can be locked.
    assert!(apply(&engine.inner, 0, &[command(10, Kind::Deposit, wallet, 100, 0)]).iter().all(is_applied));

    let distant = Arc::<Distant<PostgresEngine>>::clone(&engine);
    let (queue, mut writer) = CommitQueue::stepped(distant, Arc::new(StoppedClock), 0, QueueSettings::default());
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
        let looking = scope.spawn(move || while writer.step() {});
        database.wait_for_waiting("FOR UPDATE OF a");
        release.send(()).unwrap();
        looking.join().unwrap();
    });
    assert!(is_applied(&submitted.verdict().now_or_never().unwrap().unwrap()));
    let row = read(&engine.inner, |tx| wallet::find_wallet(tx, wallet)).unwrap().unwrap();
    assert_eq!((row.account.balance().posted_minor, row.account.version), (101, 2));
    assert_eq!(divergence(&engine.inner), None);
}
