//! The commit queue when the writer stands still: it is bounded, says so at once, and loses nothing it took.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use std::sync::{Arc, mpsc};

use florin_app::{CommitQueue, Failure, QueueSettings, port::Clock};
use florin_ledger::{Command, Kind, Outcome, Rejection, TransactionId};
use florin_money::Asset;
use florin_store::Engine;
use florin_store_sqlite::{SqliteEngine, SqliteOptions};
use uuid::Uuid;

struct StoppedClock;

impl Clock for StoppedClock {
    fn now_us(&self) -> i64 {
        1_760_000_000_000_000
    }

    fn elapsed_us(&self) -> i64 {
        0
    }
}

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
    let (holds, held) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let busy = engine.clone();
    let holder = std::thread::spawn(move || {
        busy.write(&mut |_| {
            holds.send(()).unwrap();
            released.recv().unwrap();
            Ok(())
        })
    });
    held.recv().unwrap();

    let settings = QueueSettings { capacity: 4, batch_max: 2 };
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

    release.send(()).unwrap();
    holder.join().unwrap().unwrap();
    for submitted in taken {
        let verdict = submitted.verdict().await.unwrap();
        assert!(matches!(verdict.outcome, Outcome::Rejected(Rejection::Malformed { .. })));
    }
    assert!(queue.submit(command(1000)).unwrap().verdict().await.is_ok(), "it takes commands again");
}
