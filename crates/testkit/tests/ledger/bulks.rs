//! Bulks that wait together: one batch, and to each its own.

use std::{
    sync::{Arc, Barrier},
    thread,
};

use florin_app::{Bulk, BulkAnswer, CommitQueue, Companion, Failure, LedgerWriter, QueueSettings, Submitted};
use florin_ledger::{AccountId, Command, Kind, Outcome, Rejection, Verdict, bucket_of};
use florin_store::{Engine, EngineKind, StoreError, Tx, Value, read, wallet};
use florin_store_postgres::{PostgresEngine, PostgresOptions};
use florin_store_sqlite::SqliteEngine;
use florin_testkit::{
    distant::{Distant, End},
    keyed::{answer_of, find_kept, key_of, once},
    node::StoppedClock,
    postgres::fresh_engine,
};
use futures_util::FutureExt as _;

use crate::{ahead::version_after, command, divergence, open_wallet};

/// Enters its name, unless that is there; may fail afterwards.
struct Entry {
    name: String,
    fails: bool,
}

impl Companion for Entry {
    fn begin(&mut self, tx: &mut dyn Tx) -> Result<bool, StoreError> {
        let row = [Value::Text(self.name.clone())];
        Ok(tx.execute("INSERT INTO counters (name, value) VALUES ($1, 0) ON CONFLICT DO NOTHING", &row)? == 1)
    }

    fn finish(&mut self, tx: &mut dyn Tx, commands: &[Command], verdicts: &[Verdict]) -> Result<(), StoreError> {
        assert_eq!(commands.len(), verdicts.len());
        let row = [Value::Int(i64::try_from(verdicts.len()).unwrap()), Value::Text(self.name.clone())];
        tx.execute("UPDATE counters SET value = $1 WHERE name = $2", &row)?;
        if self.fails { Err(StoreError::Internal("the companion fails".to_owned())) } else { Ok(()) }
    }

    fn subject(&self) -> String {
        self.name.clone()
    }
}

pub(crate) fn entry(name: &str) -> Option<Box<dyn Companion>> {
    Some(Box::new(Entry { name: name.to_owned(), fails: false }))
}

/// What is entered under that name.
fn entered(engine: &dyn Engine, name: &str) -> Option<i64> {
    let row = [Value::Text(name.to_owned())];
    let rows = read(engine, |tx| tx.query("SELECT value FROM counters WHERE name = $1", &row)).unwrap();
    rows.first().map(|row| row.get_int(0).unwrap())
}

fn stepped(engine: &Arc<impl Engine + 'static>, node: u16) -> (CommitQueue, LedgerWriter) {
    let settings = QueueSettings { bulk_max: 8, ..QueueSettings::default() };
    CommitQueue::stepped(Arc::clone(engine) as Arc<dyn Engine>, Arc::new(StoppedClock), node, settings)
}

/// A deposit of 1 to each.
fn deposits(ids: impl IntoIterator<Item = u128>, wallet: AccountId, node: u16) -> Vec<Command> {
    ids.into_iter().map(|id| command(id, Kind::Deposit, wallet, 1, node)).collect()
}

fn answer(submitted: Submitted<BulkAnswer>) -> Result<BulkAnswer, Failure> {
    submitted.verdict().now_or_never().unwrap()
}

fn versions(answer: &BulkAnswer, wallet: AccountId) -> Vec<i64> {
    answer.verdicts().iter().map(|verdict| version_after(verdict, wallet)).collect()
}

fn batches(engine: &dyn Engine) -> usize {
    read(engine, |tx| tx.query("SELECT number FROM batches", &[])).unwrap().len()
}

