//! A batch that is decided and sent while the one before is on its way.

use std::{
    collections::VecDeque,
    future::pending,
    pin::pin,
    sync::{Arc, mpsc},
};

use florin_app::{Bulk, CommitQueue, LedgerWriter, QueueSettings};
use florin_ledger::{Account, AccountId, Batch, Command, Kind, Leg, Outcome, Side, Verdict};
use florin_store::{
    Begun, Engine, EngineKind, EngineStatus, Interruption, NotDone, StoreError, Ticket, Work,
    ledger::apply_batch_in_tx, read, wallet,
};
use florin_store_postgres::PostgresEngine;
use florin_store_sqlite::SqliteEngine;
use florin_testkit::{
    keyed::{answer_of, find_kept, key_of, once},
    node::StoppedClock,
    postgres::{FreshDatabase, fresh_engine},
};
use futures_util::FutureExt as _;
use parking_lot::Mutex;

use crate::{NOW_US, apply, bulks::entry, command, divergence, is_applied, open_wallet};

/// How a write ends that was left on its way.
#[derive(Clone, Copy)]
pub(crate) enum End {
    /// Nothing of it is written.
    Again,
    /// It is written, but nobody was told.
    Lost,
    /// It is decided, and nobody was told that it has not arrived.
    Late,
}

/// An engine as if it were far away: what is begun is left on its way, and ends as the test says.
pub(crate) struct Distant<E = SqliteEngine> {
    pub(crate) inner: E,
    /// How the next ones end; committed, where nothing is said.
    pub(crate) script: Mutex<VecDeque<End>>,
    /// How the next ones end that are waited for.
    pub(crate) waited_for: Mutex<VecDeque<End>>,
    under_way: Mutex<VecDeque<(Ticket, Result<(), NotDone>)>>,
    /// Behind what each was begun.
    begun: Mutex<Vec<Option<Ticket>>>,
}

impl Distant {
    pub(crate) fn new(script: &[End]) -> Arc<Self> {
        Self::over(SqliteEngine::in_memory().unwrap(), script)
    }
}

impl<E: Engine> Distant<E> {
    pub(crate) fn over(inner: E, script: &[End]) -> Arc<Self> {
        inner.migrate().unwrap();
        let script = Mutex::new(script.iter().copied().collect());
        let (waited_for, under_way, begun) = (Mutex::default(), Mutex::default(), Mutex::default());
        Arc::new(Self { inner, script, waited_for, under_way, begun })
    }

    fn end_as(&self, end: Option<End>, work: Work<'_>) -> Result<(), NotDone> {
        let refused = || StoreError::Unavailable("another node was first".to_owned());
        let lost = || StoreError::OutcomeUnknown("the connection was lost".to_owned());
        match end {
            None => self.inner.write(work).map_err(NotDone::Failed),
            Some(End::Lost) => self.inner.write(work).and(Err(lost())).map_err(NotDone::Failed),
            Some(End::Late) => self.inner.write(&mut |tx| work(tx).and(Err(lost()))).map_err(NotDone::Failed),
            Some(End::Again) => self.inner.write(&mut |tx| work(tx).and(Err(refused()))).map_err(NotDone::Again),
        }
    }
}

impl<E: Engine> Engine for Distant<E> {
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
        assert!(self.under_way.lock().is_empty(), "no other write passes those that are on their way");
        let end = self.waited_for.lock().pop_front();
        self.end_as(end, work).map_err(|(NotDone::Failed(error) | NotDone::Again(error))| error)
    }

    fn begin_write(&self, behind: Option<Ticket>, work: Work<'_>) -> Result<Begun, NotDone> {
        let mut begun = self.begun.lock();
        begun.push(behind);
        let ticket = Ticket(u64::try_from(begun.len()).unwrap());
        let end = self.script.lock().pop_front();
        let end = self.end_as(end, work);
        self.under_way.lock().push_back((ticket, end));
        Ok(Begun::UnderWay(ticket))
    }

    fn end_write(&self, ticket: Ticket, interruption: Interruption<'_>) -> Option<Result<(), NotDone>> {
        if interruption.now_or_never().is_some() {
            return None;
        }
        let (oldest, end) = self.under_way.lock().pop_front().unwrap();
        assert_eq!(oldest, ticket, "in order");
        Some(end)
    }

    fn status(&self) -> Result<EngineStatus, StoreError> {
        self.inner.status()
    }

    fn migrate(&self) -> Result<Vec<&'static str>, StoreError> {
        self.inner.migrate()
    }
}

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
    let (holds, held) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let other = &database.connect();
    let (first, second) = std::thread::scope(|scope| {
        scope.spawn(move || {
            florin_store::write(other, |tx| {
                tx.execute("LOCK TABLE batches IN EXCLUSIVE MODE", &[])?;
                holds.send(()).unwrap();
                released.recv().unwrap();
                Ok(())
            })
        });
        held.recv().unwrap();
        let (first, _) = begin(&engine, None, &deposits([11], wallet));
        let (second, _) = begin(&engine, Some(ticket(&first)), &deposits([12], wallet));
        database.end_waiting_sessions();
        release.send(()).unwrap();
        (end(&engine, ticket(&first)), end(&engine, ticket(&second)))
    });
    for lost in [first, second] {
        assert!(matches!(lost, Err(NotDone::Failed(StoreError::OutcomeUnknown(_)))), "{lost:?}");
    }
    assert!(apply(&engine, 0, &deposits([13], wallet)).iter().all(is_applied));
    assert_eq!((balance(&engine, wallet), divergence(&engine)), (2, None));
}
