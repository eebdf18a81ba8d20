//! The goals that are ratios of rates: every scenario once a round, one round after the other.

use std::path::Path;

use super::django::{Reference, Setting};
use super::goal::{Goal, Line, Unit};
use super::machine::processors;
use super::nodes::{LockWatch, Nginx, share_waiting};
use super::run::{Run, Scenario};
use super::spread::Spread;
use super::target::Target;
use super::{Options, goal, judge, pgbench, sqlite_alone};
use crate::{Outcome, florin, nginx, postgres};

/// What PostgreSQL runs with, besides its defaults: the same for Florin and for pgbench.
pub const POSTGRES_SETTINGS: [&str; 2] = ["shared_buffers=4GB", "max_wal_size=4GB"];

/// The runs on one engine.
#[derive(Debug)]
pub struct EngineReport {
    /// `sqlite` or `postgres`.
    pub name: &'static str,
    /// With its version.
    pub database: String,
    /// In the order in which they were made.
    pub runs: Vec<Run>,
    /// What they say of the goals.
    pub lines: Vec<Line>,
}

/// Every scenario on SQLite; none if no goal needs one.
///
/// # Errors
/// When something cannot be started, or the server gives a wrong answer under load.
pub fn on_sqlite(options: &Options, goals: &[Goal], binary: &Path) -> Outcome<Option<EngineReport>> {
    let mut scenarios = judge::scenarios(judge::SQLITE, goals);
    if scenarios.is_empty() {
        return Ok(None);
    }
    let server = florin::Server::start(binary, "bench", None)?;
    let target = Target::with_new_wallets(options, &server, None)?;
    leave_out_what_is_missing(&target, &mut scenarios);
    let mut alone = sqlite_alone::Deposits::prepare(options)?;
    let beside = goals.contains(&Goal::G8).then(|| postgres::Server::start(&POSTGRES_SETTINGS)).transpose()?;
    let django = beside.as_ref().map(|database| Reference::start(options, database)).transpose()?;
    let mut runs = Vec::new();
    for round in 1..=options.rounds {
        for scenario in &scenarios {
            runs.push(match scenario {
                Scenario::SqliteAlone => alone.run(round)?,
                Scenario::Django(setting, connections) => of_django(django.as_ref(), *setting, *connections, round)?,
                _ => target.run(*scenario, round).map_err(|error| with_log(&error, &server))?,
            });
        }
    }
    target.check_balances()?;
    let lines = judge::lines(judge::SQLITE, &runs, goals);
    Ok(Some(EngineReport { name: judge::SQLITE, database: sqlite_text(), runs, lines }))
}

/// Every scenario on PostgreSQL; none if no goal needs one.
///
/// # Errors
/// As [`on_sqlite`].
pub fn on_postgres(options: &Options, goals: &[Goal], binary: &Path) -> Outcome<Option<EngineReport>> {
    let mut scenarios = judge::scenarios(judge::POSTGRES, goals);
    if scenarios.is_empty() {
        return Ok(None);
    }
    let database = postgres::Server::start(&POSTGRES_SETTINGS)?;
    database.sql("postgres", "CREATE DATABASE florin")?;
    let alone = pgbench::Deposits::prepare(options, &database)?;
    let nodes =
        start_nodes(binary, &database, "florin", if goals.contains(&Goal::G10) { judge::NODES.len() } else { 1 })?;
    let (_, first) = nodes.first().ok_or("no node")?;
    let target = Target::with_new_wallets(options, first, Some(&database))?;
    leave_out_what_is_missing(&target, &mut scenarios);
    // A node that has others beside it reads in another way, and has a share of the machine's threads only.
    database.sql("postgres", "CREATE DATABASE apart")?;
    let alone_nodes = start_nodes(binary, &database, "apart", usize::from(nodes.len() > 1))?;
    let apart = alone_nodes.first().map(|(_, server)| Target::with_new_wallets(options, server, Some(&database)));
    let spread = Spreading::prepare(&target, &nodes, apart.transpose()?, &mut scenarios)?;
    let django = goals.contains(&Goal::G8).then(|| Reference::start(options, &database)).transpose()?;
    let mut runs = Vec::new();
    let mut waiting = Vec::new();
    for round in 1..=options.rounds {
        for scenario in &scenarios {
            let watch = (*scenario == Scenario::TwoNodes).then(|| LockWatch::start(&database)).transpose()?;
            runs.push(match scenario {
                Scenario::Pgbench(form, clients) => alone.run(*form, *clients, round)?,
                Scenario::Django(setting, connections) => of_django(django.as_ref(), *setting, *connections, round)?,
                _ => spread.of(*scenario, &target).run(*scenario, round).map_err(|error| with_log(&error, first))?,
            });
            if let Some(watch) = watch {
                waiting.extend(share_waiting(&watch.stop()?));
            }
        }
    }
    for target in std::iter::once(&target).chain(&spread.apart) {
        target.check_balances()?;
    }
    let mut lines = judge::lines(judge::POSTGRES, &runs, goals);
    let what = "postgres: two nodes, moments at which a session waited for a lock";
    lines.extend(Line::of(Goal::G10, what, Spread::of(waiting), Unit::Percent, goal::Bound::Shown));
    Ok(Some(EngineReport { name: judge::POSTGRES, database: postgres_text(&database)?, runs, lines }))
}

