//! The behaviours that every engine owes, on SQLite.

use florin_store::Engine;
use florin_store_sqlite::SqliteEngine;
use florin_testkit::{
    sqlite::fresh_engine,
    store_suite::{self, shared_statements},
};
use tempfile::TempDir;

fn fresh() -> Option<(SqliteEngine, TempDir)> {
    Some(fresh_engine())
}

florin_testkit::store_suite!(fresh);

#[test]
fn every_shared_statement_can_be_prepared() {
    let (engine, folder) = fresh_engine();
    engine.migrate().unwrap();
    let connection = rusqlite::Connection::open(folder.path().join("florin.db")).unwrap();
    let statements = shared_statements();
    assert!(statements.len() > 10, "the sources have more than {}", statements.len());
    for statement in statements {
        connection.prepare(&statement).map_err(|error| format!("{error}\n{statement}")).unwrap();
    }
}

#[test]
fn a_database_in_memory_does_the_same() {
    store_suite::migrating_again_is_harmless(&SqliteEngine::in_memory().unwrap());
    store_suite::every_type_comes_back(&SqliteEngine::in_memory().unwrap());
    store_suite::a_read_cannot_write(&SqliteEngine::in_memory().unwrap());
    store_suite::a_batch_comes_back_whole(&SqliteEngine::in_memory().unwrap());
    store_suite::accounts_locked_lose_no_update(&SqliteEngine::in_memory().unwrap());
}
