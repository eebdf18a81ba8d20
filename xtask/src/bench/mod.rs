//! `cargo xtask bench`: the server under load, always beside a reference in the same run.

#![expect(clippy::float_arithmetic, reason = "rates and ratios are statistics; no money is counted here")]

mod beside;
mod client;
mod curve;
mod django;
mod footprint;
mod goal;
mod growth;
mod judge;
mod machine;
mod nodes;
mod open_loop;
mod overload;
mod pgbench;
mod plot;
mod report;
mod rounds;
mod run;
mod spread;
mod sqlite_alone;
mod storm;
mod target;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::process::{must_capture, root, target_dir};
use crate::{Outcome, florin, postgres};
use goal::Goal;
use report::Report;
use rounds::EngineReport;

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

Goals (docs/performance.md) are ratios. Everything that a goal needs is run one after the other, and that --rounds \
times; each ratio is taken within a round. Medians and the lowest and highest round are printed. Rounds during which \
something else used more than a tenth of the machine are marked and left out of the medians as long as quiet ones \
remain. The load is a closed loop: every connection is kept alive and sends its next request when it has the answer \
to the one before.

  ping              POST /api/v1/ping with a token and the body of a deposit: checked, parsed, nothing stored
  deposit           POST /api/v1/wallets/{id}/operation, one DEPOSIT, a wallet chosen at random
  deposit, key      the same with an Idempotency-Key of its own each time
  deposit, hot      always on one wallet
  read              GET /api/v1/wallets/{id}, a wallet chosen at random
  batches of 1000   POST /api/v1/batches, 1000 deposits a request, counted as 1000 operations
  batches of 10     the same with 10, over as many connections as single deposits
  batches …, key    the same with an idempotency key for each request
  pgbench           PostgreSQL alone, plain double entry on tables of its own, one transaction an operation \
(xtask/bench/double_entry.sql)
  SQLite alone      the same on SQLite, in this program, one transaction an operation
  django            for G8 alone: a wallet service on Django with the same request (bench/django), gunicorn and \
PostgreSQL, as such services are shipped (a database connection a request) and with kept ones; the better of 16 and 64 \
connections of the client
  two nodes         two servers on one PostgreSQL, the client's connections spread over them
  nginx             one, two and three servers behind nginx, if it is there or can be installed: deposits over 64 \
and over 256 connections, and ping

--grow fills a database of each size (florin demo: five postings a wallet, none in the first) and measures them in \
turns; the wallets under load are spread evenly over all. --overload offers deposits at fixed times (open loop) from \
a quarter to twice what the server does in a closed loop; a late answer counts from when it was due, and what finds \
no free connection for 100 ms is given up. Then it measures deposits beside a storm of sign-ins; --storm only that.

--beside FILE measures two binaries in turns, each on a database of its own, and says for each scenario of the goals \
that needs one server how the first does beside the second.

Raw figures go to bench/results/<date>.json, plots beside it.";

/// What `cargo xtask bench` takes.
#[derive(Debug, Args)]
#[command(after_long_help = ABOUT)]
pub struct Options {
    /// What to measure on.
    #[arg(long, value_enum, default_value = "all")]
    engine: Engine,
    /// Which goals, such as G1,G2. Without it: all of them but G8 and G9, or none with --grow, --overload or --storm.
    /// G8 installs Django and its kind with pip, into target/.
    #[arg(long, value_enum, value_delimiter = ',', ignore_case = true)]
    goals: Vec<Goal>,
    /// Growth (G9): sizes in wallets, the first one being the reference, such as 10k,1M,10M.
    #[arg(long, value_name = "SIZES", value_delimiter = ',', value_parser = growth::parse_size)]
    grow: Vec<u32>,
    /// A folder that keeps the grown databases for the next time.
    #[arg(long, value_name = "FOLDER")]
    grow_dir: Option<PathBuf>,
    /// Fill the databases of --grow-dir and measure nothing.
    #[arg(long, requires = "grow_dir")]
    fill_only: bool,
    /// More than the server can do, and a storm of sign-ins.
    #[arg(long)]
    overload: bool,
    /// Only the storm of sign-ins.
    #[arg(long, conflicts_with = "overload")]
    storm: bool,
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
    /// Connections of the client on the batch route, with batches of 1000.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    batch_connections: u32,
    /// Connections of the client under overload: more than the server's queue has places.
    #[arg(long, value_name = "N", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(1..))]
    overload_connections: u32,
    /// Wallets that the uniform scenarios choose from.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    wallets: u32,
    /// Measure a development build: for trying this tool. Its figures mean nothing and stay in target/bench.
    #[arg(long)]
    dev_build: bool,
    /// Measure this binary instead of building one.
    #[arg(long, value_name = "FILE", conflicts_with = "dev_build")]
    binary: Option<PathBuf>,
    /// A second binary, such as that of the version before: instead of goals, both are measured in turns.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["grow", "grow_dir", "overload", "storm"])]
    beside: Option<PathBuf>,
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