/// The engine, with its version and settings, for people.
pub fn sqlite_text() -> String {
    format!("SQLite {}, embedded, synchronous=FULL", rusqlite::version())
}

/// The engine, with its version and settings, for people.
///
/// # Errors
/// When the server does not answer.
pub fn postgres_text(database: &postgres::Server) -> Outcome<String> {
    let version = database.sql("postgres", "SHOW server_version")?;
    Ok(format!("PostgreSQL {}, fsync=on, {}", version.trim(), POSTGRES_SETTINGS.join(", ")))
}

fn of_django(django: Option<&Reference<'_>>, setting: Setting, connections: u32, round: u32) -> Outcome<Run> {
    django.ok_or("Django was not started")?.run(setting, connections, round)
}

/// Nodes of one database, numbered from 0, with one master key. They share the machine's processors: each has its share
/// of threads, also while the others are idle.
///
/// # Errors
/// With the server's own words.
pub fn start_nodes(
    binary: &Path,
    database: &postgres::Server,
    name: &str,
    count: usize,
) -> Outcome<Vec<(florin::Place, florin::Server)>> {
    let mut nodes = Vec::new();
    for number in 0..count {
        let place = florin::Place::new(binary, "node", Some(&database.url(name)))?
            .with("FLORIN_MASTER_KEY", &"5a".repeat(32))
            .with("FLORIN_NODE", &number.to_string())
            .with("FLORIN_WORKER_THREADS", &(processors() / count.max(1)).max(1).to_string());
        if number == 0 {
            place.migrate()?;
        }
        let server = place.start()?;
        nodes.push((place, server));
    }
    Ok(nodes)
}

/// The ways to other nodes than the first, and to several.
struct Spreading<'a> {
    /// To one on a database of its own, where the first has others beside it.
    apart: Option<Target<'a>>,
    two: Option<Target<'a>>,
    /// To one, two, three nodes.
    behind_nginx: Vec<Target<'a>>,
    _proxies: Vec<Nginx>,
}

impl<'a> Spreading<'a> {
    /// Leaves the scenarios behind nginx out if there is none.
    fn prepare(
        target: &Target<'a>,
        nodes: &[(florin::Place, florin::Server)],
        apart: Option<Target<'a>>,
        scenarios: &mut Vec<Scenario>,
    ) -> Outcome<Self> {
        let (ports, pids): (Vec<u16>, Vec<u32>) = nodes.iter().map(|(_, server)| (server.port(), server.pid())).unzip();
        let mut all = Self { apart, two: None, behind_nginx: Vec::new(), _proxies: Vec::new() };
        if ports.len() < 2 {
            return Ok(all);
        }
        all.two = Some(target.over(ports[..2].to_vec(), pids[..2].to_vec())?);
        let Some(program) = nginx::find_or_install("nodes are measured without it") else {
            scenarios.retain(|scenario| nodes_behind_nginx(*scenario).is_none());
            return Ok(all);
        };
        for count in 1..=ports.len() {
            let nginx = Nginx::start(&program, &ports[..count])?;
            all.behind_nginx.push(target.over(vec![nginx.port()], [&pids[..count], &[nginx.pid()]].concat())?);
            all._proxies.push(nginx);
        }
        Ok(all)
    }

    fn of<'b>(&'b self, scenario: Scenario, direct: &'b Target<'a>) -> &'b Target<'a> {
        let found = match (scenario, nodes_behind_nginx(scenario)) {
            (Scenario::TwoNodes, _) => self.two.as_ref(),
            (_, Some(nodes)) => nodes.checked_sub(1).and_then(|place| self.behind_nginx.get(place)),
            (Scenario::ReadBesideNodes, _) => None,
            _ => self.apart.as_ref(),
        };
        found.unwrap_or(direct)
    }
}

fn nodes_behind_nginx(scenario: Scenario) -> Option<usize> {
    match scenario {
        Scenario::BehindNginx(nodes, _) | Scenario::PingBehindNginx(nodes) => usize::try_from(nodes).ok(),
        _ => None,
    }
}

/// The batch route's answer is looked at once: figures of refusals would mean nothing.
fn leave_out_what_is_missing(target: &Target<'_>, scenarios: &mut Vec<Scenario>) {
    scenarios.retain(|scenario| {
        let Scenario::Batch(_) = scenario else { return true };
        match target.try_once(*scenario) {
            Ok(answer) if answer["refused"] == 0 => true,
            Ok(answer) => {
                let text: String = answer.to_string().chars().take(300).collect();
                eprintln!("bench: {} is left out, its commands are refused: {text}", scenario.name());
                false
            }
            Err(error) => {
                eprintln!("bench: {} is left out: {error}", scenario.name());
                false
            }
        }
    });
}

/// An error under load, with what the server said.
pub fn with_log(error: &dyn std::fmt::Display, server: &florin::Server) -> String {
    format!("{error}\nthe server said:\n{}", server.log())
}
