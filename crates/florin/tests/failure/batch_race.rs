//! One batch, sent to two nodes at once with one key: it happens once, and everybody is told the same.

use std::{
    sync::{Barrier, Mutex},
    thread,
};

use serde_json::{Value, json};

use crate::{
    client::{BatchAnswer, Client},
    seeded::fault_rounds,
    server::{Database, Server, prove},
};

/// Requests of one round, half of them at each node.
const AT_ONCE: usize = 6;
/// How often a request is repeated that was told to come again.
const TRIES: u32 = 200;
const DEPOSITS: i64 = 5;

/// The batch of a round: its bytes differ from those of the others, or the key would not be the only thing that tells.
fn batch(wallet: &str, round: u64) -> Value {
    let deposit =
        |n: i64| json!({"type": "DEPOSIT", "wallet": wallet, "amount": n, "reason": format!("round {round}")});
    json!({"atomic": round.is_multiple_of(2), "commands": (1..=DEPOSITS).map(deposit).collect::<Vec<_>>()})
}

/// Sends until there is an answer that stands: a node may ask to come again, never anything else.
fn insist(client: &Client, key: &str, batch: &Value) -> BatchAnswer {
    for _ in 0..TRIES {
        let answer = client.batch(key, batch);
        match answer.status {
            200 => return answer,
            409 | 503 => assert!(answer.retry_after.is_some(), "{answer:?} does not say when to come again"),
            _ => panic!("{answer:?}"),
        }
    }
    panic!("{key} was not answered in {TRIES} tries");
}

#[test]
fn a_batch_raced_on_two_postgres_nodes_with_one_key_is_applied_once() {
    let Some(fresh) = florin_testkit::postgres::fresh_database() else { return };
    let folder = tempfile::tempdir().unwrap();
    let database = Database::Postgres(fresh.url().to_owned(), folder.path().to_owned());
    let mut servers = [Server::start(&database, 0), Server::start(&database, 1)];
    let first = Client::with_wallet(&servers[0].base);
    let second = first.clone().at(&servers[1].base);
    let rounds = fault_rounds(20);
    for round in 0..rounds {
        let (key, body) = (format!("race-{round}"), batch(first.wallet(), round));
        let (start, answers) = (Barrier::new(AT_ONCE), Mutex::new(Vec::new()));
        thread::scope(|scope| {
            for client in [&first, &second].into_iter().cycle().take(AT_ONCE) {
                scope.spawn(|| {
                    start.wait();
                    let answer = insist(client, &key, &body);
                    answers.lock().unwrap().push(answer);
                });
            }
        });
        let answers = answers.into_inner().unwrap();
        assert!(answers.iter().all(|answer| answer.body == answers[0].body), "round {round}: {answers:?}");
        assert_eq!(answers[0].body["applied"], DEPOSITS, "{answers:?}");
        let made = answers.iter().filter(|answer| !answer.is_replayed).count();
        assert!(made <= 1, "round {round}: {made} of the answers claim to be the first");
        // The same key for something else is refused, wherever it comes.
        assert_eq!(second.batch(&key, &batch(first.wallet(), round + rounds)).status, 422);
        let each_minor = 100 * DEPOSITS * (DEPOSITS + 1) / 2;
        let expected = i64::try_from(round + 1).unwrap() * each_minor;
        assert_eq!((first.balance_minor(), second.balance_minor()), (expected, expected), "round {round}");
    }
    for server in &mut servers {
        server.stop();
    }
    prove(&database);
}
