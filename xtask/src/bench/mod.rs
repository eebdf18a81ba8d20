//! `cargo xtask bench`: the server under load, always beside a reference in the same run.

#![expect(clippy::float_arithmetic, reason = "rates and ratios are statistics; no money is counted here")]

mod client;
mod machine;
mod pgbench;
mod plot;
mod report;
mod scenario;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::process::{must_capture, root};
use crate::{Outcome, florin, postgres};
use report::{EngineReport, Report};
use scenario::{Bench, Scenario};

/// What to measure on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// SQLite.
    Sqlite,
    /// PostgreSQL.
    Postgres,
    /// One after the other.
    All,
}

const ABOUT: &str = "\
What is measured: a release build of florin with its development settings, on a database of its own in target/ \
(SQLite) or on a PostgreSQL server started for the run (fsync and synchronous_commit on, otherwise PostgreSQL's \
defaults but for shared_buffers and max_wal_size). The client runs on the same machine and takes its share of the \
processor; its processor time is printed beside that of the server and the database.

The load is a closed loop: every connection is kept alive and sends its next request when it has the answer to the \
one before. So the latencies are those of a server that is never asked for more than it gives; with --rate the \
requests are due at fixed times instead and a late answer counts from when it was due.

  ping            POST /api/v1/ping with a token and the body of a deposit: checked, parsed, nothing stored
  deposit         POST /api/v1/wallets/{id}/operation, one DEPOSIT, a wallet chosen at random
  deposit, hot    the same, always on one wallet
  read            GET /api/v1/wallets/{id}, a wallet chosen at random
  pgbench         PostgreSQL alone: the same tables, one database transaction per deposit, 8 and 32 clients \
(xtask/bench/pgbench_deposit.sql)

All of them are run one after the other, and that --rounds times; each ratio is taken within a round. Medians and \
the lowest and highest round are printed. Rounds during which something else used more than a tenth of the machine \
are marked and left out of the medians as long as quiet ones remain. Raw figures go to bench/results/<date>.json, a \
plot beside it.";

/// What `cargo xtask bench` takes.
#[derive(Debug, Args)]
#[command(after_long_help = ABOUT)]
pub struct Options {
    /// What to measure on.
    #[arg(long, value_enum, default_value = "all")]
    engine: Engine,
    /// Length of each run, after the warm-up.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Warm-up before each run.
    #[arg(long, value_name = "N", default_value_t = 1)]
    warm_up_seconds: u64,
    /// How often every scenario is run.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Connections of the client.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// Wallets that the uniform scenarios choose from.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    wallets: u32,
    /// Send an Idempotency-Key with every deposit, and store one in pgbench.
    #[arg(long)]
    keys: bool,
    /// One more scenario: deposits due at this rate a second, whether or not the answers keep up.
    #[arg(long, value_name = "PER SECOND", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Measure a development build: for trying this tool, its figures mean nothing.
    #[arg(long)]
    dev_build: bool,
    /// Threads of the client.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    client_threads: u32,
}

impl Options {
    fn run_time(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    fn warm_up(&self) -> Duration {
        Duration::from_secs(self.warm_up_seconds)
    }

    fn scenarios(&self) -> Vec<Scenario> {
        let mut scenarios = vec![Scenario::Ping, Scenario::Deposit, Scenario::DepositHot, Scenario::Read];
        scenarios.extend(self.rate.map(Scenario::DepositAtRate));
        scenarios
    }
}

/// Measures, prints, and writes the results.
///
/// # Errors
/// When something cannot be started, or the server gives a wrong answer under load.
pub fn run(options: &Options) -> Outcome<ExitCode> {
    let binary = florin::build(!options.dev_build)?;
    let version = must_capture(std::process::Command::new(&binary).arg("--version"))?.trim().to_owned();
    let mut engines = Vec::new();
    if options.engine != Engine::Postgres {
        engines.push(on_sqlite(options, &binary)?);
    }
    if options.engine != Engine::Sqlite {
        engines.push(on_postgres(options, &binary)?);
    }
    let report = Report::new(options, version, engines)?;
    print!("{}", report.table());
    let folder = root().join("bench/results");
    fs::create_dir_all(&folder)?;
    let stem = folder.join(report.date_for_file());
    fs::write(stem.with_extension("json"), serde_json::to_string_pretty(&report.to_json())? + "\n")?;
    plot::write(&report, &stem.with_extension("svg"))?;
    println!(
        "\nraw figures: {}\nplot:        {}",
        stem.with_extension("json").display(),
        stem.with_extension("svg").display()
    );
    Ok(ExitCode::SUCCESS)
}

fn on_sqlite(options: &Options, binary: &Path) -> Outcome<EngineReport> {
    let server = florin::Server::start(binary, "bench", None)?;
    let bench = Bench::prepare(options, &server, None)?;
    let mut runs = Vec::new();
    for round in 1..=options.rounds {
        for scenario in options.scenarios() {
            runs.push(bench.run(scenario, round)?);
        }
    }
    Ok(EngineReport { name: "sqlite", database: "SQLite, embedded".to_owned(), runs })
}

fn on_postgres(options: &Options, binary: &Path) -> Outcome<EngineReport> {
    let database = postgres::Server::start(&["shared_buffers=256MB", "max_wal_size=4GB"])?;
    for name in ["florin", "pgbench"] {
        database.sql("postgres", &format!("CREATE DATABASE {name}"))?;
    }
    let version = format!("PostgreSQL {}", database.sql("postgres", "SHOW server_version")?.trim());
    let alone = pgbench::Deposits::prepare(options, &database, binary)?;
    let server = florin::Server::start(binary, "bench", Some(&database.url("florin")))?;
    let bench = Bench::prepare(options, &server, Some(&database))?;
    let mut runs = Vec::new();
    for round in 1..=options.rounds {
        for scenario in options.scenarios() {
            runs.push(bench.run(scenario, round)?);
        }
        for clients in [8, 32] {
            runs.push(alone.run(clients, round)?);
        }
    }
    Ok(EngineReport { name: "postgres", database: version, runs })
}
