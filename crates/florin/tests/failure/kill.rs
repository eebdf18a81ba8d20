//! Kill −9 under load, again and again: what was acknowledged is there, once, and the books prove clean.
//!
//! Each round starts the server, lets clients deposit and transfer with idempotency keys, kills a server in the middle,
//! starts it again, asks again with the keys whose answers were lost, and compares every wallet with what was
//! acknowledged. `FLORIN_TEST_KILL_ROUNDS` sets the number of rounds, `FLORIN_TEST_SEED` repeats a run.

use crate::{
    load::Load,
    server::{Database, Server, prove},
};

/// Rounds per engine without the variable.
const ROUNDS: u64 = 50;

/// How often to kill.
pub fn rounds() -> u64 {
    std::env::var("FLORIN_TEST_KILL_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS)
}

/// Where random choices begin.
pub fn seed() -> u64 {
    let given = std::env::var("FLORIN_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| u64::from(std::process::id()));
    println!("FLORIN_TEST_SEED={seed} repeats this run");
    seed
}

/// One node at a time: killed in every round.
fn kill_rounds(database: &Database) {
    let mut load = Load::new(seed());
    let mut server = Server::start(database, 0);
    load.prepare(&server.base);
    for round in 0..rounds() {
        let base = server.base.clone();
        load.run(&[&base], || server.kill());
        server = Server::start(database, 0);
        load.settle(&server.base);
        load.compare(&server.base, round);
    }
    server.stop();
    prove(database);
    println!("{}", load.summary());
}

/// Two nodes on one database: one of them is killed in every round, the other goes on.
fn kill_rounds_two_nodes(database: &Database) {
    let mut load = Load::new(seed());
    let mut servers = [Server::start(database, 0), Server::start(database, 1)];
    load.prepare(&servers[0].base);
    for round in 0..rounds() {
        let victim = usize::from(round % 2 == 1);
        let bases = [servers[0].base.clone(), servers[1].base.clone()];
        let node = u16::from(victim == 1);
        load.run(&[&bases[0], &bases[1]], || servers[victim].kill());
        servers[victim] = Server::start(database, node);
        load.settle(&servers[victim].base);
        load.compare(&servers[1 - victim].base, round);
    }
    for server in &mut servers {
        server.stop();
    }
    prove(database);
    println!("{}", load.summary());
}

#[test]
fn sqlite_loses_nothing_when_killed() {
    let folder = tempfile::tempdir().unwrap();
    kill_rounds(&Database::Sqlite(folder.path().to_owned()));
}

#[test]
fn postgres_loses_nothing_when_killed() {
    let Some(database) = florin_testkit::postgres::fresh_database() else { return };
    let folder = tempfile::tempdir().unwrap();
    kill_rounds(&Database::Postgres(database.url().to_owned(), folder.path().to_owned()));
}

#[test]
fn two_nodes_on_postgres_lose_nothing_when_one_is_killed() {
    let Some(database) = florin_testkit::postgres::fresh_database() else { return };
    let folder = tempfile::tempdir().unwrap();
    kill_rounds_two_nodes(&Database::Postgres(database.url().to_owned(), folder.path().to_owned()));
}
