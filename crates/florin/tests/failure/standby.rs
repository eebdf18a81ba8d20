//! The primary dies under load, its synchronous standby takes over: everything acknowledged is there, once.
//!
//! Florin knows both servers by one URL and finds the one that takes writes by itself; clients repeat with their keys.
//! `FLORIN_TEST_STANDBY_ROUNDS` and `FLORIN_TEST_NETWORK_CUTS` set the numbers of rounds.

use std::path::Path;

use crate::{
    cluster::{Cluster, Place, programs},
    kill::seed,
    load::Load,
    network::Network,
    server::{Database, Server, prove, signal},
};

/// Operations acknowledged before the primary dies, and after its standby took over.
const BEFORE: u64 = 300;
const AFTER: u64 = 50;

fn rounds(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Two servers, one of which is the primary.
struct Pair {
    primary: Cluster,
    standby: Cluster,
    url: String,
}

impl Pair {
    fn start(programs: &Path, places: [Place; 2]) -> Self {
        let hosts: Vec<String> = places.iter().map(|place| format!("{}:{}", place.host, place.port)).collect();
        let url = format!("postgres://postgres@{}/florin?target_session_attrs=read-write", hosts.join(","));
        let [first, second] = places;
        let primary = Cluster::start(programs, first, &[]);
        primary.sql("CREATE DATABASE florin");
        let standby = Cluster::standby_of(&primary, second);
        Self { primary, standby, url }
    }

    /// The standby is the primary now; where the old one was a new standby follows it. `mend` is called when the old
    /// one is dead: it still takes writes.
    fn take_over(&mut self, mend: impl Fn(&Cluster)) {
        std::mem::swap(&mut self.primary, &mut self.standby);
        self.standby.kill();
        mend(&self.standby);
        self.standby = Cluster::standby_of(&self.primary, self.standby.place.clone());
    }
}

/// Rounds of load, in the middle of which `lose` takes the primary away. Commits wait for the standby in both ways.
fn rounds_of(mut pair: Pair, rounds: u64, lose: impl Fn(u64, &mut Pair, &Load), mend: impl Fn(&Cluster)) {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::Postgres(pair.url.clone(), folder.path().to_owned());
    let mut load = Load::new(seed());
    let mut servers = [Server::start(&database, 0), Server::start(&database, 1)];
    load.prepare(&servers[0].base);
    for round in 0..rounds {
        pair.primary.wait_for_standby(if (round ^ (round >> 1)) & 1 == 0 { "on" } else { "remote_apply" });
        load.run_on(&[&servers[0].base, &servers[1].base], || {
            load.await_more(BEFORE);
            lose(round, &mut pair, &load);
            pair.standby.promote();
            load.await_more(AFTER);
        });
        load.compare(&servers[0].base, round);
        load.compare(&servers[1].base, round);
        prove(&database);
        pair.take_over(&mend);
    }
    for server in &mut servers {
        server.stop();
    }
    println!("{}", load.summary());
}

/// The primary dies while commits wait for a standby that does not answer: they are on the primary's disk alone. With
/// `comes_back` it starts again without its standby, finds them there, is asked about them, and dies for good.
fn die_while_commits_wait(pair: &mut Pair, load: &Load, comes_back: bool) {
    let receiver = pair.standby.sql("SELECT pid FROM pg_stat_wal_receiver");
    signal("STOP", &receiver);
    wait_for_waiting_commits(&pair.primary);
    pair.primary.kill();
    if comes_back {
        let acknowledged = load.acknowledged();
        pair.primary.run(&[]);
        wait_for_waiting_commits(&pair.primary);
        pair.primary.kill();
        assert_eq!(load.acknowledged(), acknowledged, "nothing is acknowledged that the standby does not have");
    }
    signal("CONT", &receiver);
}

fn wait_for_waiting_commits(primary: &Cluster) {
    primary.wait_until("commits wait for the standby", |primary| {
        primary.sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'") != "0"
    });
}

#[test]
fn a_postgres_standby_that_takes_over_has_everything_that_was_acknowledged() {
    let Some(programs) = programs() else { return };
    let pair = Pair::start(&programs, [Place::local(), Place::local()]);
    let lose = |round: u64, pair: &mut Pair, load: &Load| match round % 3 {
        0 => pair.primary.kill(),
        1 => die_while_commits_wait(pair, load, true),
        _ => die_while_commits_wait(pair, load, false),
    };
    rounds_of(pair, rounds("FLORIN_TEST_STANDBY_ROUNDS", 2), lose, |_| {});
}

#[test]
fn a_postgres_primary_that_is_cut_off_loses_nothing_that_was_acknowledged() {
    let Some(programs) = programs() else { return };
    let rounds = rounds("FLORIN_TEST_NETWORK_CUTS", 0);
    if rounds == 0 {
        eprintln!("skipped: cuts a network of its own, as root: cargo xtask test --network-cuts 2 -- cut_off");
        return;
    }
    let network = Network::new();
    let pair = Pair::start(&programs, network.places());
    // No connection is closed: Florin has to notice that nobody answers.
    rounds_of(pair, rounds, |_, pair, _| network.cut(&pair.primary.place), |old| network.mend(&old.place));
}
