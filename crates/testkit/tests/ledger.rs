//! The ledger's write path and `verify` on real engines: what is written can be proved, and what is altered is found.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on stops")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use florin_ledger::{
    Account, AccountId, AccountKind, Batch, Command, IdempotencyKey, Kind, Leg, Limits, Outcome, Precondition,
    Rejection, Side, SystemAccount, TransactionId, Verdict, merkle_root, system_account_id,
};
use florin_money::Asset;
use florin_store::{Engine, Value, ledger::apply_batch_in_tx, read, verify::verify, wallet, write};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

const NOW_US: i64 = 1_760_000_000_000_000;

fn eur() -> Asset {
    Asset::new("EUR", 2).unwrap()
}

fn owner() -> Uuid {
    Uuid::from_u128(0x5151)
}

fn open_wallet(engine: &dyn Engine, id: u128) -> AccountId {
    let account = Account {
        id: AccountId(Uuid::from_u128(id)),
        asset: eur(),
        kind: AccountKind::Wallet,
        owner_id: Some(owner()),
        normal_side: Side::Credit,
        limits: Limits { floor_minor: Some(0), ceiling_minor: None },
        posted_debits_minor: 0,
        posted_credits_minor: 0,
        pending_debits_minor: 0,
        pending_credits_minor: 0,
        version: 0,
        created_at_us: NOW_US,
        updated_at_us: NOW_US,
        closed_at_us: None,
    };
    write(engine, |tx| wallet::insert_wallet(tx, &account, owner(), "savings")).unwrap();
    account.id
}

fn command(id: u128, kind: Kind, wallet: AccountId, amount_minor: i128, writer: u16) -> Command {
    let system = system_account_id(SystemAccount::BankSettlement, eur().code(), writer);
    let (side, other) = if kind == Kind::Withdraw { (Side::Debit, Side::Credit) } else { (Side::Credit, Side::Debit) };
    Command {
        transaction_id: TransactionId(Uuid::from_u128(id)),
        kind,
        asset: eur(),
        legs: vec![
            Leg { account_id: wallet, side, amount_minor },
            Leg { account_id: system, side: other, amount_minor },
        ],
        actor_id: owner(),
        reason: Some("rent".to_owned()),
        effective_at_us: None,
        idempotency: None,
        owners: vec![Precondition { account_id: wallet, owner_id: owner() }],
    }
}

fn apply(engine: &dyn Engine, writer: u16, batch: &[Command]) -> Vec<Verdict> {
    write(engine, |tx| apply_batch_in_tx(tx, writer, Batch::each(batch), NOW_US + 1)).unwrap().verdicts
}

fn is_applied(verdict: &Verdict) -> bool {
    matches!(verdict.outcome, Outcome::Applied(_))
}

fn divergence(engine: &dyn Engine) -> Option<String> {
    verify(engine, &mut |_| {}).unwrap().divergence
}

fn a_batch_is_written_and_proves_clean(engine: &dyn Engine) {
    let (first, second) = (open_wallet(engine, 1), open_wallet(engine, 2));
    let batch = [
        command(10, Kind::Deposit, first, 10_000, 0),
        command(11, Kind::Withdraw, first, 10_001, 0),
        command(12, Kind::Deposit, second, 10_i128.pow(37), 0),
        command(13, Kind::Withdraw, first, 9_999, 0),
    ];
    let verdicts = apply(engine, 0, &batch);
    assert_eq!(verdicts.iter().map(is_applied).collect::<Vec<_>>(), [true, false, true, true]);
    assert!(matches!(
        verdicts[1].outcome,
        Outcome::Rejected(Rejection::InsufficientFunds { posted_minor: 10_000, required_minor: 10_001, .. })
    ));
    apply(engine, 3, &[command(14, Kind::Deposit, first, 5, 3)]);
    let row = read(engine, |tx| wallet::find_wallet(tx, first)).unwrap().unwrap();
    assert_eq!((row.account.balance().posted_minor, row.account.version, row.label.as_str()), (6, 3, "savings"));
    let report = verify(engine, &mut |_| {}).unwrap();
    assert_eq!(report.divergence, None);
    // Two wallets and a stripe of the bank for each of the two writers.
    assert_eq!((report.transactions, report.postings, report.accounts, report.batches), (4, 8, 4, 2));
}

