//! What the engine on SQLite has forgotten, or has not written to the tables, is found again.

use std::{sync::mpsc, thread, time::Duration};

use florin_ledger::{AccountId, Batch, Facts, fold};
use florin_store::{BatchFacts, BatchRows, ChainHead, Engine, StoreError, Tx, read};
use florin_store_sqlite::{SqliteEngine, SqliteOptions};
use florin_testkit::sqlite::fresh_engine_with;
use tempfile::TempDir;
use tokio::time::Instant;

use crate::{
    NOW_US,
    ahead::{begin, deposits, end, ticket},
    apply, divergence, is_applied, open_wallet,
};

const PROCESSES: u128 = 30;

/// Longer than any machine needs for a commit.
const PATIENCE: Duration = Duration::from_secs(30);

/// Few accounts are remembered, and rows follow the journal at once.
fn forgetful() -> (SqliteEngine, TempDir) {
    let options = SqliteOptions { accounts_max: 5, generation_operations: 1, ahead_min: 0, ..SqliteOptions::default() };
    let (engine, folder) = fresh_engine_with(options);
    engine.migrate().unwrap();
    (engine, folder)
}

fn until(is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "it never came");
        thread::yield_now();
    }
}

/// As a batch is decided and formed, with `meanwhile` between the two.
fn apply_slowly(tx: &mut dyn Tx, batch: Batch<'_>, meanwhile: impl FnOnce()) -> Result<(), StoreError> {
    let ids: Vec<AccountId> = batch.commands.iter().flat_map(|one| &one.legs).map(|leg| leg.account_id).collect();
    let BatchFacts { head, accounts, .. } = tx.begin_batch(0, &ids, &[])?;
    let mut facts = Facts { accounts, ..Facts::default() };
    let folded = fold(batch, &mut facts, NOW_US + 1);
    meanwhile();
    let ChainHead { number, hash, .. } = head.unwrap();
    let applied: Vec<_> = folded.applied_of(batch.commands).collect();
    let header = florin_ledger::BatchHeader {
        form: florin_ledger::HashForm::CURRENT,
        writer: 0,
        number: number + 1,
        previous_hash: hash,
        merkle_root: folded.merkle_root,
        transactions: u32::try_from(applied.len()).unwrap(),
        recorded_at_us: NOW_US + 1,
    };
    let changed = folded.changed.iter().map(|id| &facts.accounts[id]).collect();
    let (opened, answered) = (Vec::new(), Vec::new());
    tx.write_batch(&BatchRows { applied, changed, opened, answered, header: Some(&header), recorded_at_us: NOW_US + 1 })
}

/// The commit of a batch makes room in memory while the next one is decided: each posting leads to the one before it
/// all the same.
#[test]
fn an_account_that_is_forgotten_while_a_batch_is_decided_keeps_its_history() {
    let (engine, _folder) = forgetful();
    let old: Vec<AccountId> = (1..5).map(|id| open_wallet(&engine, id)).collect();
    let new: Vec<AccountId> = (5..10).map(|id| open_wallet(&engine, id)).collect();
    let to_each = |wallets: &[AccountId], from: u128| -> Vec<_> {
        wallets.iter().zip(from..).flat_map(|(wallet, id)| deposits([id], *wallet)).collect()
    };
    assert!(apply(&engine, 0, &to_each(&old, 10)).iter().all(is_applied));
    // Its rows are written with the commits that follow.
    for id in 20..23 {
        apply(&engine, 0, &deposits([id], old[0]));
    }
    let is_forgotten = |wallet: &AccountId| engine.peek_account(*wallet).is_none();
    assert!(!old.iter().any(is_forgotten));

    let (first, behind) = (to_each(&new, 30), to_each(&old, 40));
    let (is_held, held) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let second = thread::scope(|scope| {
        // Whoever writes something else keeps the first one on its way.
        let other = &engine;
        scope.spawn(move || {
            florin_store::write(other, |tx| {
                tx.query("SELECT COUNT(*) FROM wallets", &[])?;
                is_held.send(()).unwrap();
                released.recv().unwrap();
                Ok(())
            })
            .unwrap();
        });
        held.recv().unwrap();
        let (first, _) = begin(&engine, None, &first);
        let second = engine.begin_write(Some(ticket(&first)), &mut |tx| {
            apply_slowly(tx, Batch::each(&behind), || {
                release.send(()).unwrap();
                until(|| old.iter().any(is_forgotten));
            })
        });
        end(&engine, ticket(&first)).unwrap();
        second
    });
    end(&engine, ticket(&second)).unwrap();
    assert_eq!(divergence(&engine), None);
}

/// Batches that are not in the tables after so many processes, each of which ended after one commit of eight deposits
/// as by a loss of power: to one wallet, or to others each time.
fn left_by_processes_that_end_early(generation_operations: usize, to_others: bool) -> i64 {
    let options = SqliteOptions { generation_operations, ..SqliteOptions::default() };
    let (mut engine, mut folder) = fresh_engine_with(options.clone());
    engine.migrate().unwrap();
    let one = open_wallet(&engine, 1);
    for round in 1..=PROCESSES {
        let ids = 100 * round..100 * round + 8;
        let wallets = ids.clone().map(|id| if to_others { open_wallet(&engine, id) } else { one });
        let batch: Vec<_> = ids.clone().zip(wallets).flat_map(|(id, wallet)| deposits([id], wallet)).collect();
        apply(&engine, 0, &batch);
        // The files as they are, without what a process does at its end.
        let next = TempDir::new().unwrap();
        for name in ["florin.db", "florin.db-wal"] {
            std::fs::copy(folder.path().join(name), next.path().join(name)).unwrap();
        }
        engine = SqliteEngine::open(&next.path().join("florin.db"), options.clone()).unwrap();
        folder = next;
    }
    let number = |sql: &'static str| read(&engine, |tx| tx.query(sql, &[])?[0].get_int(0)).unwrap();
    let last = number("SELECT sequence FROM batches ORDER BY sequence DESC LIMIT 1");
    assert_eq!((last, divergence(&engine)), (i64::try_from(PROCESSES).unwrap(), None));
    last - number("SELECT sequence FROM settled")
}

#[test]
fn what_is_not_in_the_tables_does_not_grow_with_processes_that_end_early() {
    // Thirteen commits fill a generation.
    for to_others in [false, true] {
        let left = left_by_processes_that_end_early(100, to_others);
        assert!(left <= 13, "{left} batches are not in the tables");
    }
}