fn each_bulk_gets_its_own(engine: &Arc<impl Engine + 'static>) {
    let wallet = open_wallet(&**engine, 1);
    let (queue, mut writer) = stepped(engine, 0);
    let submit =
        |commands, atomic, companion| queue.submit_bulk(Bulk { companion, ..Bulk::of(commands, atomic) }).unwrap();
    let before = submit(deposits([9], wallet, 0), false, entry("known"));
    assert!(writer.step());
    assert_eq!(versions(&answer(before).unwrap(), wallet), [1]);

    let plain = submit(deposits([10, 11], wallet, 0), false, None);
    let too_much = vec![command(12, Kind::Deposit, wallet, 1, 0), command(13, Kind::Withdraw, wallet, 100, 0)];
    let whole = submit(too_much, true, entry("whole"));
    let known = submit(deposits([14], wallet, 0), false, entry("known"));
    let failing = Box::new(Entry { name: "failing".to_owned(), fails: true });
    let failing = submit(deposits([15], wallet, 0), false, Some(failing));
    let last = submit(deposits([16], wallet, 0), true, entry("last"));
    let single = queue.submit(command(17, Kind::Deposit, wallet, 1, 0)).unwrap();
    assert!(writer.step());

    assert_eq!(versions(&answer(plain).unwrap(), wallet), [2, 3]);
    let whole = answer(whole).unwrap();
    let outcomes: Vec<_> = whole.verdicts().iter().map(|verdict| &verdict.outcome).collect();
    let [Outcome::Rejected(Rejection::BatchRefused { item: 1 }), Outcome::Rejected(refused)] = outcomes[..] else {
        panic!("{outcomes:?}")
    };
    assert!(matches!(refused, Rejection::InsufficientFunds { posted_minor: 4, .. }), "{refused:?}");
    let known = answer(known).unwrap();
    assert_eq!((known.commands().len(), known.verdicts().len()), (1, 0), "left out");
    assert!(matches!(answer(failing), Err(Failure::Internal(_))), "alone");
    let last = answer(last).unwrap();
    assert_eq!((versions(&last, wallet), last.commands()[0].transaction_id.0.as_u128()), (vec![4], 16));
    let single = single.verdict().now_or_never().unwrap().unwrap();
    assert_eq!(version_after(&single, wallet), 5);
    assert_eq!(batches(&**engine), 2, "what waited together is one batch");
    let names = ["known", "whole", "failing", "last"].map(|name| entered(&**engine, name));
    assert_eq!(names, [Some(1), Some(2), None, Some(1)]);
    assert_eq!(divergence(&**engine), None);
}

fn two_with_one_subject_are_not_in_one_batch(engine: &Arc<impl Engine + 'static>) {
    let wallet = open_wallet(&**engine, 1);
    let (queue, mut writer) = stepped(engine, 0);
    let submit = |ids: [u128; 2]| {
        let commands = deposits(ids, wallet, 0);
        queue.submit_bulk(Bulk { companion: entry("same"), ..Bulk::of(commands, false) }).unwrap()
    };
    let (first, second) = (submit([10, 11]), submit([12, 13]));
    assert!(writer.step());
    assert_eq!(versions(&answer(first).unwrap(), wallet), [1, 2]);
    assert!(writer.step());
    assert!(answer(second).unwrap().verdicts().is_empty(), "it found what the first one left behind");
    assert!(!writer.step());
}

fn a_keyed_bulk_is_applied_once(engine: &Arc<impl Engine + 'static>) {
    let wallet = open_wallet(&**engine, 1);
    let (queue, mut writer) = stepped(engine, 0);
    let submit = |name: &str, commands, atomic| {
        let (keyed, found) = once(name);
        (queue.submit_bulk(Bulk { keyed: Some(keyed), ..Bulk::of(commands, atomic) }).unwrap(), found)
    };
    let is_kept = |name: &str, commands| {
        let kept = read(&**engine, |tx| find_kept(tx, name)).unwrap();
        assert_eq!(kept, Some(answer_of(&key_of(name), commands)), "{name}");
    };
    let too_much = |id| vec![command(id, Kind::Deposit, wallet, 1, 0), command(id + 1, Kind::Withdraw, wallet, 100, 0)];
    let (first, found) = submit("first", deposits([10, 11], wallet, 0), false);
    let (nothing, _) = submit("nothing", vec![], true);
    let (refused, _) = submit("refused", too_much(12), true);
    while writer.step() {}
    assert_eq!((versions(&answer(first).unwrap(), wallet), found.lock().clone()), (vec![1, 2], None));
    assert_eq!(answer(nothing).unwrap().verdicts().len(), 0);
    assert_eq!(answer(refused).unwrap().verdicts().len(), 2);
    for (name, commands) in [("first", 2), ("nothing", 0), ("refused", 2)] {
        is_kept(name, commands);
    }

    let again = [("first", deposits([20, 21], wallet, 0)), ("nothing", vec![]), ("refused", deposits([22], wallet, 0))];
    let again = again.map(|(name, commands)| submit(name, commands, false));
    let (other, _) = submit("other", deposits([23], wallet, 0), false);
    let plain = queue.submit_bulk(Bulk::of(deposits([24], wallet, 0), false)).unwrap();
    let single = queue.submit(command(25, Kind::Deposit, wallet, 1, 0)).unwrap();
    while writer.step() {}
    assert_eq!(batches(&**engine), 2, "one batch again");
    for ((again, found), (name, commands)) in again.into_iter().zip([("first", 2), ("nothing", 0), ("refused", 2)]) {
        assert_eq!(answer(again).unwrap().verdicts().len(), 0, "{name} is left out");
        assert_eq!(found.lock().clone(), Some(answer_of(&key_of(name), commands)), "{name}");
    }
    is_kept("other", 1);
    assert_eq!([answer(other), answer(plain)].map(|answer| versions(&answer.unwrap(), wallet)), [[3], [4]]);
    assert_eq!(version_after(&single.verdict().now_or_never().unwrap().unwrap(), wallet), 5);

    let twins =
        [deposits([30], wallet, 0), deposits([31], wallet, 0)].map(|commands| submit("twin", commands, false).0);
    while writer.step() {}
    let twins = twins.map(|twin| versions(&answer(twin).unwrap(), wallet));
    assert_eq!(twins, [vec![6], vec![]], "the second found what the first one left behind");
    assert_eq!(divergence(&**engine), None);
}

