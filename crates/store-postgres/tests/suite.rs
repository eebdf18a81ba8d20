//! The behaviours that every engine owes, on PostgreSQL.

#![expect(clippy::unwrap_used, reason = "a test without its database cannot go on")]

use florin_store::Engine;
use florin_store_postgres::{PostgresEngine, PostgresOptions};
use florin_testkit::{
    postgres::{FreshDatabase, fresh_database},
    store_suite::shared_statements,
};

fn fresh() -> Option<(PostgresEngine, FreshDatabase)> {
    let database = fresh_database()?;
    let engine = PostgresEngine::connect(database.url(), PostgresOptions::default()).unwrap();
    Some((engine, database))
}

florin_testkit::store_suite!(fresh);

#[test]
fn every_shared_statement_can_be_prepared() {
    let Some((engine, database)) = fresh() else { return };
    engine.migrate().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(database.url(), tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        for statement in shared_statements() {
            client.prepare(&statement).await.map_err(|error| format!("{error:?}\n{statement}")).unwrap();
        }
    });
}