    /// The goals that were asked for.
    fn wanted(&self) -> Vec<Goal> {
        if !self.goals.is_empty() {
            return self.goals.clone();
        }
        if self.overload || self.storm || !self.grow.is_empty() {
            return Vec::new();
        }
        Goal::value_variants().iter().copied().filter(|goal| !matches!(goal, Goal::G8 | Goal::G9)).collect()
    }

    /// The sizes that were asked for; G9 without any means the small ones.
    fn sizes(&self) -> Vec<u32> {
        if self.grow.is_empty() && self.goals.contains(&Goal::G9) { vec![10_000, 1_000_000] } else { self.grow.clone() }
    }
}

/// Measures, prints, and writes the results.
///
/// # Errors
/// When something cannot be started, or the server gives a wrong answer under load.
pub fn run(options: &Options) -> Outcome<ExitCode> {
    let absolute = |file: &PathBuf| fs::canonicalize(file).map_err(|error| format!("{}: {error}", file.display()));
    let binary = match &options.binary {
        Some(file) => absolute(file)?,
        None => florin::build(!options.dev_build)?,
    };
    let beside = options.beside.as_ref().map(absolute).transpose()?;
    let version = must_capture(std::process::Command::new(&binary).arg("--version"))?.trim().to_owned();
    let goals = options.wanted();
    let mut report = Report::new(options, version)?;
    report.engines = measure_engines(options, &goals, &binary, beside.as_deref())?;
    if beside.is_none() {
        report.footprint = footprint::lines(options, &goals, &binary)?;
        measure_extremes(options, &binary, &mut report)?;
    } else if report.engines.is_empty() {
        return Err(
            "--beside measures what one server does by itself: none of these goals needs such a run here".into()
        );
    }
    if options.fill_only {
        return Ok(ExitCode::SUCCESS);
    }
    print!("{}", report.tables());
    // Figures of a development build are not for keeping.
    write(&report, &if options.dev_build { target_dir().join("bench") } else { root().join("bench/results") })?;
    Ok(ExitCode::SUCCESS)
}

/// The goals that are ratios of rates, or the binary beside another one, on an engine after the other.
fn measure_engines(
    options: &Options,
    goals: &[Goal],
    binary: &Path,
    beside: Option<&Path>,
) -> Outcome<Vec<EngineReport>> {
    let mut reports = Vec::new();
    if options.engine != Engine::Postgres {
        match beside {
            Some(other) => reports.extend(beside::on_sqlite(options, goals, [binary, other])?),
            None => reports.extend(rounds::on_sqlite(options, goals, binary)?),
        }
    }
    if options.engine != Engine::Sqlite {
        match beside {
            Some(other) => reports.extend(beside::on_postgres(options, goals, [binary, other])?),
            None => reports.extend(rounds::on_postgres(options, goals, binary)?),
        }
    }
    Ok(reports)
}

/// Growth and overload, on an engine after the other.
fn measure_extremes(options: &Options, binary: &Path, report: &mut Report) -> Outcome<()> {
    let sizes = options.sizes();
    if sizes.is_empty() && !options.overload && !options.storm {
        return Ok(());
    }
    let mut on = |database: Option<&postgres::Server>| -> Outcome<()> {
        if options.fill_only {
            return growth::fill_all(options, &sizes, binary, database);
        }
        if !sizes.is_empty() {
            report.growth.push(growth::measure(options, &sizes, binary, database)?);
        }
        if options.overload || options.storm {
            report.overload.push(overload::measure(options, binary, database)?);
        }
        Ok(())
    };
    if options.engine != Engine::Postgres {
        on(None)?;
    }
    if options.engine != Engine::Sqlite {
        let kept = options.grow_dir.as_ref().filter(|_| !sizes.is_empty());
        let database = match kept {
            Some(folder) => postgres::Server::start_in(&folder.join("postgres"), &rounds::POSTGRES_SETTINGS)?,
            None => postgres::Server::start(&rounds::POSTGRES_SETTINGS)?,
        };
        on(Some(&database))?;
    }
    Ok(())
}

fn write(report: &Report, folder: &Path) -> Outcome<()> {
    fs::create_dir_all(folder)?;
    let stem = folder.join(report.date_for_file());
    let mut files = vec![stem.with_extension("json")];
    fs::write(&files[0], serde_json::to_string_pretty(&report.to_json())? + "\n")?;
    let plot = |what: &str| folder.join(format!("{}{what}.svg", report.date_for_file()));
    if !report.engines.is_empty() {
        files.push(plot(""));
        plot::write(&report.engines, &plot(""))?;
    }
    if !report.growth.is_empty() {
        files.push(plot("-growth"));
        curve::write_growth(&report.growth, &plot("-growth"))?;
    }
    if !report.overload.is_empty() {
        files.push(plot("-overload"));
        curve::write_overload(&report.overload, &plot("-overload"))?;
    }
    println!();
    files.iter().for_each(|file| println!("{}", file.display()));
    Ok(())
}
