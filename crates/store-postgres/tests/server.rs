//! What is particular to a database that is a server: deadlocks, lost connections, other people's tables.

#![expect(clippy::unwrap_used, reason = "a test without its database cannot go on")]

use std::{
    sync::{
        Arc, Barrier,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

use florin_ledger::{AccountId, SystemAccount};
use florin_money::Asset;
use florin_store::{Engine, StoreError, Tx, Value, read, write};
use florin_store_postgres::{PostgresEngine, PostgresOptions};
use florin_testkit::{
    held::Held,
    postgres::{fresh_database, fresh_engine, options_of},
};

fn increment(tx: &mut dyn Tx, name: &str) -> Result<u64, StoreError> {
    tx.execute("UPDATE counters SET value = value + 1 WHERE name = $1", &[Value::Text(name.to_owned())])
}

fn pid(tx: &mut dyn Tx) -> Result<i64, StoreError> {
    tx.query("SELECT pg_backend_pid()", &[])?[0].get_int(0)
}

/// A stripe of the bank's account, with 7.00 in it.
fn open_bank(engine: &PostgresEngine) -> AccountId {
    let id = SystemAccount::ALL[0].open(Asset::new("EUR", 2).unwrap(), 1, 0).id;
    let place = [Value::Int(i64::from(id.bucket())), Value::Uuid(id.0)];
    let insert = "INSERT INTO accounts (bucket, id, kind, asset, exponent, normal_side, posted_debits, posted_credits, \
        pending_debits, pending_credits, version, created_at, updated_at) \
        VALUES ($1, $2, 1, 'EUR', 2, 1, 0, 700, 0, 0, 3, now(), now())";
    write(engine, |tx| tx.execute(insert, &place)).unwrap();
    id
}

fn terminate(engine: &PostgresEngine, pid: i64) {
    let params = [Value::Int(pid)];
    let rows = read(engine, |tx| tx.query("SELECT pg_terminate_backend($1, 5000)", &params)).unwrap();
    assert!(rows[0].get_bool(0).unwrap());
}

/// A process that was stopped, or whose machine is gone, in the middle of a transaction: the server itself would wait
/// for it for hours, and everybody else for its locks.
#[test]
fn a_transaction_that_stands_still_is_ended() {
    let Some(database) = fresh_database() else { return };
    let options =
        || PostgresOptions { statement_timeout_ms: 1_000, lock_timeout_ms: 400, ..PostgresOptions::default() };
    let [engine, stopped] = [(); 2].map(|()| PostgresEngine::connect(database.url(), options()).unwrap());
    engine.migrate().unwrap();
    write(&engine, |tx| tx.execute("INSERT INTO counters (name, value) VALUES ('a', 0)", &[])).unwrap();
    let stopped = Held::open(Arc::new(stopped), |tx| increment(tx, "a").map(drop));
    let other = write(&engine, |tx| increment(tx, "a"));
    // Whichever comes first, the server's word or the end of the connection.
    let stopped = stopped.release();
    assert_eq!(other.unwrap(), 1);
    assert!(matches!(stopped, Err(StoreError::Unavailable(_) | StoreError::OutcomeUnknown(_))), "{stopped:?}");
    let count = read(&engine, |tx| tx.query("SELECT value FROM counters WHERE name = 'a'", &[])).unwrap();
    assert_eq!(count[0].get_int(0).unwrap(), 1);
}

#[test]
fn a_deadlock_is_tried_again_as_a_whole() {
    let Some((engine, _database)) = fresh_engine() else { return };
    engine.migrate().unwrap();
    write(&engine, |tx| tx.execute("INSERT INTO counters (name, value) VALUES ('a', 0), ('b', 0)", &[])).unwrap();
    let (both_hold_one, runs) = (Barrier::new(2), AtomicU32::new(0));
    thread::scope(|scope| {
        for [first, second] in [["a", "b"], ["b", "a"]] {
            let (engine, both_hold_one, runs) = (&engine, &both_hold_one, &runs);
            scope.spawn(move || {
                let mut is_first_run = true;
                write(engine, |tx| {
                    runs.fetch_add(1, Ordering::SeqCst);
                    increment(tx, first)?;
                    if std::mem::take(&mut is_first_run) {
                        both_hold_one.wait();
                    }
                    increment(tx, second)
                })
                .unwrap();
            });
        }
    });
    assert_eq!((runs.into_inner(), engine.retries()), (3, 1), "one of the two ran twice");
    let rows = read(&engine, |tx| tx.query("SELECT value FROM counters WHERE name IN ('a', 'b')", &[])).unwrap();
    assert!(rows.iter().all(|row| row.get_int(0).unwrap() == 2), "{rows:?}");
}

#[test]
fn locks_in_any_order_need_no_second_try() {
    let Some((engine, _database)) = fresh_engine() else { return };
    florin_testkit::store_suite::locks_in_any_order_meet_no_deadlock(&engine);
    assert_eq!(engine.retries(), 0);
}

#[test]
fn a_connection_lost_before_the_commit_changes_nothing() {
    let Some((engine, database)) = fresh_engine() else { return };
    engine.migrate().unwrap();
    let other = database.connect();
    let error = write(&engine, |tx| {
        increment(tx, "user_number")?;
        terminate(&other, pid(tx)?);
        increment(tx, "user_number")
    })
    .unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    let rows = read(&engine, |tx| tx.query("SELECT value FROM counters WHERE name = 'user_number'", &[])).unwrap();
    assert_eq!(rows[0].get_int(0).unwrap(), 0, "a dead connection is not used again");
}

#[test]
fn a_connection_lost_at_the_commit_leaves_the_outcome_unknown() {
    let Some((engine, database)) = fresh_engine() else { return };
    engine.migrate().unwrap();
    let other = database.connect();
    let error = write(&engine, |tx| {
        increment(tx, "user_number")?;
        terminate(&other, pid(tx)?);
        Ok(())
    })
    .unwrap_err();
    assert!(matches!(error, StoreError::OutcomeUnknown(_)), "{error:?}");
}

/// The server may still be at what was asked of the connection that was lost.
#[test]
fn who_lost_a_write_believes_nothing_until_all_its_connections_are_new() {
    let Some(database) = fresh_database() else { return };
    let engine = PostgresEngine::connect(database.url(), options_of(7)).unwrap();
    engine.migrate().unwrap();
    let bank = open_bank(&engine);
    let names = || {
        let sql = "SELECT DISTINCT l.objid::bigint FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
            WHERE l.locktype = 'advisory' AND d.datname = current_database() ORDER BY 1";
        let rows = read(&engine, |tx| tx.query(sql, &[])).unwrap();
        rows.iter().map(|row| row.get_int(0).unwrap()).collect::<Vec<_>>()
    };
    let is_believed = || {
        engine.read_accounts(&[bank]).unwrap();
        engine.peek_account(bank).is_some()
    };
    assert!((0..1000).any(|_| is_believed()));
    assert_eq!(names(), [7]);
    let other = database.connect();
    let error = write(&engine, |tx| {
        increment(tx, "user_number")?;
        terminate(&other, pid(tx)?);
        Ok(())
    });
    assert!(matches!(error, Err(StoreError::OutcomeUnknown(_))), "{error:?}");
    assert_eq!(engine.peek_account(bank), None);
    drop(other);
    // Found alone again, under another name, as soon as the server let go of the connections that had the old one.
    assert!((0..100_000).any(|_| is_believed()));
    assert!(names().len() == 1 && names() != [7], "{:?}", names());
}

/// As after a restore or the promotion of a standby that lacked something: other figures under the same version.
#[test]
fn what_is_remembered_ends_with_its_connection() {
    let Some((engine, database)) = fresh_engine() else { return };
    engine.migrate().unwrap();
    let bank = open_bank(&engine);
    let credits = || engine.read_accounts(&[bank]).unwrap()[&bank].posted_credits_minor;
    assert_eq!(credits(), 700);
    let other = database.connect();
    write(&other, |tx| tx.execute("UPDATE accounts SET posted_credits = 500", &[])).unwrap();
    let end = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity \
        WHERE datname = current_database() AND pid <> pg_backend_pid()";
    read(&other, |tx| tx.query(end, &[])).unwrap();
    assert_eq!(credits(), 500);
}

#[test]
fn a_server_that_is_not_there_is_unavailable_and_the_password_stays_secret() {
    // Nothing listens on the discard port.
    let url = "postgres://florin:hush@127.0.0.1:9/florin";
    let engine = PostgresEngine::connect(url, PostgresOptions::default()).unwrap();
    let error = engine.status().unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    let error = PostgresEngine::connect("postgres://florin:hush@[", PostgresOptions::default()).unwrap_err();
    assert!(!format!("{engine:?} {error} {error:?}").contains("hush"));
}

#[test]
fn tables_of_others_are_refused() {
    let Some((engine, _database)) = fresh_engine() else { return };
    write(&engine, |tx| tx.execute("CREATE TABLE songs (title TEXT)", &[])).unwrap();
    for error in [engine.status().unwrap_err(), engine.migrate().unwrap_err()] {
        assert!(matches!(error, StoreError::Foreign(_)), "{error:?}");
    }
    // Others keep their history under the same name.
    write(&engine, |tx| tx.execute("CREATE TABLE schema_migrations (version TEXT)", &[])).unwrap();
    assert!(matches!(engine.migrate(), Err(StoreError::Foreign(_))));
}
