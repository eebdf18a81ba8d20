//! A batch in a file that is decided while the one before is being written.

use std::{
    future::{pending, ready},
    pin::pin,
    sync::mpsc,
};

use florin_ledger::{Batch, Command, IdempotencyKey, Kind};
use florin_store::{Begun, Engine, NotDone, StoreError, Ticket, ledger::apply_batch_in_tx};
use florin_store_sqlite::{SqliteEngine, SqliteOptions};
use florin_testkit::{
    keyed::{answer_of, find_kept, key_of},
    sqlite::fresh_engine_with,
};
use tempfile::TempDir;

use crate::{
    NOW_US,
    ahead::{balance, begin, deposits, end, ticket, transfer, version_after},
    apply, command, divergence, is_applied, open_wallet, owner,
};

/// What is begun is written by another thread, or when its end is asked for.
fn fresh(journal_thread: bool) -> (SqliteEngine, TempDir) {
    let options = SqliteOptions { journal_thread, ahead_min: 0, ..SqliteOptions::default() };
    let (engine, folder) = fresh_engine_with(options);
    engine.migrate().unwrap();
    (engine, folder)
}

fn again(end: &Result<(), NotDone>) -> bool {
    matches!(end, Err(NotDone::Again(_)))
}

fn with_key(key: &str, command: Command) -> Command {
    let key = IdempotencyKey { scope: owner(), key: key.to_owned(), fingerprint: [7; 32], resource: owner() };
    Command { idempotency: Some(key), ..command }
}

/// Each on the balance that the one before leaves behind, at a place in the history that is not written yet.
#[test]
fn batches_follow_each_other_as_if_each_had_waited() {
    let (engine, _folder) = fresh(true);
    let [wallet, other] = [1, 2].map(|id| open_wallet(&engine, id));
    let mut last: Option<Ticket> = None;
    for round in 0..200_u128 {
        let batch =
            if round % 2 == 0 { deposits([10 + round], wallet) } else { vec![transfer(10 + round, wallet, other, 1)] };
        let (begun, verdicts) = begin(&engine, last, &batch);
        assert!(is_applied(&verdicts[0]), "{verdicts:?}");
        if let Some(before) = last.replace(ticket(&begun)) {
            end(&engine, before).unwrap();
        }
    }
    end(&engine, last.unwrap()).unwrap();
    assert_eq!((balance(&engine, wallet), balance(&engine, other)), (0, 100));
    assert_eq!(divergence(&engine), None);
}

/// After a start, nothing is remembered: figures, and the places of the last postings, are in the tables.
#[test]
fn an_account_that_is_not_remembered_is_read() {
    let (engine, folder) = fresh(true);
    let [wallet, other] = [1, 2].map(|id| open_wallet(&engine, id));
    apply(&engine, 0, &deposits(10..13, wallet));
    drop(engine);
    let options = SqliteOptions { ahead_min: 0, ..SqliteOptions::default() };
    let engine = SqliteEngine::open(&folder.path().join("florin.db"), options).unwrap();
    assert_eq!(engine.peek_account(wallet), None);
    let (first, _) = begin(&engine, None, &deposits([13], other));
    let (second, _) = begin(&engine, Some(ticket(&first)), &[transfer(14, wallet, other, 3)]);
    end(&engine, ticket(&first)).unwrap();
    end(&engine, ticket(&second)).unwrap();
    assert_eq!((balance(&engine, wallet), balance(&engine, other)), (0, 4));
    assert_eq!(engine.peek_account(wallet).unwrap().version, 4, "it is remembered from now on");
    assert_eq!(divergence(&engine), None);
}

#[test]
fn nobody_sees_a_batch_that_is_not_committed() {
    let (engine, _folder) = fresh(false);
    let wallet = open_wallet(&engine, 1);
    let (first, _) = begin(&engine, None, &deposits([10], wallet));
    let (second, verdicts) = begin(&engine, Some(ticket(&first)), &deposits([11], wallet));
    assert_eq!(version_after(&verdicts[0], wallet), 2);
    assert_eq!((balance(&engine, wallet), engine.peek_account(wallet)), (0, None));
    end(&engine, ticket(&first)).unwrap();
    assert_eq!((balance(&engine, wallet), engine.peek_account(wallet).unwrap().version), (1, 1));
    end(&engine, ticket(&second)).unwrap();
    assert_eq!((balance(&engine, wallet), divergence(&engine)), (2, None));
}

