//! A batch whose answer was lost, and which arrives while it is looked for.

use std::{sync::Arc, thread};

use florin_app::{Bulk, CommitQueue, QueueSettings};
use florin_ledger::{Batch, Command, Kind};
use florin_store::{Engine, ledger::apply_batch_in_tx, read, wallet};
use florin_store_postgres::{PostgresEngine, PostgresOptions};
use florin_testkit::{
    distant::{Distant, End},
    held::Held,
    keyed::{answer_of, key_of, once},
    node::StoppedClock,
    postgres::fresh_database,
};
use futures_util::FutureExt as _;

use crate::{
    NOW_US,
    ahead::{deposits, version_after},
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

    let server = Arc::new(database.connect());
    arrives_when(server, deposit, || database.wait_for_waiting("FOR UPDATE OF a"), || while writer.step() {});
    assert!(is_applied(&submitted.verdict().now_or_never().unwrap().unwrap()));
    let row = read(&engine.inner, |tx| wallet::find_wallet(tx, wallet)).unwrap().unwrap();
    assert_eq!((row.account.balance().posted_minor, row.account.version), (101, 2));
    assert_eq!(divergence(&engine.inner), None);
}

/// What a bulk is told of its key is what the attempt found that counts, not a later one that came to nothing.
#[test]
fn a_repeated_bulk_is_told_its_answer_when_the_batch_it_was_left_out_of_arrives_late() {
    let Some(database) = fresh_database() else { return };
    let engine = Distant::over(database.connect(), &[]);
    let wallet = open_wallet(&engine.inner, 1);
    let distant = Arc::<Distant<PostgresEngine>>::clone(&engine);
    let (queue, mut writer) = CommitQueue::stepped(distant, Arc::new(StoppedClock), 0, QueueSettings::default());
    let submit = |ids: [u128; 2]| {
        let (keyed, found) = once("key");
        let bulk = Bulk { keyed: Some(keyed), ..Bulk::of(deposits(ids, wallet), false) };
        (queue.submit_bulk(bulk).unwrap(), found)
    };
    let first = submit([10, 11]).0;
    while writer.step() {}
    assert_eq!(first.verdict().now_or_never().unwrap().unwrap().verdicts().len(), 2);
    // Overtaken by another node, this one decides its next batch under locks, and so looks for keys.
    let server = Arc::new(database.connect());
    apply(&*server, 1, &[command(12, Kind::Deposit, wallet, 1, 1)]);
    apply(&engine.inner, 0, &deposits([13], wallet));

    engine.script.lock().push_back(End::Late);
    let (again, found) = submit([20, 21]);
    let deposit = command(22, Kind::Deposit, wallet, 1, 0);
    let single = queue.submit(deposit.clone()).unwrap();
    assert!(writer.step(), "decided without the bulk, and lost");
    arrives_when(server, deposit, || database.wait_for_waiting("UPDATE accounts AS a"), || while writer.step() {});
    assert_eq!(version_after(&single.verdict().now_or_never().unwrap().unwrap(), wallet), 5);
    assert_eq!(again.verdict().now_or_never().unwrap().unwrap().verdicts().len(), 0, "left out");
    assert_eq!(found.lock().clone(), Some(answer_of(&key_of("key"), 2)));
    assert_eq!(divergence(&engine.inner), None);
}

/// Lets `server` write the command as the lost attempt would: it is at work while `look` goes on, and is done when
/// `waits` comes back.
fn arrives_when(server: Arc<dyn Engine>, command: Command, waits: impl FnOnce(), look: impl FnOnce() + Send) {
    // What the server still does for the connection that was lost.
    let arriving = Held::open(server, move |tx| {
        apply_batch_in_tx(tx, 0, Batch::each(std::slice::from_ref(&command)), NOW_US).map(drop)
    });
    thread::scope(|scope| {
        let looking = scope.spawn(look);
        waits();
        arriving.release().unwrap();
        looking.join().unwrap();
    });
}