fn more_than_a_batch_holds_is_several(engine: &Arc<impl Engine + 'static>) {
    let wallet = open_wallet(&**engine, 1);
    let (queue, mut writer) = stepped(engine, 0);
    let mut ids = 10..;
    let bulks = [5, 3, 1, 20, 1, 0, 0, 0, 0, 0, 0, 0, 0].map(|size| {
        let commands = deposits(ids.by_ref().take(size), wallet, 0);
        queue.submit_bulk(Bulk::of(commands, false)).unwrap()
    });
    let mut steps = 0;
    while writer.step() {
        steps += 1;
    }
    let counts = bulks.map(|bulk| answer(bulk).unwrap().verdicts().len());
    assert_eq!(counts, [5, 3, 1, 20, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    // Elsewhere the end of one that is on its way is a step, too.
    if engine.kind() == EngineKind::Sqlite {
        assert_eq!(steps, 5, "one without commands takes a place");
    }
}

/// By its header, or, where it left none, by its companion or its key.
#[test]
fn a_bulk_whose_answer_was_lost_is_told_what_came_of_it() {
    let engine = Distant::new(&[]);
    let wallet = open_wallet(&engine.inner, 1);
    let (queue, mut writer) = stepped(&engine, 0);
    let applied = deposits([10, 11], wallet, 0);
    let refused = vec![command(12, Kind::Withdraw, wallet, 100, 0)];
    for (commands, verdicts) in [(applied, vec![1, 2]), (refused, vec![])] {
        let name = format!("{} commands", commands.len());
        let count = i64::try_from(commands.len()).unwrap();
        engine.waited_for.lock().push_back(End::Lost);
        let bulk = queue.submit_bulk(Bulk { companion: entry(&name), ..Bulk::of(commands, false) }).unwrap();
        assert!(writer.step());
        assert_eq!(versions(&answer(bulk).unwrap(), wallet), verdicts);
        assert_eq!(entered(&engine.inner, &name), Some(count));
    }
    let refused = vec![command(13, Kind::Withdraw, wallet, 100, 0)];
    for (commands, verdicts) in [(deposits([14], wallet, 0), vec![3]), (refused, vec![])] {
        let (keyed, found) = once(&format!("{}", verdicts.len()));
        engine.script.lock().push_back(End::Lost);
        let bulk = queue.submit_bulk(Bulk { keyed: Some(keyed), ..Bulk::of(commands, false) }).unwrap();
        while writer.step() {}
        assert_eq!(versions(&answer(bulk).unwrap(), wallet), verdicts);
        assert_eq!(found.lock().is_some(), verdicts.is_empty(), "what left no header is told by its key");
    }
    assert_eq!(batches(&engine.inner), 2, "nothing was applied twice");
}

#[test]
fn on_sqlite() {
    type Case = fn(&Arc<SqliteEngine>);
    let cases: [Case; 4] = [
        each_bulk_gets_its_own,
        two_with_one_subject_are_not_in_one_batch,
        a_keyed_bulk_is_applied_once,
        more_than_a_batch_holds_is_several,
    ];
    for case in cases {
        let engine = SqliteEngine::in_memory().unwrap();
        engine.migrate().unwrap();
        case(&Arc::new(engine));
    }
}

#[test]
fn on_postgres() {
    type Case = fn(&Arc<PostgresEngine>);
    let cases: [Case; 4] = [
        each_bulk_gets_its_own,
        two_with_one_subject_are_not_in_one_batch,
        a_keyed_bulk_is_applied_once,
        more_than_a_batch_holds_is_several,
    ];
    for case in cases {
        let Some((engine, _database)) = fresh_engine() else { return };
        engine.migrate().unwrap();
        case(&Arc::new(engine));
    }
}

/// Two nodes with the same keys would wait for each other in a circle otherwise. The server tells in which order rows
/// came.
#[test]
fn keys_are_written_in_one_order() {
    let Some((engine, _database)) = fresh_engine() else { return };
    engine.migrate().unwrap();
    let engine = Arc::new(engine);
    let wallet = open_wallet(&*engine, 1);
    let (queue, mut writer) = stepped(&engine, 0);
    let names = ["c", "bb", "a", "aa", "b"];
    let mut ids = 10..;
    let bulks = names.map(|name| {
        let commands = deposits(ids.next(), wallet, 0);
        queue.submit_bulk(Bulk { keyed: Some(once(name).0), ..Bulk::of(commands, false) }).unwrap()
    });
    while writer.step() {}
    bulks.into_iter().for_each(|bulk| drop(answer(bulk).unwrap()));
    let rows = read(&*engine, |tx| tx.query("SELECT key FROM request_answers ORDER BY ctid", &[])).unwrap();
    let written: Vec<_> = rows.iter().map(|row| row.get_text(0).unwrap()).collect();
    let mut keys = names.map(key_of);
    keys.sort_by_key(|key| (bucket_of(key.scope), key.scope, key.key.clone()));
    assert_eq!(written, keys.map(|key| key.key));
}

/// Each in one database transaction on two nodes, in opposite orders: nobody waits in a circle.
#[test]
fn two_nodes_with_the_same_subjects_do_not_get_in_each_others_way() {
    let Some(retries) = on_two_nodes(|name, commands| Bulk { companion: entry(name), ..Bulk::of(commands, false) })
    else {
        return;
    };
    assert_eq!(retries, [0, 0]);
}

/// Where both had decided, the second one decides again, without waiting in between.
#[test]
fn two_nodes_with_the_same_keys_apply_each_once() {
    let Some(retries) = on_two_nodes(|name, commands| Bulk { keyed: Some(once(name).0), ..Bulk::of(commands, false) })
    else {
        return;
    };
    assert_eq!(retries, [0, 0]);
}

/// The same bulks by their names on two nodes, each node for a wallet of its own: each is applied once. How often each
/// node got in the way of the other; none without PostgreSQL.
fn on_two_nodes(bulk_of: impl Fn(&str, Vec<Command>) -> Bulk + Sync) -> Option<[u64; 2]> {
    let (engine, database) = fresh_engine()?;
    engine.migrate().unwrap();
    let other = PostgresEngine::connect(database.url(), PostgresOptions::default()).unwrap();
    let nodes = [Arc::new(engine), Arc::new(other)];
    let wallets = [1, 2].map(|number| open_wallet(&*nodes[0], number));
    let (rounds, names) = (20, 8);
    for round in 0..rounds {
        let together = Barrier::new(2);
        thread::scope(|scope| {
            for ((node, engine), wallet) in (0..).zip(&nodes).zip(wallets) {
                let (together, bulk_of) = (&together, &bulk_of);
                scope.spawn(move || {
                    let (queue, mut writer) = stepped(engine, node);
                    let mut numbers: Vec<_> = (0..names).collect();
                    if node == 1 {
                        numbers.reverse();
                    }
                    let submit = |number| {
                        let id = 1000 * (round + 1) + 10 * u128::from(node) + number;
                        let commands = deposits([id], wallet, node);
                        queue.submit_bulk(bulk_of(&format!("{round} {number}"), commands)).unwrap()
                    };
                    let bulks: Vec<_> = numbers.into_iter().map(submit).collect();
                    together.wait();
                    while writer.step() {}
                    bulks.into_iter().for_each(|bulk| drop(answer(bulk).unwrap()));
                });
            }
        });
    }
    let version = |id| read(&*nodes[0], |tx| wallet::find_wallet(tx, id)).unwrap().unwrap().account.version;
    let versions: i64 = wallets.into_iter().map(version).sum();
    assert_eq!(versions, i64::try_from(names * rounds).unwrap(), "each was applied once");
    assert_eq!(divergence(&*nodes[0]), None);
    Some(nodes.each_ref().map(|node| node.retries()))
}