fn a_key_is_answered_once_and_again(engine: &dyn Engine) {
    let wallet = open_wallet(engine, 1);
    let key = |fingerprint: u8| {
        Some(IdempotencyKey { scope: Uuid::from_u128(77), key: "rent-01".to_owned(), fingerprint: [fingerprint; 32] })
    };
    let keyed = |id: u128, fingerprint: u8| Command {
        idempotency: key(fingerprint),
        ..command(id, Kind::Deposit, wallet, 100, 0)
    };
    let first = apply(engine, 0, &[keyed(20, 1)]).remove(0);
    assert!(is_applied(&first) && !first.replayed);
    let again = apply(engine, 0, &[keyed(21, 1)]).remove(0);
    assert!(again.replayed, "the second request with the key has no effect of its own");
    assert_eq!(again.outcome, first.outcome);
    let other = apply(engine, 1, &[keyed(22, 2)]).remove(0);
    assert_eq!(other.outcome, Outcome::Rejected(Rejection::IdempotencyKeyReused));
    let row = read(engine, |tx| wallet::find_wallet(tx, wallet)).unwrap().unwrap();
    assert_eq!(row.account.balance().posted_minor, 100);
    assert_eq!(divergence(engine), None);
}

fn what_is_altered_is_found(engine: &dyn Engine) {
    let wallet = open_wallet(engine, 1);
    apply(engine, 0, &[command(30, Kind::Deposit, wallet, 100, 0), command(31, Kind::Deposit, wallet, 50, 0)]);
    apply(engine, 0, &[command(32, Kind::Withdraw, wallet, 30, 0)]);
    assert_eq!(divergence(engine), None);
    // Each alteration with what puts it right again, and a word of what must be said about it.
    let alterations: [(&'static str, Value, Value, &str); 4] = [
        (
            "UPDATE batches SET recorded_at = $1 WHERE number = 1",
            Value::Time(NOW_US),
            Value::Time(NOW_US + 1),
            "batch 1",
        ),
        (
            "UPDATE batches SET merkle_root = $1 WHERE number = 2",
            Value::Bytes(vec![0; 32]),
            read(engine, |tx| tx.query("SELECT merkle_root FROM batches WHERE number = 2", &[])).unwrap()[0].0[0]
                .clone(),
            "batch 2",
        ),
        ("UPDATE batches SET transactions = $1 WHERE number = 2", Value::Int(2), Value::Int(1), "batch 2"),
        ("UPDATE chain_heads SET number = $1", Value::Int(1), Value::Int(2), "chain 0"),
    ];
    for (alter, altered, right, said) in alterations {
        write(engine, |tx| tx.execute(alter, std::slice::from_ref(&altered))).unwrap();
        let found = divergence(engine).unwrap_or_else(|| panic!("not found: {alter}"));
        assert!(found.contains(said), "{alter}: {found}");
        write(engine, |tx| tx.execute(alter, std::slice::from_ref(&right))).unwrap();
        assert_eq!(divergence(engine), None, "{alter}");
    }
    write(engine, |tx| tx.execute("DELETE FROM batches WHERE number = 2", &[])).unwrap();
    assert!(divergence(engine).is_some(), "a deleted batch is found");
}

/// Every byte of a stored batch is proved.
#[test]
fn a_flipped_bit_in_the_journal_is_found() {
    let engine = florin_store_sqlite::SqliteEngine::in_memory().unwrap();
    engine.migrate().unwrap();
    let wallet = open_wallet(&engine, 1);
    apply(&engine, 0, &[command(30, Kind::Deposit, wallet, 100, 0), command(31, Kind::Deposit, wallet, 50, 0)]);
    apply(&engine, 0, &[command(32, Kind::Withdraw, wallet, 30, 0)]);
    let keep = |body: &[u8]| {
        write(&engine, |tx| tx.execute("UPDATE batches SET body = $1 WHERE number = 2", &[Value::Bytes(body.to_vec())]))
    };
    let rows = read(&engine, |tx| tx.query("SELECT body FROM batches WHERE number = 2", &[])).unwrap();
    let body = rows[0].get_bytes(0).unwrap();
    for byte in 0..body.len() {
        let mut flipped = body.clone();
        flipped[byte] ^= 1 << (byte % 8);
        keep(&flipped).unwrap();
        assert!(divergence(&engine).is_some(), "byte {byte} of {}", body.len());
    }
    keep(&body[..body.len() - 1]).unwrap();
    assert!(divergence(&engine).is_some(), "an end that is missing is found");
    keep(&body).unwrap();
    assert_eq!(divergence(&engine), None);
}

/// A file that can be opened again and again, as by one server after the other.
fn sqlite_file() -> (tempfile::TempDir, impl Fn() -> florin_store_sqlite::SqliteEngine) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("florin.db");
    let open = move || florin_store_sqlite::SqliteEngine::open(&path, Default::default()).unwrap();
    open().migrate().unwrap();
    (folder, open)
}

