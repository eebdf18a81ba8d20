//! The primary dies under load, its synchronous standby takes over: everything acknowledged is there, once.
//!
//! Florin knows both servers by one URL and finds the one that takes writes by itself; clients repeat with their keys.
//! `FLORIN_TEST_STANDBY_ROUNDS` sets the number of rounds.

use std::path::Path;

use crate::{
    cluster::{Cluster, Place, programs},
    kill::seed,
    load::Load,
    server::{Database, Server, prove},
};

/// Operations acknowledged before the primary dies, and after its standby took over.
const BEFORE: u64 = 300;
const AFTER: u64 = 50;

fn rounds() -> u64 {
    std::env::var("FLORIN_TEST_STANDBY_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
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

    /// The standby is the primary now; where the old one was a new standby follows it.
    fn take_over(&mut self) {
        std::mem::swap(&mut self.primary, &mut self.standby);
        self.standby.kill();
        self.standby = Cluster::standby_of(&self.primary, self.standby.place.clone());
    }
}

/// Rounds of load, in the middle of which `lose` takes the primary away. Commits wait for the standby in both ways.
fn rounds_of(mut pair: Pair, rounds: u64, lose: impl Fn(&mut Cluster, &Cluster), mend: impl Fn()) {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::Postgres(pair.url.clone(), folder.path().to_owned());
    let mut load = Load::new(seed());
    let mut servers = [Server::start(&database, 0), Server::start(&database, 1)];
    load.prepare(&servers[0].base);
    for round in 0..rounds {
        pair.primary.wait_for_standby(if round % 2 == 0 { "on" } else { "remote_apply" });
        load.run_on(&[&servers[0].base, &servers[1].base], || {
            load.await_more(BEFORE);
            lose(&mut pair.primary, &pair.standby);
            pair.standby.promote();
            load.await_more(AFTER);
        });
        load.compare(&servers[0].base, round);
        load.compare(&servers[1].base, round);
        prove(&database);
        mend();
        pair.take_over();
    }
    for server in &mut servers {
        server.stop();
    }
    println!("{}", load.summary());
}

#[test]
fn a_postgres_standby_that_takes_over_has_everything_that_was_acknowledged() {
    let Some(programs) = programs() else { return };
    let pair = Pair::start(&programs, [Place::local(), Place::local()]);
    rounds_of(pair, rounds(), |primary, _| primary.kill(), || {});
}
