//! `cargo xtask test`: every test, on both engines.

use std::process::{Command, ExitCode};

use clap::{Args, ValueEnum};

use crate::process::{self, cargo, find_program, must_run};
use crate::{Outcome, nginx, postgres};

/// Which databases to test on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// SQLite alone; needs nothing installed.
    Sqlite,
    /// Only the tests that have `postgres` in their name or are of its crate.
    Postgres,
    /// Everything.
    All,
}

/// What `cargo xtask test` takes.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  cargo xtask test\n  cargo xtask test --engine sqlite\n  \
    cargo xtask test --kill-rounds 1000 -- kill\n  \
    cargo xtask test --standby-rounds 50 --network-cuts 10 -- standby\n\nPostgreSQL is looked for in PATH and in \
    /usr/lib/postgresql/*/bin, nginx in PATH and /usr/sbin; as root on Debian and Ubuntu they are installed by \
    apt-get when missing. Without nginx the tests of nodes behind it are skipped. The server runs on a free port of \
    127.0.0.1 with a data folder of its own and is ended and removed afterwards.")]
pub struct Options {
    /// Which databases to test on.
    #[arg(long, value_enum, default_value = "all")]
    engine: Engine,
    /// How often the tests kill the server under load, per engine.
    #[arg(long, value_name = "N", default_value_t = 50)]
    kill_rounds: u32,
    /// How often a PostgreSQL primary dies and its synchronous standby takes over.
    #[arg(long, value_name = "N", default_value_t = 2)]
    standby_rounds: u32,
    /// How often a primary's network is cut instead; needs root and `ip`, about 20 seconds each.
    #[arg(long, value_name = "N", default_value_t = 0)]
    network_cuts: u32,
    /// How many seeds the simulator lives through.
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    simulation_seeds: u64,
    /// Further arguments for the test runner, for example a part of a test's name.
    #[arg(last = true, value_name = "RUNNER ARGUMENTS")]
    rest: Vec<String>,
}

/// Runs the tests and ends with the runner's exit code.
///
/// # Errors
/// When PostgreSQL cannot be had, or nothing could be built.
pub fn run(options: &Options) -> Outcome<ExitCode> {
    // Held to the end: dropping it ends the server.
    let server = match options.engine {
        Engine::Sqlite => None,
        Engine::Postgres | Engine::All => Some(postgres::Server::start(&[])?),
    };
    // The tests of the process start the binary itself.
    must_run(cargo().args(["build", "--quiet", "--package", "florin"]))?;
    let mut runner = runner(options);
    lead_to(&mut runner, server.as_ref());
    runner.env("FLORIN_TEST_KILL_ROUNDS", options.kill_rounds.to_string());
    runner.env("FLORIN_TEST_STANDBY_ROUNDS", options.standby_rounds.to_string());
    runner.env("FLORIN_TEST_NETWORK_CUTS", options.network_cuts.to_string());
    runner.env("FLORIN_TEST_SIMULATION_SEEDS", options.simulation_seeds.to_string());
    let status = process::run(&mut runner)?;
    Ok(process::exit_code(status))
}

/// Tells the tests where PostgreSQL and nginx are.
pub fn lead_to(runner: &mut Command, server: Option<&postgres::Server>) {
    for variable in ["FLORIN_TEST_POSTGRES_URL", "FLORIN_TEST_POSTGRES_PROGRAMS", "FLORIN_TEST_NGINX"] {
        runner.env_remove(variable);
    }
    if let Some(server) = server {
        runner.env("FLORIN_TEST_POSTGRES_URL", server.url("postgres"));
        runner.env("FLORIN_TEST_POSTGRES_PROGRAMS", server.programs());
        if let Some(nginx) = nginx::find_or_install("the tests of nodes behind it are skipped") {
            runner.env("FLORIN_TEST_NGINX", nginx);
        }
    }
}

fn runner(options: &Options) -> Command {
    let has_nextest = find_program("cargo-nextest").is_some();
    let mut command = cargo();
    command.args(words(has_nextest, options.engine));
    command.args(&options.rest);
    command
}

fn words(has_nextest: bool, engine: Engine) -> Vec<&'static str> {
    let mut words = if has_nextest { vec!["nextest", "run"] } else { vec!["test", "--no-fail-fast"] };
    words.push("--workspace");
    if has_nextest {
        words.push("--no-fail-fast");
    }
    match (engine, has_nextest) {
        (Engine::Postgres, true) => words.extend(["-E", "test(postgres) | package(florin-store-postgres)"]),
        (Engine::Postgres, false) => words.push("postgres"),
        (Engine::Sqlite | Engine::All, _) => {}
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_runner_over_the_whole_workspace() {
        assert_eq!(words(true, Engine::All), ["nextest", "run", "--workspace", "--no-fail-fast"]);
        assert_eq!(words(false, Engine::Sqlite), ["test", "--no-fail-fast", "--workspace"]);
        assert_eq!(words(false, Engine::Postgres).last(), Some(&"postgres"));
    }
}