fn keyed_deposit(id: u128, wallet: AccountId) -> Command {
    let key = IdempotencyKey { scope: Uuid::from_u128(77), key: format!("rent-{id}"), fingerprint: [1; 32] };
    Command { idempotency: Some(key), ..command(id, Kind::Deposit, wallet, 100, 0) }
}

/// The index knows eight bytes of a key's digest: another key with the same eight hides nothing.
#[test]
fn keys_that_the_index_confuses_are_told_apart() {
    let (_folder, open) = sqlite_file();
    let engine = open();
    let wallet = open_wallet(&engine, 1);
    apply(&engine, 0, &[keyed_deposit(30, wallet), keyed_deposit(31, wallet)]);
    drop(engine);
    let name = |key: &str| {
        let digest = Sha256::new().chain_update(Uuid::from_u128(77).as_bytes()).chain_update(key).finalize();
        Value::Bytes(digest[..8].to_vec())
    };
    // Both places under one name, the other key's first.
    let confuse = "UPDATE key_blocks SET entries = unhex(hex($1) || hex(min(substr(entries, 9, 8), \
        substr(entries, 25))) || hex($1) || hex(max(substr(entries, 9, 8), substr(entries, 25))))";
    for (key, is_there) in [("rent-31", true), ("rent-32", false)] {
        assert_eq!(write(&open(), |tx| tx.execute(confuse, &[name(key)])).unwrap(), 1);
        let engine = open();
        let verdict = apply(&engine, 0, &[keyed_deposit(if is_there { 31 } else { 32 }, wallet)]).remove(0);
        assert!(is_applied(&verdict) && verdict.replayed == is_there, "{key}: {verdict:?}");
    }
}

/// A key that the index does not lead to could be applied twice.
#[test]
fn an_altered_index_of_keys_is_found() {
    let (_folder, open) = sqlite_file();
    let engine = open();
    let wallet = open_wallet(&engine, 1);
    let keyed = |id| keyed_deposit(id, wallet);
    apply(&engine, 0, &[keyed(30), keyed(31)]);
    // A server that stops brings the index after the journal.
    drop(engine);
    let engine = open();
    apply(&engine, 0, &[keyed(32)]);
    assert!(apply(&engine, 0, &[keyed(31)])[0].replayed);
    assert_eq!(divergence(&engine), None);
    let alterations: [&'static str; 5] = [
        "UPDATE key_blocks SET entries = unhex(hex(substr(entries, 17)) || hex(substr(entries, 1, 16)))",
        "UPDATE key_blocks SET entries = substr(entries, 1, 16)",
        "UPDATE key_blocks SET entries = unhex(hex(substr(entries, 1, 31)) || 'FF')",
        "UPDATE key_blocks SET id = id + 1",
        "UPDATE key_runs SET state = 2",
    ];
    for alter in alterations {
        write(&engine, |tx| tx.execute("CREATE TABLE kept AS SELECT * FROM key_blocks", &[])).unwrap();
        write(&engine, |tx| tx.execute(alter, &[])).unwrap();
        let found = divergence(&engine).unwrap_or_else(|| panic!("not found: {alter}"));
        assert!(found.contains("idempotency keys"), "{alter}: {found}");
        let restore = [
            "DELETE FROM key_blocks",
            "INSERT INTO key_blocks SELECT * FROM kept",
            "DROP TABLE kept",
            "UPDATE key_runs SET state = 1",
        ];
        for text in restore {
            write(&engine, |tx| tx.execute(text, &[])).unwrap();
        }
        assert_eq!(divergence(&engine), None, "{alter}");
    }
}

