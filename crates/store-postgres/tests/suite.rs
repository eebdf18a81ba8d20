//! The behaviours that every engine owes, on PostgreSQL.

use florin_store::Engine;
use florin_testkit::{postgres::fresh_engine, store_suite::shared_statements};

florin_testkit::store_suite!(fresh_engine);

#[test]
fn every_shared_statement_can_be_prepared() {
    let Some((engine, database)) = fresh_engine() else { return };
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
