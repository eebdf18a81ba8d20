//! A batch that is decided and sent while the one before is on its way.

use std::{future::pending, pin::pin, sync::Arc};

use florin_app::{Bulk, CommitQueue, LedgerWriter, QueueSettings};
use florin_ledger::{AccountId, Batch, Command, Kind, Leg, Outcome, Side, Verdict};
use florin_store::{Begun, Engine, NotDone, StoreError, Ticket, Tx, ledger::apply_batch_in_tx, read, wallet};
use florin_store_postgres::PostgresEngine;
use florin_testkit::{
    distant::{Distant, End},
    held::Held,
    keyed::{answer_of, find_kept, key_of, once},
    node::StoppedClock,
    postgres::{FreshDatabase, fresh_engine},
};
use futures_util::FutureExt as _;

use crate::{NOW_US, apply, bulks::entry, command, divergence, is_applied, open_wallet};

/// A queue in front of it, in which two waiting commands are worth a batch.
fn stepped(engine: &Arc<Distant>) -> (CommitQueue, LedgerWriter) {
    let settings = QueueSettings { ahead_min: 2, ..QueueSettings::default() };
    CommitQueue::stepped(Arc::<Distant>::clone(engine), Arc::new(StoppedClock), 0, settings)
}

/// A deposit of 1 to each.
pub(crate) fn deposits(ids: impl IntoIterator<Item = u128>, wallet: AccountId) -> Vec<Command> {
    ids.into_iter().map(|id| command(id, Kind::Deposit, wallet, 1, 0)).collect()
}

/// The wallet's version after the command, which tells the order in which commands were applied.
pub(crate) fn version_after(verdict: &Verdict, wallet: AccountId) -> i64 {
    let Outcome::Applied(applied) = &verdict.outcome else { panic!("{verdict:?}") };
    applied.leg_of(wallet).unwrap().version
}

fn submit(queue: &CommitQueue, commands: Vec<Command>) -> Vec<florin_app::Submitted> {
    commands.into_iter().map(|command| queue.submit(command).unwrap()).collect()
}

/// Begins one command, and two behind it; then everything ends. The versions after each.
fn one_and_two(engine: &Arc<Distant>) -> Vec<i64> {
    let wallet = open_wallet(&engine.inner, 1);
    let (queue, mut writer) = stepped(engine);
    let mut submitted = submit(&queue, deposits([10], wallet));
    assert!(writer.step());
    submitted.extend(submit(&queue, deposits([11, 12], wallet)));
    while writer.step() {}
    let verdicts = submitted.into_iter().map(|submitted| submitted.verdict().now_or_never().unwrap().unwrap());
    let versions = verdicts.map(|verdict| version_after(&verdict, wallet)).collect();
    assert_eq!(divergence(&engine.inner), None);
    let row = read(&engine.inner, |tx| wallet::find_wallet(tx, wallet)).unwrap().unwrap();
    assert_eq!(row.account.version, 3, "each was applied once");
    versions
}

/// Enough commands for a batch interrupt the wait for the one that is on its way; nobody's answer is lost by it.
#[test]
fn the_next_batch_is_begun_behind_the_one_that_is_on_its_way() {
    let engine = Distant::new(&[]);
    assert_eq!(one_and_two(&engine), [1, 2, 3]);
    assert_eq!(*engine.begun.lock(), [None, Some(Ticket(1))]);
}

#[test]
fn too_few_wait_for_the_end_of_the_one_before() {
    let engine = Distant::new(&[]);
    let wallet = open_wallet(&engine.inner, 1);
    let (queue, mut writer) = stepped(&engine);
    for id in 10..13 {
        drop(submit(&queue, deposits([id], wallet)));
        assert!(writer.step());
        assert!(writer.step());
    }
    assert!(!writer.step());
    assert_eq!(*engine.begun.lock(), [None, None, None]);
}

/// In their order, before anything that came later.
#[test]
fn what_came_to_nothing_is_decided_anew() {
    assert_eq!(one_and_two(&Distant::new(&[End::Again, End::Again])), [1, 2, 3]);
}

#[test]
fn what_happened_unknown_to_its_caller_is_found_and_not_done_twice() {
    for script in [&[End::Lost][..], &[End::Lost, End::Lost], &[End::Lost, End::Again]] {
        assert_eq!(one_and_two(&Distant::new(script)), [1, 2, 3]);
    }
}