/// Every column of a posting is proved.
#[test]
fn an_altered_posting_on_the_server_is_found() {
    let Some(database) = florin_testkit::postgres::fresh_database() else { return };
    let engine = florin_store_postgres::PostgresEngine::connect(database.url(), Default::default()).unwrap();
    engine.migrate().unwrap();
    let (wallet, other) = (open_wallet(&engine, 1), open_wallet(&engine, 2));
    apply(&engine, 0, &[command(30, Kind::Deposit, wallet, 100, 0), command(31, Kind::Deposit, other, 50, 0)]);
    apply(&engine, 0, &[command(32, Kind::Withdraw, wallet, 30, 0)]);
    assert_eq!(divergence(&engine), None);
    let alterations: [(&'static str, &'static str); 13] = [
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
        ("position = 5, batch_number = 1", "position = 0, batch_number = 2"),
        ("bucket = bucket + 1", "bucket = bucket - 1"),
    ];
    for (alter, restore) in alterations {
        let set = |change: &str| {
            // The statements of a store are static; these are the test's own, a dozen.
            let text: &'static str = format!("UPDATE postings SET {change} WHERE version = 2").leak();
            assert_eq!(write(&engine, |tx| tx.execute(text, &[])).unwrap(), 1);
        };
        set(alter);
        assert!(divergence(&engine).is_some(), "{alter}");
        set(restore);
        assert_eq!(divergence(&engine), None, "{restore}");
    }
    let execute = |text: &'static str| write(&engine, |tx| tx.execute(text, &[])).unwrap();
    // A row that no chain holds, also one of a writer without a chain.
    for stray in ["batch_number = 9", "writer = 9"] {
        execute("CREATE TABLE stray AS SELECT * FROM postings WHERE version = 2");
        execute(format!("UPDATE stray SET version = 3, {stray}").leak());
        execute("INSERT INTO postings SELECT * FROM stray");
        assert_eq!(divergence(&engine).unwrap(), "8 postings are stored, the chains hold 6", "{stray}");
        execute("DELETE FROM postings WHERE version = 3");
        execute("DROP TABLE stray");
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
        execute(format!("UPDATE {alter}").leak());
        let found = divergence(&engine).unwrap_or_else(|| panic!("not found: {alter}"));
        assert!(found.contains(said), "{alter}: {found}");
        execute(format!("UPDATE {restore}").leak());
        assert_eq!(divergence(&engine), None, "{restore}");
    }
    write(&engine, |tx| tx.execute("DELETE FROM postings WHERE version = 2", &[])).unwrap();
    assert!(divergence(&engine).is_some(), "a deleted posting is found");
}

/// Two nodes that both remember the same wallets write to all of them at once, in opposite orders: one is first, and the
/// other decides again; neither is the victim of a deadlock.
#[test]
fn nodes_that_remember_the_same_wallets_do_not_wait_in_a_circle() {
    let Some(database) = florin_testkit::postgres::fresh_database() else { return };
    let connect = || florin_store_postgres::PostgresEngine::connect(database.url(), Default::default()).unwrap();
    let nodes = [connect(), connect()];
    nodes[0].migrate().unwrap();
    let mut wallets: Vec<_> = (1..=200).map(|id| open_wallet(&nodes[0], id)).collect();
    let own = [open_wallet(&nodes[0], 1001), open_wallet(&nodes[0], 1002)];
    let (rounds, last_id) = (10, AtomicU64::new(1));
    for _ in 0..rounds {
        let barrier = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            for (writer, node) in (0_u16..).zip(&nodes) {
                let (barrier, last_id, mut wallets, own) =
                    (&barrier, &last_id, wallets.clone(), own[usize::from(writer)]);
                wallets.sort_unstable_by_key(|id| (id.bucket(), *id));
                if writer == 1 {
                    wallets.reverse();
                }
                scope.spawn(move || {
                    let deposit = |wallet: AccountId| {
                        let id = u128::from(last_id.fetch_add(1, Ordering::Relaxed));
                        command(id, Kind::Deposit, wallet, 1, writer)
                    };
                    // After a conflict a node locks for some batches.
                    (0..20).for_each(|_| drop(apply(node, writer, &[deposit(own)])));
                    let batch: Vec<_> = wallets.iter().map(|wallet| deposit(*wallet)).collect();
                    node.read_accounts(&wallets).unwrap();
                    barrier.wait();
                    assert!(apply(node, writer, &batch).iter().all(is_applied));
                });
            }
        });
    }
    wallets.truncate(1);
    assert_eq!(nodes[0].read_accounts(&wallets).unwrap()[0].version, 2 * rounds);
    assert_eq!(nodes.each_ref().map(florin_store_postgres::PostgresEngine::retries), [0, 0]);
    assert_eq!(divergence(&nodes[0]), None);
}

