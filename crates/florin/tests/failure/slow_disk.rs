//! A disk that is slow, or that fails to flush: strace delays or fails the server's own calls of fsync and fdatasync.

use std::{
    process::Command,
    sync::atomic::{AtomicI64, Ordering},
    thread,
};

use florin_store::verify::verify;
use florin_store_sqlite::{SqliteEngine, SqliteOptions};

use crate::{
    client::Client,
    kill::seed,
    load::Load,
    seeded::{fault_rounds, random},
    server::{Database, Server, prove},
};

/// Where the calls of the server are written down.
const TRACE: &str = "flushes";
const CLIENTS: i64 = 8;
const DEPOSITS: i64 = 10;
/// Every so many-th deposit is followed by one without a key.
const WITHOUT_KEY_EVERY: i64 = 2;
/// Requests that are tried before one must have been answered.
const TRIES: u32 = 500;

/// A client with a user and a wallet, and others for what has no key, made while the disk is well: with a bad one, a
/// sign-in may take longer than a request has here.
fn clients_of(database: &Database) -> (Client, Load) {
    let mut server = Server::start(database, 0);
    let client = Client::with_wallet(&server.base);
    let mut load = Load::new(seed());
    load.prepare(&server.base);
    server.stop();
    (client, load)
}

/// A server whose flushes strace gets between, or none where there is no strace. `-D`: the server itself is our child.
fn start(database: &Database, injection: &str) -> Option<Server> {
    let Ok(output) = Command::new("strace").args(["-qq", "-e", "trace=none", "true"]).output() else {
        eprintln!("skipped: no strace");
        return None;
    };
    if !output.status.success() {
        eprintln!("skipped: strace may not trace here: {}", String::from_utf8_lossy(&output.stderr).trim());
        return None;
    }
    let inner = database.command(&["serve"]);
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "-qq", "-e", "trace=fsync,fdatasync", "-o"]).arg(database.folder().join(TRACE)).arg("-e");
    command.arg(format!("inject=fsync,fdatasync:{injection}")).arg(inner.get_program()).arg("serve");
    command.current_dir(database.folder()).env_clear();
    command.envs(inner.get_envs().filter_map(|(name, value)| value.map(|value| (name, value))));
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    // Some requests meet more than one slow flush.
    command.env("FLORIN_REQUEST_TIMEOUT", "1s").env("FLORIN_LOG", "off");
    Some(Server::spawn(command))
}

/// Deposits from several clients at once, each repeated with its key until it is applied; gives the number of answers
/// that said it was not known. Those of `load` in between have no key, and are sent once.
fn deposit_all(client: &Client, (load, base): (&Load, &str), prefix: &str) -> i64 {
    let unknown = AtomicI64::new(0);
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let unknown = &unknown;
            scope.spawn(move || {
                for deposit in 0..DEPOSITS {
                    let key = format!("{prefix}-{number}-{deposit}");
                    let tried = (0..TRIES).find(|_| match client.deposit_once(&key) {
                        Some(200) => true,
                        Some(503) => {
                            unknown.fetch_add(1, Ordering::SeqCst);
                            false
                        }
                        other => panic!("{other:?}"),
                    });
                    assert!(tried.is_some(), "{key} was not answered in {TRIES} requests");
                    if deposit % WITHOUT_KEY_EVERY == 0 {
                        load.deposit_without_key(base);
                    }
                }
            });
        }
    });
    unknown.into_inner()
}

/// The database's numbers of batches and of transactions.
fn batches_and_transactions(database: &Database) -> (u64, u64) {
    let path = database.folder().join("florin-data").join("florin.db");
    let engine = SqliteEngine::open(&path, SqliteOptions::default()).unwrap();
    let report = verify(&engine, &mut |_| {}).unwrap();
    (report.batches, report.transactions)
}

#[test]
fn sqlite_on_a_slow_disk_answers_in_batches() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::Sqlite(folder.path().to_owned());
    let (client, load) = clients_of(&database);
    let Some(mut server) = start(&database, "delay_enter=100000") else { return };
    let client = client.at(&server.base);
    assert_eq!(deposit_all(&client, (&load, &server.base), "slow"), 0);
    assert_eq!(client.balance_minor(), CLIENTS * DEPOSITS * 100);
    load.compare(&server.base, 0);
    server.stop();
    let (batches, transactions) = batches_and_transactions(&database);
    let all = CLIENTS * (DEPOSITS + DEPOSITS / WITHOUT_KEY_EVERY);
    assert_eq!(transactions, u64::try_from(all).unwrap());
    assert!(batches * 2 < transactions, "{batches} flushes for {transactions} deposits: they did not share them");
    prove(&database);
}

#[test]
fn sqlite_on_a_disk_slower_than_the_patience_of_callers_applies_once() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::Sqlite(folder.path().to_owned());
    let (client, load) = clients_of(&database);
    let Some(mut server) = start(&database, "delay_enter=1500000:when=8+5") else { return };
    let client = client.at(&server.base);
    let unknown = deposit_all(&client, (&load, &server.base), "slower");
    assert!(unknown > 0, "no request met a flush longer than its time");
    assert_eq!(client.balance_minor(), CLIENTS * DEPOSITS * 100);
    load.compare(&server.base, 0);
    server.stop();
    // What was under way when it was asked for has ended.
    let mut server = Server::start(&database, 0);
    load.compare(&server.base, 1);
    println!("{}", load.summary());
    server.stop();
    prove(&database);
}

#[test]
fn sqlite_on_a_disk_that_fails_to_flush_loses_nothing_that_was_acknowledged() {
    let mut random = random();
    for round in 0..fault_rounds(2) {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::Sqlite(folder.path().to_owned());
        let (client, load) = clients_of(&database);
        let injection = format!("error=EIO:when={}+{}", 6 + random.below(8), 2 + random.below(4));
        let Some(mut server) = start(&database, &injection) else { return };
        let client = client.at(&server.base);
        deposit_all(&client, (&load, &server.base), "failing");
        let trace = std::fs::read_to_string(folder.path().join(TRACE)).unwrap();
        assert!(trace.contains("(INJECTED)"), "round {round}: no request met a failed flush ({injection})");
        assert_eq!(client.balance_minor(), CLIENTS * DEPOSITS * 100, "round {round}: {injection}");
        load.compare(&server.base, round);
        server.kill();
        let mut server = Server::start(&database, 0);
        let client = client.at(&server.base);
        assert_eq!(client.balance_minor(), CLIENTS * DEPOSITS * 100, "round {round}: {injection}");
        load.compare(&server.base, round);
        server.stop();
        prove(&database);
    }
}