/// Behind a single command; what a companion has to say waits for the end of both.
#[test]
fn bulks_are_left_on_their_way_too() {
    for script in [&[][..], &[End::Again, End::Again], &[End::Lost, End::Again], &[End::Lost, End::Lost]] {
        let engine = Distant::new(script);
        let wallet = open_wallet(&engine.inner, 1);
        let (queue, mut writer) = stepped(&engine);
        let single = submit(&queue, deposits([10], wallet)).remove(0);
        assert!(writer.step());
        let (keyed, found) = once("key");
        let bulk = Bulk { keyed: Some(keyed), ..Bulk::of(deposits([11, 12], wallet), true) };
        let bulk = queue.submit_bulk(bulk).unwrap();
        let beside = submit(&queue, deposits([13], wallet)).remove(0);
        assert!(writer.step());
        let single = single.verdict().now_or_never().unwrap().unwrap();
        let last = Bulk { companion: entry("last"), ..Bulk::of(deposits([14], wallet), true) };
        let last = queue.submit_bulk(last).unwrap();
        while writer.step() {}
        let beside = beside.verdict().now_or_never().unwrap().unwrap();
        let [bulk, last] = [bulk, last].map(|bulk| bulk.verdict().now_or_never().unwrap().unwrap());
        let verdicts = std::iter::once(&single).chain(bulk.verdicts()).chain([&beside]).chain(last.verdicts());
        let versions: Vec<_> = verdicts.map(|verdict| version_after(verdict, wallet)).collect();
        assert_eq!(versions, [1, 2, 3, 4, 5]);
        assert_eq!(found.lock().clone(), None, "answered for the first time");
        assert_eq!(engine.begun.lock()[..2], [None, Some(Ticket(1))]);
        let kept = read(&engine.inner, |tx| find_kept(tx, "key")).unwrap();
        assert_eq!(kept, Some(answer_of(&key_of("key"), 2)));
        assert_eq!(divergence(&engine.inner), None);
    }
}

fn fresh() -> Option<(PostgresEngine, FreshDatabase)> {
    let (engine, database) = fresh_engine()?;
    engine.migrate().unwrap();
    Some((engine, database))
}

pub(crate) fn begin(
    engine: &dyn Engine,
    behind: Option<Ticket>,
    batch: &[Command],
) -> (Result<Begun, NotDone>, Vec<Verdict>) {
    let mut verdicts = Vec::new();
    let begun = engine.begin_write(behind, &mut |tx| {
        verdicts = apply_batch_in_tx(tx, 0, Batch::each(batch), NOW_US + 1)?.verdicts;
        Ok(())
    });
    (begun, verdicts)
}

pub(crate) fn ticket(begun: &Result<Begun, NotDone>) -> Ticket {
    let Ok(Begun::UnderWay(ticket)) = begun else { panic!("{begun:?}") };
    *ticket
}

pub(crate) fn end(engine: &dyn Engine, ticket: Ticket) -> Result<(), NotDone> {
    engine.end_write(ticket, pin!(pending())).unwrap()
}

pub(crate) fn balance(engine: &dyn Engine, id: AccountId) -> i128 {
    engine.read_accounts(&[id]).unwrap()[&id].balance().posted_minor
}

#[test]
fn a_batch_on_the_server_is_decided_on_the_one_before() {
    let Some((engine, _database)) = fresh() else { return };
    let wallet = open_wallet(&engine, 1);
    apply(&engine, 0, &deposits([10], wallet));
    let (first, _) = begin(&engine, None, &[command(11, Kind::Deposit, wallet, 99, 0)]);
    let (second, verdicts) = begin(&engine, Some(ticket(&first)), &[command(12, Kind::Withdraw, wallet, 100, 0)]);
    assert!(is_applied(&verdicts[0]), "{verdicts:?}");
    end(&engine, ticket(&first)).unwrap();
    end(&engine, ticket(&second)).unwrap();
    assert_eq!(balance(&engine, wallet), 0);
    assert_eq!(divergence(&engine), None);
    // Again, for what is remembered of them.
    assert!(is_applied(&apply(&engine, 0, &deposits([13], wallet))[0]));
}

