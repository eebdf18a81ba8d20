//! A node that was alone answers balances from memory. It must not, once another one has written.

use crate::{
    client::Client,
    seeded::fault_rounds,
    server::{Database, Server, prove, signal},
};

/// Rounds without the variable.
const ROUNDS: u64 = 3;
/// Enough reads for a node that met another one to find that it is alone again.
const READS: u32 = 1500;

/// The first node is stopped in the middle of its lease; it cannot notice what happens meanwhile, but that time passed.
#[test]
fn a_postgres_node_that_was_stopped_answers_what_happened_meanwhile() {
    let Some(fresh) = florin_testkit::postgres::fresh_database() else { return };
    let folder = tempfile::tempdir().unwrap();
    let database = Database::Postgres(fresh.url().to_owned(), folder.path().to_owned());
    let mut first = Server::start(&database, 0);
    let client = Client::with_wallet(&first.base);
    assert_eq!(client.deposit().0, 200);
    for round in 1..=i64::try_from(fault_rounds(ROUNDS)).unwrap() {
        (0..READS).for_each(|_| assert_eq!(client.balance_minor(), 100 * round));
        signal("STOP", first.id());
        let mut second = Server::start(&database, 1);
        assert_eq!(client.clone().at(&second.base).deposit().0, 200);
        signal("CONT", first.id());
        assert_eq!(client.balance_minor(), 100 * (round + 1), "round {round}");
        second.kill();
    }
    first.stop();
    prove(&database);
}
