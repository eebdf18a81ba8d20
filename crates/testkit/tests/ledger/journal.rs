//! SQLite's journal and its index of keys: what was altered in them is found.

use florin_ledger::{AccountId, Command, IdempotencyKey, Kind};
use florin_store::{Engine as _, Value, read, write};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::{apply, command, divergence, is_applied, open_wallet};

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
    let mut other_form = body.clone();
    assert_eq!(std::mem::replace(&mut other_form[0], 1), 2);
    keep(&other_form).unwrap();
    assert!(divergence(&engine).is_some(), "a batch cannot be passed off as one that is hashed otherwise");
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
    let (scope, key) = (Uuid::from_u128(77), format!("rent-{id}"));
    let key = IdempotencyKey { scope, resource: wallet.0, key, fingerprint: [1; 32] };
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