/// A refusal, too, and one that has nothing to do with it: each is final, so it is not given on what may not be.
#[test]
fn what_is_behind_a_batch_that_was_overtaken_comes_to_nothing() {
    let (engine, _folder) = fresh(false);
    let [wallet, other, third] = [1, 2, 3].map(|id| open_wallet(&engine, id));
    apply(&engine, 0, &[command(10, Kind::Deposit, wallet, 100, 0), command(11, Kind::Deposit, other, 1, 0)]);
    let withdraw = |id, amount| command(id, Kind::Withdraw, wallet, amount, 0);
    for behind in [withdraw(20, 60), transfer(21, other, third, 1)] {
        let (first, _) = begin(&engine, None, &[withdraw(30, 60)]);
        let (second, _) = begin(&engine, Some(ticket(&first)), &[behind]);
        apply(&engine, 1, &[command(40, Kind::Deposit, third, 5, 1)]);
        assert!(again(&end(&engine, ticket(&first))));
        assert!(again(&end(&engine, ticket(&second))));
    }
    assert_eq!((balance(&engine, wallet), balance(&engine, other), balance(&engine, third)), (100, 1, 10));
    // Decided anew, on what there is.
    assert!(is_applied(&apply(&engine, 0, &[withdraw(20, 60)])[0]));
    assert_eq!(divergence(&engine), None);
}

#[test]
fn a_refusal_is_told_when_the_batch_before_it_is_there() {
    let (engine, _folder) = fresh(true);
    let wallet = open_wallet(&engine, 1);
    apply(&engine, 0, &[command(10, Kind::Deposit, wallet, 100, 0)]);
    let withdraw = |id| command(id, Kind::Withdraw, wallet, 60, 0);
    let (first, _) = begin(&engine, None, &[withdraw(11)]);
    let (second, verdicts) = begin(&engine, Some(ticket(&first)), &[withdraw(12)]);
    assert!(!is_applied(&verdicts[0]), "{verdicts:?}");
    end(&engine, ticket(&first)).unwrap();
    end(&engine, ticket(&second)).unwrap();
    assert_eq!((balance(&engine, wallet), divergence(&engine)), (40, None));
}

/// The answer is in no snapshot yet; it is waited for. A key of long ago is known all the same.
#[test]
fn a_key_that_is_being_answered_is_waited_for() {
    let (engine, _folder) = fresh(false);
    let wallet = open_wallet(&engine, 1);
    let deposit = |key, id| with_key(key, command(id, Kind::Deposit, wallet, 5, 0));
    let refused = |key, id| with_key(key, command(id, Kind::Withdraw, wallet, 1_000, 0));
    apply(&engine, 0, &[deposit("applied", 10), refused("refused", 11)]);
    let (first, verdicts) =
        begin(&engine, None, &[deposit("applied", 12), refused("refused", 13), deposit("new", 14), refused("no", 15)]);
    assert_eq!(verdicts.iter().map(|verdict| verdict.replayed).collect::<Vec<_>>(), [true, true, false, false]);
    for repeated in [deposit("new", 16), refused("no", 17)] {
        let (second, _) = begin(&engine, Some(ticket(&first)), &[repeated]);
        assert!(matches!(second, Err(NotDone::Again(_))), "{second:?}");
    }
    end(&engine, ticket(&first)).unwrap();
    let verdicts = apply(&engine, 0, &[deposit("new", 16), refused("no", 17)]);
    assert!(verdicts.iter().all(|verdict| verdict.replayed), "{verdicts:?}");
    assert_eq!((balance(&engine, wallet), divergence(&engine)), (10, None));
}

/// Begins a batch and keeps the answer to its request.
fn begin_request(
    engine: &SqliteEngine,
    behind: Option<Ticket>,
    key: &str,
    batch: &[Command],
) -> Result<Begun, NotDone> {
    let key = key_of(key);
    engine.begin_write(behind, &mut |tx| {
        assert_eq!(tx.find_request_answers(&[&key])?, [None]);
        apply_batch_in_tx(tx, 0, Batch::each(batch), NOW_US + 1)?;
        tx.keep_request_answers(&[(&key, answer_of(&key, batch.len()))], NOW_US)
    })
}

/// Somebody else's request has it now: this one is decided anew, and finds it.
#[test]
fn a_request_whose_key_was_taken_meanwhile_is_decided_anew() {
    let (engine, _folder) = fresh(false);
    let wallet = open_wallet(&engine, 1);
    let first = begin_request(&engine, None, "key", &deposits([10], wallet));
    florin_store::write(&engine, |tx| florin_store::request_answer::claim_key(tx, &key_of("key"), NOW_US).map(drop))
        .unwrap();
    assert!(again(&end(&engine, ticket(&first))));
    assert_eq!((balance(&engine, wallet), divergence(&engine)), (0, None));
}

