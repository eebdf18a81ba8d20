//! The clock of a running server jumps both ways, by seconds and by years: what was acknowledged is there, once, and no
//! history runs backwards, and keys are known.
//!
//! The server asks a debug build's clock, which is put off by what is in a file (`src/clock.rs`); several nodes have
//! clocks of their own. Under load tokens are valid longer than any jump; how they end is looked at by itself.

use std::{fs, path::PathBuf};

use florin_testkit::simulator::random::Random;
use jiff::Timestamp;
use serde_json::Value;

use crate::{
    client::Client,
    kill::seed,
    load::Load,
    seeded::{fault_rounds, random},
    server::{Database, Server, prove},
};

/// Rounds without the variable, jumps in each, and operations acknowledged, at the most, between two of them.
const ROUNDS: u64 = 3;
const JUMPS: u64 = 6;
const STEP: u64 = 60;
/// Rounds with the same wallets: their histories are followed from the beginning each time.
const LOAD_LASTS: u64 = 10;

/// Fifty years.
const TOKEN_LIFE: &str = "18250d";

const SECOND_US: i64 = 1_000_000;
const HOUR_US: i64 = 3600 * SECOND_US;
const YEAR_US: i64 = 365 * 24 * HOUR_US;

/// A node and its clock.
struct Node {
    server: Server,
    offset_us: i64,
    file: PathBuf,
}

impl Node {
    fn start(database: &Database, node: u16, token_life: Option<&str>) -> Self {
        let file = database.folder().join(format!("clock-{node}"));
        let mut command = database.command(&["serve"]);
        command.env("FLORIN_NODE", node.to_string()).env("FLORIN_TEST_CLOCK_OFFSET_FILE", &file);
        if let Some(life) = token_life {
            command.env("FLORIN_ACCESS_TOKEN_TTL", life);
        }
        Self { server: Server::spawn(command), offset_us: 0, file }
    }

    /// Nobody ever reads half a number: the file is replaced.
    fn put_off(&mut self, offset_us: i64) {
        let draft = self.file.with_extension("draft");
        fs::write(&draft, offset_us.to_string()).unwrap();
        fs::rename(&draft, &self.file).unwrap();
        self.offset_us = offset_us;
    }

    /// Up to ten years from the true time, both ways; often only a little from where it is.
    fn jump(&mut self, random: &mut Random) {
        let sign = if random.chance(500) { 1 } else { -1 };
        let by =
            |random: &mut Random, most_us: i64| sign * i64::try_from(random.below(most_us.unsigned_abs())).unwrap();
        let offset_us = match random.below(4) {
            0 => self.offset_us + by(random, 10 * SECOND_US),
            1 => self.offset_us + by(random, 48 * HOUR_US),
            2 => by(random, 10 * YEAR_US),
            _ => 0,
        };
        self.put_off(offset_us.clamp(-10 * YEAR_US, 10 * YEAR_US));
    }
}

/// Each line follows from the one before it, in its place, its balance and its time; gives the last time, microseconds.
fn follow(history: &[Value]) -> i64 {
    let minor = |line: &Value, name: &str| line[name].as_str().unwrap().replace('.', "").parse::<i64>().unwrap();
    let (mut balance_minor, mut last_us) = (0, 0);
    for (place, line) in (1..).zip(history) {
        let amount_minor = minor(line, "amount");
        balance_minor += if line["direction"] == "CREDIT" { amount_minor } else { -amount_minor };
        assert_eq!((line["version"].as_i64(), minor(line, "balance")), (Some(place), balance_minor), "{line}");
        let recorded_at: Timestamp = line["recorded_at"].as_str().unwrap().parse().unwrap();
        assert!(recorded_at.as_microsecond() >= last_us, "{line} was recorded before the one before it");
        last_us = recorded_at.as_microsecond();
    }
    last_us
}

fn may_move_clock() -> bool {
    if !cfg!(debug_assertions) {
        eprintln!("skipped: only a debug build lets its clock be moved");
    }
    cfg!(debug_assertions)
}

fn jump_rounds(database: &Database, count: u16) {
    if !may_move_clock() {
        return;
    }
    let mut nodes: Vec<Node> = (0..count).map(|node| Node::start(database, node, Some(TOKEN_LIFE))).collect();
    let bases: Vec<String> = nodes.iter().map(|node| node.server.base.clone()).collect();
    let bases: Vec<&str> = bases.iter().map(String::as_str).collect();
    let (seed, mut random) = (seed(), random());
    let mut load = Load::new(seed);
    load.prepare(bases[0]);
    for round in 0..fault_rounds(ROUNDS) {
        if round % LOAD_LASTS == LOAD_LASTS - 1 {
            println!("{}", load.summary());
            nodes.iter_mut().for_each(|node| node.put_off(0));
            load = Load::new(seed + round);
            load.prepare(bases[0]);
        }
        load.run_on(&bases, || {
            for _ in 0..JUMPS {
                let node = random.index(nodes.len());
                nodes[node].jump(&mut random);
                load.await_more(STEP);
            }
            // In every round once far ahead: what is recorded from then on stands there until the clock has caught up.
            nodes[0].put_off(YEAR_US + YEAR_US * i64::try_from(round % 9).unwrap());
            load.await_more(STEP);
        });
        // Through that node alone, so that something is recorded by its clock.
        load.run_on(&bases[..1], || (0..STEP).for_each(|_| load.await_more(1)));
        for base in &bases {
            // Of what was asked long before, or long after, by the clock of today.
            load.ask_again(base);
            load.compare(base, round);
        }
        let last_us = load.histories(bases[0]).iter().map(|history| follow(history)).max().unwrap();
        assert!(last_us > true_now_us() + YEAR_US / 2, "round {round}: the clock was not moved");
    }
    for node in &mut nodes {
        node.server.stop();
    }
    prove(database);
    println!("{}", load.summary());
}

#[expect(clippy::disallowed_methods, reason = "what the test compares the moved clock with")]
fn true_now_us() -> i64 {
    Timestamp::now().as_microsecond()
}

#[test]
fn sqlite_goes_on_when_the_clock_jumps() {
    let folder = tempfile::tempdir().unwrap();
    jump_rounds(&Database::Sqlite(folder.path().to_owned()), 1);
}

/// A token ends by the clock, in whatever direction that goes; who signs in again goes on.
#[test]
fn a_token_ends_by_the_clock() {
    if !may_move_clock() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let database = Database::Sqlite(folder.path().to_owned());
    let mut node = Node::start(&database, 0, None);
    let mut client = Client::with_wallet(&node.server.base);
    assert_eq!(client.deposit().0, 200);
    node.put_off(2 * HOUR_US);
    assert_eq!((client.look(), client.deposit().0), (401, 401));
    client.sign_in();
    assert_eq!(client.deposit().0, 200);
    node.put_off(-10 * YEAR_US);
    assert_eq!((client.look(), client.deposit().0), (200, 200), "a clock that went back ends nothing");
    client.sign_in();
    assert_eq!(client.deposit().0, 200);
    node.put_off(0);
    assert_eq!((client.look(), client.refresh()), (401, 401), "all that was given out ten years ago has ended");
    client.sign_in();
    assert_eq!(client.balance_minor(), 400);
    node.server.stop();
    prove(&database);
}

#[test]
fn two_postgres_nodes_go_on_when_their_clocks_jump() {
    let Some(fresh) = florin_testkit::postgres::fresh_database() else { return };
    let folder = tempfile::tempdir().unwrap();
    jump_rounds(&Database::Postgres(fresh.url().to_owned(), folder.path().to_owned()), 2);
}