/// Rows of accounts that have their figures, behind postings without them, as versions before this one wrote them.
#[test]
fn figures_go_on_from_the_row_of_an_account_that_has_them() {
    let Some(database) = florin_testkit::postgres::fresh_database() else { return };
    let connect = || florin_store_postgres::PostgresEngine::connect(database.url(), Default::default()).unwrap();
    let engine = connect();
    engine.migrate().unwrap();
    let (wallet, idle) = (open_wallet(&engine, 1), open_wallet(&engine, 2));
    apply(&engine, 0, &[command(30, Kind::Deposit, wallet, 100, 0), command(31, Kind::Deposit, idle, 50, 0)]);
    apply(&engine, 0, &[command(32, Kind::Withdraw, wallet, 30, 0), command(33, Kind::Withdraw, idle, 20, 0)]);
    let figures = |engine: &dyn Engine, id| {
        let account = read(engine, |tx| tx.lock_accounts(&[id])).unwrap().remove(0);
        assert_eq!(engine.read_accounts(&[id]).unwrap(), std::slice::from_ref(&account));
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
    let Some(database) = florin_testkit::postgres::fresh_database() else { return };
    let engine = florin_store_postgres::PostgresEngine::connect(database.url(), Default::default()).unwrap();
    engine.migrate().unwrap();
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
    let hashes: Vec<_> = stored.transactions.iter().map(florin_store::StoredTransaction::hash).collect();
    stored.header.merkle_root = merkle_root(&hashes);
    let [root, hash] = [stored.header.merkle_root, stored.header.hash()].map(|bytes| Value::Bytes(bytes.to_vec()));
    write(engine, |tx| {
        tx.execute("UPDATE batches SET merkle_root = $1, hash = $2 WHERE writer = 1", &[root.clone(), hash.clone()])?;
        tx.execute("UPDATE chain_heads SET hash = $1 WHERE writer = 1", std::slice::from_ref(&hash))?;
        tx.execute(update, &[])
    })
    .unwrap();
}

/// A node remembers what it wrote last; what another node wrote since counts all the same, also for a refusal.
#[test]
fn a_refusal_rests_on_what_another_postgres_node_wrote() {
    let Some(database) = florin_testkit::postgres::fresh_database() else { return };
    let [first, second] =
        [0, 1].map(|_| florin_store_postgres::PostgresEngine::connect(database.url(), Default::default()).unwrap());
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
    let Some(database) = florin_testkit::postgres::fresh_database() else { return };
    let connect = |name| {
        let options = florin_testkit::postgres::options_of(name);
        florin_store_postgres::PostgresEngine::connect(database.url(), options).unwrap()
    };
    let first = connect(1);
    first.migrate().unwrap();
    let (wallet, is_over) = (open_wallet(&first, 1), AtomicBool::new(false));
    let look = || {
        let peeked = first.peek_account(wallet);
        let is_peeked = peeked.is_some();
        (peeked.unwrap_or_else(|| first.read_accounts(&[wallet]).unwrap().remove(0)).version, is_peeked)
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

fn two_writers_share_a_wallet_without_losing_a_deposit(engine: &dyn Engine) {
    let wallet = open_wallet(engine, 1);
    std::thread::scope(|scope| {
        for writer in 0..4_u16 {
            scope.spawn(move || {
                for step in 0..25_u128 {
                    // Two of the four share a writer's number: slower, and still right.
                    let id = 1000 + u128::from(writer) * 100 + step;
                    let verdicts = apply(engine, writer / 2, &[command(id, Kind::Deposit, wallet, 1, writer / 2)]);
                    assert!(is_applied(&verdicts[0]));
                }
            });
        }
    });
    let row = read(engine, |tx| wallet::find_wallet(tx, wallet)).unwrap().unwrap();
    assert_eq!((row.account.balance().posted_minor, row.account.version), (100, 100));
    assert_eq!(divergence(engine), None);
}

macro_rules! on_both_engines {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[test]
            fn $name() {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("florin.db");
                let engine = florin_store_sqlite::SqliteEngine::open(&path, Default::default()).unwrap();
                engine.migrate().unwrap();
                super::$name(&engine);
            })+
            use florin_store::Engine as _;
        }
        mod postgres {
            $(#[test]
            fn $name() {
                let Some(database) = florin_testkit::postgres::fresh_database() else { return };
                let engine =
                    florin_store_postgres::PostgresEngine::connect(database.url(), Default::default()).unwrap();
                engine.migrate().unwrap();
                super::$name(&engine);
            })+
            use florin_store::Engine as _;
        }
    };
}

on_both_engines! {
    a_batch_is_written_and_proves_clean,
    a_key_is_answered_once_and_again,
    what_is_altered_is_found,
    two_writers_share_a_wallet_without_losing_a_deposit,
}