/// Nothing of it is the ledger's but the answer that is kept: it has a place in the order all the same.
#[test]
fn requests_that_were_refused_follow_each_other() {
    let (engine, _folder) = fresh(true);
    let wallet = open_wallet(&engine, 1);
    apply(&engine, 0, &deposits([10], wallet));
    let refused = |id| [command(id, Kind::Withdraw, wallet, 1_000, 0)];
    let first = begin_request(&engine, None, "a", &refused(11));
    let second = begin_request(&engine, Some(ticket(&first)), "b", &refused(12));
    let repeated = begin_request(&engine, Some(ticket(&second)), "b", &refused(13));
    assert!(matches!(repeated, Err(NotDone::Again(_))), "{repeated:?}");
    end(&engine, ticket(&first)).unwrap();
    end(&engine, ticket(&second)).unwrap();
    for key in ["a", "b"] {
        let kept = florin_store::read(&engine, |tx| find_kept(tx, key)).unwrap();
        assert_eq!(kept, Some(answer_of(&key_of(key), 1)));
    }
    // It is found when it is written: the writer is told to decide it anew.
    let repeated = begin_request(&engine, None, "a", &refused(14));
    assert!(again(&end(&engine, ticket(&repeated))));
}

#[test]
fn what_writes_more_than_a_batch_has_its_transaction_first() {
    let (engine, _folder) = fresh(true);
    let wallet = open_wallet(&engine, 1);
    let batch = deposits([10], wallet);
    let begun = engine.begin_write(None, &mut |tx| {
        apply_batch_in_tx(tx, 0, Batch::each(&batch), NOW_US + 1)?;
        tx.execute("UPDATE counters SET value = value + 1", &[]).map(drop)
    });
    assert!(matches!(begun, Err(NotDone::Again(_))), "{begun:?}");
    let twice = engine.begin_write(None, &mut |tx| {
        apply_batch_in_tx(tx, 0, Batch::each(&batch), NOW_US + 1)?;
        apply_batch_in_tx(tx, 0, Batch::each(&deposits([11], wallet)), NOW_US + 1).map(drop)
    });
    assert!(matches!(twice, Err(NotDone::Again(_))), "{twice:?}");
    let failed = engine.begin_write(None, &mut |_| Err(StoreError::Inconsistent("an answer".to_owned())));
    assert!(matches!(failed, Err(NotDone::Failed(StoreError::Inconsistent(_)))), "{failed:?}");
    assert_eq!((balance(&engine, wallet), divergence(&engine)), (0, None));
}

#[test]
fn a_small_batch_is_written_at_once() {
    let (engine, _folder) = fresh_engine_with(SqliteOptions { ahead_min: 2, ..SqliteOptions::default() });
    engine.migrate().unwrap();
    let wallet = open_wallet(&engine, 1);
    let (one, _) = begin(&engine, None, &deposits([10], wallet));
    assert!(matches!(one, Ok(Begun::Done)), "{one:?}");
    let (two, _) = begin(&engine, None, &deposits([11, 12], wallet));
    // Behind another one there is no "at once".
    let (behind, _) = begin(&engine, Some(ticket(&two)), &deposits([13], wallet));
    end(&engine, ticket(&two)).unwrap();
    end(&engine, ticket(&behind)).unwrap();
    assert_eq!((balance(&engine, wallet), divergence(&engine)), (4, None));
}

/// What is more urgent ends the wait, not the batch.
#[test]
fn a_wait_that_is_interrupted_is_waited_again() {
    let (engine, _folder) = fresh(true);
    let wallet = open_wallet(&engine, 1);
    // Whoever writes keeps the batch on its way.
    let (holds, held) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let other = &engine;
    let begun = std::thread::scope(|scope| {
        scope.spawn(move || {
            florin_store::write(other, |_| {
                holds.send(()).unwrap();
                released.recv().unwrap();
                Ok(())
            })
        });
        held.recv().unwrap();
        let (begun, _) = begin(&engine, None, &deposits([10], wallet));
        assert!(engine.end_write(ticket(&begun), pin!(ready(()))).is_none());
        release.send(()).unwrap();
        begun
    });
    end(&engine, ticket(&begun)).unwrap();
    assert_eq!((balance(&engine, wallet), divergence(&engine)), (1, None));
    let unknown = engine.end_write(ticket(&begun), pin!(pending()));
    assert!(matches!(unknown, Some(Err(NotDone::Failed(StoreError::Internal(_))))), "{unknown:?}");
}
