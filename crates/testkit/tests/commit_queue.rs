//! The commit queue when the writer stands still: it is bounded, says so at once, and loses nothing it took.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use std::sync::Arc;

use florin_app::{Bulk, CommitQueue, Companion, Failure, QueueSettings};
use florin_ledger::{Command, Kind, Outcome, Rejection, TransactionId, Verdict};
use florin_money::Asset;
use florin_store::{Engine, StoreError, Tx, Value};
use florin_store_sqlite::{SqliteEngine, SqliteOptions};
use florin_testkit::{held::Held, node::StoppedClock};
use uuid::Uuid;

/// A command without legs: refused by the ledger, so it needs no wallet, yet it takes its turn like any other.
fn command(id: u128) -> Command {
    Command {
        transaction_id: TransactionId(Uuid::from_u128(id)),
        kind: Kind::Deposit,
        asset: Asset::new("EUR", 2).unwrap(),
        legs: Vec::new(),
        actor_id: Uuid::nil(),
        reason: None,
        effective_at_us: None,
        idempotency: None,
        owners: Vec::new(),
    }
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_answers_what_it_took() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Arc::new(SqliteEngine::open(&folder.path().join("florin.db"), SqliteOptions::default()).unwrap());
    engine.migrate().unwrap();
    let held = Held::open(engine.clone(), |_| Ok(()));

    let settings = QueueSettings { capacity: 4, batch_max: 2, ahead_min: 64, bulk_max: 8, bulk_capacity: 10 };
    let queue = CommitQueue::start(engine, Arc::new(StoppedClock), 0, settings).unwrap();
    let mut taken = Vec::new();
    let refusal = (0..100).find_map(|id| match queue.submit(command(id)) {
        Ok(submitted) => {
            taken.push(submitted);
            None
        }
        Err(failure) => Some(failure),
    });
    assert!(matches!(refusal, Some(Failure::Unavailable(_))), "a hundred commands do not fit");
    // Four wait, and at most one batch of two is in the writer's hands.
    assert!((4..=6).contains(&taken.len()), "{} were taken", taken.len());

    held.release().unwrap();
    for submitted in taken {
        let verdict = submitted.verdict().await.unwrap();
        assert!(matches!(verdict.outcome, Outcome::Rejected(Rejection::Malformed { .. })));
    }
    assert!(queue.submit(command(1000)).unwrap().verdict().await.is_ok(), "it takes commands again");
}

/// Counts its steps; fails in the one that is named.
struct Witness {
    steps: Arc<parking_lot::Mutex<Vec<&'static str>>>,
    fails_in: &'static str,
    is_known: bool,
}

impl Witness {
    fn step(&self, name: &'static str) -> Result<(), StoreError> {
        self.steps.lock().push(name);
        if self.fails_in == name { Err(StoreError::Internal("the companion fails".to_owned())) } else { Ok(()) }
    }
}

impl Companion for Witness {
    fn begin(&mut self, _: &mut dyn Tx) -> Result<bool, StoreError> {
        self.step("begin").map(|()| !self.is_known)
    }

    fn finish(&mut self, tx: &mut dyn Tx, commands: &[Command], verdicts: &[Verdict]) -> Result<(), StoreError> {
        assert_eq!(commands.len(), verdicts.len());
        let value = Value::Int(i64::try_from(commands.len()).unwrap());
        tx.execute("INSERT INTO counters (name, value) VALUES ('seen', $1)", &[value])?;
        self.step("finish")
    }

    fn subject(&self) -> String {
        "seen".to_owned()
    }
}

/// A queue that is stepped, its writer, and the database.
fn stepped() -> (CommitQueue, florin_app::LedgerWriter, Arc<SqliteEngine>) {
    let engine = Arc::new(SqliteEngine::in_memory().unwrap());
    engine.migrate().unwrap();
    let settings = QueueSettings { capacity: 4, batch_max: 4, ahead_min: 64, bulk_max: 8, bulk_capacity: 10 };
    let (queue, writer) = CommitQueue::stepped(engine.clone(), Arc::new(StoppedClock), 0, settings);
    (queue, writer, engine)
}

fn bulk(commands: u128, companion: Option<Witness>) -> Bulk {
    let companion = companion.map(|witness| Box::new(witness) as Box<dyn Companion>);
    Bulk { companion, ..Bulk::of((0..commands).map(command).collect(), false) }
}

fn seen(engine: &SqliteEngine) -> Vec<i64> {
    let rows = florin_store::read(engine, |tx| tx.query("SELECT value FROM counters WHERE name = 'seen'", &[]));
    rows.unwrap().iter().map(|row| row.get_int(0).unwrap()).collect()
}

#[tokio::test]
async fn places_are_counted_in_commands_and_bulks_keep_nobody_out() {
    let (queue, mut writer, _engine) = stepped();
    let first = queue.submit_bulk(bulk(7, None)).unwrap();
    assert!(matches!(queue.submit_bulk(bulk(4, None)), Err(Failure::Unavailable(_))), "eleven do not fit in ten");
    let second = queue.submit_bulk(bulk(3, None)).unwrap();
    let single = queue.submit(command(1)).unwrap();
    assert!(writer.step());
    assert_eq!(first.verdict().await.unwrap().verdicts().len(), 7);
    assert!(single.verdict().await.is_ok(), "the single command was beside the first bulk");
    assert!(queue.submit_bulk(bulk(7, None)).is_ok(), "seven places are free again");
    assert!(writer.step(), "the second bulk has a batch of its own");
    let answer = second.verdict().await.unwrap();
    assert_eq!((answer.commands().len(), answer.verdicts().len()), (3, 3));
    assert!(writer.step());
    assert!(!writer.step());
    let huge = queue.submit_bulk(bulk(50, None)).unwrap();
    assert!(queue.submit_bulk(bulk(1, None)).is_err(), "nothing fits beside one that is too large");
    assert!(writer.step());
    assert_eq!(huge.verdict().await.unwrap().verdicts().len(), 50);
}

#[tokio::test]
async fn a_companion_is_committed_with_its_bulk_or_not_at_all() {
    let (queue, mut writer, engine) = stepped();
    let witness = |fails_in, is_known| {
        let steps = Arc::new(parking_lot::Mutex::new(Vec::new()));
        (Witness { steps: steps.clone(), fails_in, is_known }, steps)
    };
    for fails_in in ["begin", "finish"] {
        let (companion, _) = witness(fails_in, false);
        let failed = queue.submit_bulk(bulk(2, Some(companion))).unwrap();
        let single = queue.submit(command(1)).unwrap();
        writer.step();
        assert!(matches!(failed.verdict().await, Err(Failure::Internal(_))), "{fails_in}");
        assert!(single.verdict().await.is_ok(), "a single command has nothing to do with it");
        assert!(seen(&engine).is_empty());
    }
    let (companion, steps) = witness("", true);
    let known = queue.submit_bulk(bulk(2, Some(companion))).unwrap();
    writer.step();
    assert!(known.verdict().await.unwrap().verdicts().is_empty(), "its commands were left out");
    assert_eq!(*steps.lock(), ["begin"]);
    let (companion, steps) = witness("", false);
    let done = queue.submit_bulk(bulk(2, Some(companion))).unwrap();
    let single = queue.submit(command(1)).unwrap();
    writer.step();
    assert_eq!(done.verdict().await.unwrap().verdicts().len(), 2);
    assert!(single.verdict().await.is_ok());
    assert_eq!((steps.lock().clone(), seen(&engine)), (vec!["begin", "finish"], vec![2]));
}
