//! A connection to PostgreSQL that is lost at a commit: before it is sent, while it is under way, after it was done.
//! The writer finds out whether it was done; whoever cannot wait asks again with the key.

use crate::{
    client::Client,
    proxy::{Moment, Proxy},
    seeded::{fault_rounds, random},
    server::{Database, Server, prove},
};

/// Rounds of each moment without the variable.
const ROUNDS: u64 = 4;
/// Requests that are tried before one must have been answered.
const TRIES: u32 = 500;

#[test]
fn postgres_lost_at_a_commit_applies_once() {
    let Some(fresh) = florin_testkit::postgres::fresh_database() else { return };
    let folder = tempfile::tempdir().unwrap();
    let proxy = Proxy::to(fresh.url());
    let database = Database::Postgres(proxy.url(), folder.path().to_owned());
    let mut server = Server::start(&database, 0);
    let client = Client::with_wallet(&server.base);
    let (mut random, mut deposits, mut unknown) = (random(), 0, 0);
    for round in 0..3 * fault_rounds(ROUNDS) {
        let moment = [Moment::Before, Moment::During, Moment::After][usize::try_from(round % 3).unwrap()];
        // Which of the next commits loses its connection.
        let cuts = proxy.cut_at_commit(moment, random.below(3));
        for number in 0..6 {
            let key = format!("cut-{round}-{number}");
            let tried = (0..TRIES).find(|_| match client.deposit_once(&key) {
                Some(200) => true,
                Some(503) => {
                    unknown += 1;
                    false
                }
                other => panic!("{other:?}"),
            });
            assert!(tried.is_some(), "{key} was not answered in {TRIES} requests");
            deposits += 1;
        }
        assert_eq!(cuts.count(), 1, "round {round}: no connection was lost {moment:?} a commit");
        assert_eq!(client.balance_minor(), deposits * 100, "round {round}: a connection was lost {moment:?} a commit");
    }
    println!("{deposits} deposits, {unknown} answers that said it was not known");
    server.stop();
    prove(&database);
}
