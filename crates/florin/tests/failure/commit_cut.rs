//! A connection to PostgreSQL that is lost at a commit: before it is sent, while it is under way, after it was done.
//! The writer finds out whether it was done; whoever cannot wait asks again with the key. Half of the deposits have
//! none: were one written again although it had arrived, nothing would refuse it.

use crate::{
    client::Client,
    kill::seed,
    load::Load,
    proxy::{Moment, Proxied},
    seeded::{fault_rounds, random},
};

/// Rounds of each moment without the variable, and of all of them under load.
const ROUNDS: u64 = 4;
const ROUNDS_UNDER_LOAD: u64 = 12;
/// Requests that are tried before one must have been answered.
const TRIES: u32 = 500;
/// Operations acknowledged, at the most, before a connection is lost under load and after it.
const STEP: u64 = 60;

/// When the connection of this round is lost.
fn moment_of(round: u64) -> Moment {
    [Moment::Before, Moment::During, Moment::After][usize::try_from(round % 3).unwrap()]
}

#[test]
fn postgres_lost_at_a_commit_applies_once() {
    let Some(proxied) = Proxied::start() else { return };
    let (server, proxy) = (&proxied.server, &proxied.proxy);
    let client = Client::with_wallet(&server.base);
    let mut load = Load::new(seed());
    load.prepare(&server.base);
    let (mut random, mut deposits, mut unknown) = (random(), 0, 0);
    for round in 0..3 * fault_rounds(ROUNDS) {
        let moment = moment_of(round);
        // Which of the next commits loses its connection.
        let cuts = proxy.cut_at_commit(moment, random.below(4));
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
            load.deposit_without_key(&server.base);
        }
        assert_eq!(cuts.count(), 1, "round {round}: no connection was lost {moment:?} a commit");
        assert_eq!(client.balance_minor(), deposits * 100, "round {round}: a connection was lost {moment:?} a commit");
        load.compare(&server.base, round);
    }
    println!("{deposits} deposits, {unknown} answers that said it was not known; {}", load.summary());
    proxied.stop();
}

/// Many commands of many wallets in what is lost, and a batch on its way behind it.
#[test]
fn postgres_lost_at_a_commit_under_load_applies_once() {
    let Some(proxied) = Proxied::start() else { return };
    let (server, proxy) = (&proxied.server, &proxied.proxy);
    let (seed, mut random) = (seed(), random());
    let mut load = Load::new(seed);
    load.prepare(&server.base);
    for round in 0..fault_rounds(ROUNDS_UNDER_LOAD) {
        load.run_on(&[&server.base], || {
            load.await_more(STEP);
            let cuts = proxy.cut_at_commit(moment_of(seed.wrapping_add(round)), random.below(10));
            while cuts.count() == 0 {
                load.await_more(STEP);
            }
            load.await_more(STEP);
        });
        load.compare(&server.base, round);
    }
    println!("{}", load.summary());
    proxied.stop();
}