/// Between two wallets: no system account has a part in it that could tell of the batch before.
pub(crate) fn transfer(id: u128, from: AccountId, to: AccountId, amount_minor: i128) -> Command {
    let legs = [(from, Side::Debit), (to, Side::Credit)];
    let legs = legs.map(|(account_id, side)| Leg { account_id, side, amount_minor }).to_vec();
    Command { legs, ..command(id, Kind::Transfer, from, amount_minor, 0) }
}

/// Also a batch that has nothing to do with what the other node changed.
#[test]
fn what_is_behind_a_batch_that_was_overtaken_comes_to_nothing() {
    let Some((engine, database)) = fresh() else { return };
    let [wallet, other, third] = [1, 2, 3].map(|id| open_wallet(&engine, id));
    apply(&engine, 0, &[deposits([10], wallet), deposits([11], other)].concat());
    apply(&database.connect(), 1, &[command(12, Kind::Deposit, wallet, 5, 1)]);
    let (first, _) = begin(&engine, None, &deposits([13], wallet));
    let (second, _) = begin(&engine, Some(ticket(&first)), &[transfer(14, other, third, 1)]);
    assert!(matches!(end(&engine, ticket(&first)), Err(NotDone::Again(_))));
    assert!(matches!(end(&engine, ticket(&second)), Err(NotDone::Again(_))));
    assert_eq!((balance(&engine, wallet), balance(&engine, other)), (6, 1));
    apply(&engine, 0, &[deposits([13], wallet), vec![transfer(14, other, third, 1)]].concat());
    assert_eq!((balance(&engine, wallet), balance(&engine, other), balance(&engine, third)), (7, 0, 1));
    assert_eq!(divergence(&engine), None);
}

/// It is final, so it is not given on what may not be.
#[test]
fn a_refusal_waits_for_the_batch_before_it() {
    let Some((engine, database)) = fresh() else { return };
    let wallet = open_wallet(&engine, 1);
    apply(&engine, 0, &[command(10, Kind::Deposit, wallet, 100, 0)]);
    let withdraw = |id, amount| command(id, Kind::Withdraw, wallet, amount, 0);
    let (first, _) = begin(&engine, None, &[withdraw(11, 60)]);
    let (second, verdicts) = begin(&engine, Some(ticket(&first)), &[withdraw(12, 60)]);
    assert!(matches!(second, Ok(Begun::Done)) && !is_applied(&verdicts[0]), "{second:?} {verdicts:?}");
    end(&engine, ticket(&first)).unwrap();

    // The wallet has 40. Another node makes it 140, which this one does not know: both make it the same version.
    let [other, third] = [2, 3].map(|id| open_wallet(&engine, id));
    apply(&database.connect(), 1, &[command(13, Kind::Deposit, wallet, 100, 1)]);
    let batches = [[transfer(14, wallet, other, 30)], [transfer(15, wallet, third, 60)]];
    let (first, _) = begin(&engine, None, &batches[0]);
    let (second, _) = begin(&engine, Some(ticket(&first)), &batches[1]);
    assert!(matches!(second, Err(NotDone::Again(_))), "{second:?}");
    assert!(matches!(end(&engine, ticket(&first)), Err(NotDone::Again(_))));
    assert!(apply(&engine, 0, &batches.concat()).iter().all(is_applied));
    assert_eq!((balance(&engine, wallet), divergence(&engine)), (50, None));
}

#[test]
fn a_connection_that_is_lost_leaves_both_in_doubt() {
    let Some((engine, database)) = fresh() else { return };
    let wallet = open_wallet(&engine, 1);
    apply(&engine, 0, &deposits([10], wallet));
    // Whoever locks the chains keeps them on their way.
    let lock = |tx: &mut dyn Tx| tx.execute("LOCK TABLE batches IN EXCLUSIVE MODE", &[]).map(drop);
    let held = Held::open(Arc::new(database.connect()), lock);
    let (first, _) = begin(&engine, None, &deposits([11], wallet));
    let (second, _) = begin(&engine, Some(ticket(&first)), &deposits([12], wallet));
    database.end_waiting_sessions();
    held.release().unwrap();
    for lost in [end(&engine, ticket(&first)), end(&engine, ticket(&second))] {
        assert!(matches!(lost, Err(NotDone::Failed(StoreError::OutcomeUnknown(_)))), "{lost:?}");
    }
    assert!(apply(&engine, 0, &deposits([13], wallet)).iter().all(is_applied));
    assert_eq!((balance(&engine, wallet), divergence(&engine)), (2, None));
}
