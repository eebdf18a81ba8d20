//! The ledger on PostgreSQL: what several nodes do to each other, and what was altered in its tables.

use std::sync::{
    Barrier,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use florin_ledger::{AccountId, Command, IdempotencyKey, Kind, Outcome, Rejection, merkle_root};
use florin_store::{Engine, Value, read, write};
use florin_store_postgres::PostgresEngine;
use florin_testkit::postgres::{FreshDatabase, fresh_database, fresh_engine};
use uuid::Uuid;

use crate::{NOW_US, apply, command, divergence, eur, is_applied, open_wallet, with_key};

pub(crate) fn fresh() -> Option<(PostgresEngine, FreshDatabase)> {
    let (engine, database) = fresh_engine()?;
    engine.migrate().unwrap();
    Some((engine, database))
}

/// The statements of a store are static; these are a test's own, a few dozen.
pub(crate) fn execute(engine: &dyn Engine, text: &str) -> u64 {
    let text: &'static str = text.to_owned().leak();
    write(engine, |tx| tx.execute(text, &[])).unwrap()
}

/// Two of one wallet, and one of another, in two batches.
fn three_postings() -> Option<(PostgresEngine, FreshDatabase)> {
    let (engine, database) = fresh()?;
    let (wallet, other) = (open_wallet(&engine, 1), open_wallet(&engine, 2));
    apply(&engine, 0, &[command(30, Kind::Deposit, wallet, 100, 0), command(31, Kind::Deposit, other, 50, 0)]);
    apply(&engine, 0, &[command(32, Kind::Withdraw, wallet, 30, 0)]);
    assert_eq!(divergence(&engine), None);
    Some((engine, database))
}

/// Every column of a posting is proved.
#[test]
fn an_altered_posting_on_the_server_is_found() {
    let Some((engine, _database)) = three_postings() else { return };
    let alterations: [(&'static str, &'static str); 18] = [
        ("amount = amount + 1", "amount = amount - 1"),
        ("posted_after = posted_after + 1", "posted_after = posted_after - 1"),
        ("pending_after = 1", "pending_after = NULL"),
        ("counterpart_after = counterpart_after + 1", "counterpart_after = counterpart_after - 1"),
        ("counterpart_version = counterpart_version + 9", "counterpart_version = counterpart_version - 9"),
        ("kind = 0", "kind = 1"),
        ("leg = 1", "leg = 0"),
        ("side = 1", "side = 0"),
        ("reason = 'gift'", "reason = 'rent'"),
        ("idempotency_key = 'k'", "idempotency_key = NULL"),
        ("effective_at = '2020-01-01'", "effective_at = NULL"),
        ("key_high = 1", "key_high = NULL"),
        ("key_low = 1", "key_low = NULL"),
        ("fingerprint = 1", "fingerprint = NULL"),
        ("key_high = 1, key_low = 1, fingerprint = 1", "key_high = NULL, key_low = NULL, fingerprint = NULL"),
        ("outcome = 'malformed'", "outcome = NULL"),
        ("position = 5, batch_number = 1", "position = 0, batch_number = 2"),
        ("bucket = bucket + 1", "bucket = bucket - 1"),
    ];
    for (alter, restore) in alterations {
        let set = |change: &str| {
            assert_eq!(execute(&engine, &format!("UPDATE postings SET {change} WHERE version = 2")), 1);
        };
        set(alter);
        assert!(divergence(&engine).is_some(), "{alter}");
        set(restore);
        assert_eq!(divergence(&engine), None, "{restore}");
    }
}

/// So are its row as a whole, rows that no chain holds, and what accounts say of themselves.
#[test]
fn altered_rows_on_the_server_are_found() {
    let Some((engine, _database)) = three_postings() else { return };
    // A row that no chain holds, also one of a writer without a chain.
    for stray in ["batch_number = 9", "writer = 9"] {
        execute(&engine, "CREATE TABLE stray AS SELECT * FROM postings WHERE version = 2");
        execute(&engine, &format!("UPDATE stray SET version = 3, {stray}"));
        execute(&engine, "INSERT INTO postings SELECT * FROM stray");
        assert_eq!(divergence(&engine).unwrap(), "8 postings are stored, the chains hold 6", "{stray}");
        execute(&engine, "DELETE FROM postings WHERE version = 3");
        execute(&engine, "DROP TABLE stray");
    }
    assert_eq!(divergence(&engine), None);
    for (alter, restore, said) in [
        ("accounts SET posted_credits = 1 WHERE kind = 0", "accounts SET posted_credits = 0 WHERE kind = 0", "its row"),
        (
            "accounts SET posted_debits = 1 WHERE kind = 1",
            "accounts SET posted_debits = 150 WHERE kind = 1",
            "stored debits",
        ),
        (
            "postings SET debits_after = 31 WHERE version = 2",
            "postings SET debits_after = 30 WHERE version = 2",
            "stored debits 31",
        ),
        (
            "postings SET debits_after = NULL WHERE version = 2",
            "postings SET debits_after = 30 WHERE version = 2",
            "NULL",
        ),
    ] {
        execute(&engine, &format!("UPDATE {alter}"));
        let found = divergence(&engine).unwrap_or_else(|| panic!("not found: {alter}"));
        assert!(found.contains(said), "{alter}: {found}");
        execute(&engine, &format!("UPDATE {restore}"));
        assert_eq!(divergence(&engine), None, "{restore}");
    }
    write(&engine, |tx| tx.execute("DELETE FROM postings WHERE version = 2", &[])).unwrap();
    assert!(divergence(&engine).is_some(), "a deleted posting is found");
    // The last batch as a whole: the chain is right without it, the stripe of the bank is not.
    assert_eq!(execute(&engine, "DELETE FROM batches WHERE number = 2"), 1);
    let found = divergence(&engine).unwrap();
    assert!(found.contains("stored"), "{found}");
}

/// Whatever order the commands are in: nodes that insert the same rows then wait for each other in one direction.
#[test]
fn rows_are_inserted_in_the_order_of_their_keys() {
    let Some((engine, _database)) = fresh() else { return };
    let wallets: Vec<_> = (1..=40).map(|id| open_wallet(&engine, id)).collect();
    let keyed = |(id, wallet): (u128, &AccountId)| {
        let (kind, amount) = if id % 3 == 0 { (Kind::Withdraw, 1_000) } else { (Kind::Deposit, 1) };
        with_key(command(id, kind, *wallet, amount, 0), *wallet, &id.to_string(), 1)
    };
    let batch: Vec<_> = (100..).zip(wallets.iter().rev().chain(&wallets)).map(keyed).collect();
    assert_eq!(apply(&engine, 0, &batch).iter().filter(|verdict| is_applied(verdict)).count(), 54);
    let text = "SELECT array_agg(ctid ORDER BY ctid) = array_agg(ctid ORDER BY bucket, account_id, version), \
                count(*) FILTER (WHERE version < 0) FROM postings";
    let row = read(&engine, |tx| tx.query(text, &[])).unwrap().remove(0);
    assert_eq!((row.get_bool(0).unwrap(), row.get_int(1).unwrap()), (true, 26));
}

/// Two nodes that both remember the same wallets write to all of them at once, in opposite orders: one is first, and
/// the other decides again; neither is the victim of a deadlock.
#[test]
fn nodes_that_write_to_the_same_wallets_do_not_wait_in_a_circle() {
    let wallet_of = |_, number| number;
    let Some(versions) = race(wallet_of, |_, _, _| None) else { return };
    assert_eq!(versions[..200], [2 * ROUNDS; 200]);
}

/// As above, with the same keys: each counts once.
#[test]
fn nodes_that_are_sent_the_same_keys_do_not_wait_in_a_circle() {
    let key = |wallet: AccountId, round, number| {
        let (scope, key) = (Uuid::from_u128(77), format!("{round}-{number}"));
        Some(IdempotencyKey { scope, resource: wallet.0, key, fingerprint: [1; 32] })
    };
    let Some(versions) = race(|_, number| number, key) else { return };
    assert_eq!(versions[..200], [ROUNDS; 200]);
}

/// As above, where the keys' rows are not those of the postings.
#[test]
fn nodes_that_are_sent_the_same_keys_for_other_wallets_do_not_wait_in_a_circle() {
    let key = |_, round, number| {
        // That of no wallet.
        let (scope, key) = (Uuid::from_u128(7777), format!("{round}-{number}"));
        Some(IdempotencyKey { scope, resource: scope, key, fingerprint: [1; 32] })
    };
    let Some(versions) = race(|writer, number| 200 * usize::from(writer) + number, key) else { return };
    for number in 0..200 {
        assert_eq!(versions[number] + versions[200 + number], ROUNDS);
    }
}

const ROUNDS: i64 = 10;

/// Both nodes deposit 1 to each of the 200 wallets that `wallet_of` writer and number are, one of them from the last
/// to the first; gives the versions of all 400 in the end.
fn race(
    wallet_of: impl Fn(u16, usize) -> usize + Sync,
    key: impl Fn(AccountId, i64, usize) -> Option<IdempotencyKey> + Sync,
) -> Option<Vec<i64>> {
    let (first, database) = fresh()?;
    let nodes = [first, database.connect()];
    let mut wallets: Vec<_> = (1..=400).map(|id| open_wallet(&nodes[0], id)).collect();
    wallets.sort_unstable_by_key(|id| (id.bucket(), *id));
    let own = [open_wallet(&nodes[0], 1001), open_wallet(&nodes[0], 1002)];
    let last_id = AtomicU64::new(1);
    let deposit = |wallet, writer| {
        let id = u128::from(last_id.fetch_add(1, Ordering::Relaxed));
        command(id, Kind::Deposit, wallet, 1, writer)
    };
    let run = |round, writer: u16, barrier: &Barrier| {
        let node = &nodes[usize::from(writer)];
        // After a conflict a node locks for some batches.
        (0..20).for_each(|_| drop(apply(node, writer, &[deposit(own[usize::from(writer)], writer)])));
        let keyed = |number| {
            let wallet = wallets[wallet_of(writer, number)];
            Command { idempotency: key(wallet, round, number), ..deposit(wallet, writer) }
        };
        let mut batch: Vec<_> = (0..200).map(keyed).collect();
        if writer == 1 {
            batch.reverse();
        }
        node.read_accounts(&wallets).unwrap();
        barrier.wait();
        assert!(apply(node, writer, &batch).iter().all(is_applied));
    };
    for round in 0..ROUNDS {
        let (barrier, run) = (&Barrier::new(2), &run);
        std::thread::scope(|scope| [0, 1].map(|writer| drop(scope.spawn(move || run(round, writer, barrier)))));
    }
    assert_eq!(nodes.each_ref().map(PostgresEngine::retries), [0, 0]);
    assert_eq!(divergence(&nodes[0]), None);
    let accounts = nodes[0].read_accounts(&wallets).unwrap();
    Some(wallets.iter().map(|id| accounts[id].version).collect())
}

/// Rows of accounts that have their figures, behind postings without them, as versions before this one wrote them.
#[test]
fn figures_go_on_from_the_row_of_an_account_that_has_them() {
    let Some(database) = fresh_database() else { return };
    let connect = || database.connect();
    let engine = connect();
    engine.migrate().unwrap();
    let (wallet, idle) = (open_wallet(&engine, 1), open_wallet(&engine, 2));
    apply(&engine, 0, &[command(30, Kind::Deposit, wallet, 100, 0), command(31, Kind::Deposit, idle, 50, 0)]);
    apply(&engine, 0, &[command(32, Kind::Withdraw, wallet, 30, 0), command(33, Kind::Withdraw, idle, 20, 0)]);
    let figures = |engine: &dyn Engine, id| {
        let accounts = read(engine, |tx| tx.lock_accounts(&[id])).unwrap();
        assert_eq!(engine.read_accounts(&[id]).unwrap(), accounts);
        let account = &accounts[&id];
        (account.posted_debits_minor, account.posted_credits_minor, account.version, account.updated_at_us)
    };
    let before = [figures(&engine, wallet), figures(&engine, idle)];
    assert_eq!(before, [(30, 100, 2, NOW_US + 1), (20, 50, 2, NOW_US + 1)]);
    for text in [
        "UPDATE accounts a SET version = 2, updated_at = p.recorded_at, posted_debits = p.debits_after, \
         posted_credits = p.debits_after + p.posted_after FROM postings p \
         WHERE p.account_id = a.id AND p.version = 2 AND a.kind = 0",
        "UPDATE postings SET debits_after = NULL",
    ] {
        write(&engine, |tx| tx.execute(text, &[])).unwrap();
    }
    let engine = connect();
    assert_eq!([figures(&engine, wallet), figures(&engine, idle)], before);
    assert_eq!(divergence(&engine), None);
    apply(&engine, 0, &[command(34, Kind::Withdraw, wallet, 7, 0)]);
    let engine = connect();
    assert_eq!([figures(&engine, wallet), figures(&engine, idle)], [(37, 100, 3, NOW_US + 1), before[1]]);
    assert_eq!(divergence(&engine), None);
}

/// The place of each posting in its account is proved, whichever chain it is in, also when every hash recomputes.
#[test]
fn postings_in_the_wrong_place_on_the_server_are_found() {
    let Some((engine, _database)) = fresh() else { return };
    let wallet = open_wallet(&engine, 1);
    let deposit = |id, writer| command(id, Kind::Deposit, wallet, 100, writer);
    apply(&engine, 0, &[deposit(30, 0)]);
    apply(&engine, 1, &[deposit(31, 1), deposit(32, 1)]);
    apply(&engine, 0, &[deposit(33, 0)]);
    assert_eq!(divergence(&engine), None);
    // The second deposit of chain 1: first its leg of the stripe is moved, then that of the wallet.
    rewrite(&engine, 1, 1, "UPDATE postings SET counterpart_version = 1 WHERE writer = 1 AND position = 1");
    let found = divergence(&engine).unwrap();
    assert!(found.contains("posting 1 of account") && found.contains("it is there twice"), "{found}");
    rewrite(&engine, 0, 9, "UPDATE postings SET version = 9 WHERE writer = 1 AND position = 1");
    let found = divergence(&engine).unwrap();
    assert!(found.contains("posting 4 of account") && found.contains("posting 3 is missing before it"), "{found}");
}

/// Gives a leg of the second transaction of chain 1 another version, and lets the chain recompute.
fn rewrite(engine: &dyn Engine, leg: usize, version: i64, update: &'static str) {
    let mut stored = read(engine, |tx| tx.list_batches(1, 0, &|_| Some(eur()))).unwrap().remove(0);
    stored.transactions[1].legs[leg].version = version;
    let form = stored.header.form;
    let hashes: Vec<_> = stored.transactions.iter().map(|transaction| transaction.hash(form)).collect();
    stored.header.merkle_root = merkle_root(&hashes, form);
    let [root, hash] = [stored.header.merkle_root, stored.header.hash()].map(|bytes| Value::Bytes(bytes.to_vec()));
    write(engine, |tx| {
        tx.execute("UPDATE batches SET merkle_root = $1, hash = $2 WHERE writer = 1", &[root.clone(), hash.clone()])?;
        tx.execute(update, &[])
    })
    .unwrap();
}

/// A batch cannot be passed off as one that is hashed otherwise.
#[test]
fn a_batch_that_says_another_form_of_hashing_is_found() {
    let Some((engine, _database)) = fresh() else { return };
    let wallet = open_wallet(&engine, 1);
    apply(&engine, 0, &[command(30, Kind::Deposit, wallet, 100, 0)]);
    assert_eq!(divergence(&engine), None);
    write(&engine, |tx| tx.execute("UPDATE batches SET hash_form = 1", &[])).unwrap();
    let found = divergence(&engine).unwrap();
    assert!(found.contains("batch 1: its hash does not recompute"), "{found}");
}

/// A node remembers what it wrote last; what another node wrote since counts all the same, also for a refusal.
#[test]
fn a_refusal_rests_on_what_another_postgres_node_wrote() {
    let Some(database) = fresh_database() else { return };
    let [first, second] = [0, 1].map(|_| database.connect());
    first.migrate().unwrap();
    let (wallet, quiet) = (open_wallet(&first, 1), open_wallet(&first, 2));
    let verdicts = apply(&first, 0, &[command(30, Kind::Deposit, wallet, 10, 0)]);
    assert!(is_applied(&verdicts[0]));
    apply(&second, 1, &[command(31, Kind::Deposit, wallet, 100, 1)]);
    let verdicts = apply(&first, 0, &[command(32, Kind::Withdraw, wallet, 50, 0)]);
    assert!(is_applied(&verdicts[0]), "there was enough: {verdicts:?}");
    // Beside a command that is applied, and the figure that the refusal names.
    apply(&second, 1, &[command(33, Kind::Withdraw, wallet, 20, 1)]);
    let batch = [command(34, Kind::Deposit, quiet, 1, 0), command(35, Kind::Withdraw, wallet, 60, 0)];
    let verdicts = apply(&first, 0, &batch);
    assert!(is_applied(&verdicts[0]), "{verdicts:?}");
    let Outcome::Rejected(Rejection::InsufficientFunds { available_minor, .. }) = verdicts[1].outcome else {
        panic!("{verdicts:?}")
    };
    assert_eq!(available_minor, 40);
    assert_eq!(divergence(&second), None);
}

/// Balances are answered from memory while no other process is connected, and never later than it writes.
#[test]
fn what_another_process_acknowledged_is_read_by_one_that_was_alone() {
    let Some(database) = fresh_database() else { return };
    let connect = |name| {
        let options = florin_testkit::postgres::options_of(name);
        PostgresEngine::connect(database.url(), options).unwrap()
    };
    let first = connect(1);
    first.migrate().unwrap();
    let (wallet, is_over) = (open_wallet(&first, 1), AtomicBool::new(false));
    let look = || {
        let peeked = first.peek_account(wallet);
        let is_peeked = peeked.is_some();
        (peeked.unwrap_or_else(|| first.read_accounts(&[wallet]).unwrap()[&wallet].clone()).version, is_peeked)
    };
    std::thread::scope(|scope| {
        // Somebody always reads: the lease goes on as long as it may.
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                look();
            }
        });
        for round in 1..=4_i64 {
            let is_alone = (0..1_000_000).any(|_| look().1);
            // It connects when it writes.
            let second = connect(u32::try_from(1 + round).unwrap());
            let id = 40 + u128::try_from(round).unwrap();
            let is_written = is_applied(&apply(&second, 1, &[command(id, Kind::Deposit, wallet, 1, 1)])[0]);
            let (seen, _) = look();
            is_over.store(round == 4 || !is_alone || !is_written || seen != round, Ordering::Relaxed);
            assert!(is_alone && is_written, "{is_alone} {is_written}");
            assert_eq!(seen, round, "an older balance was answered");
        }
    });
    assert_eq!(divergence(&first), None);
}
