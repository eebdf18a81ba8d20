//! `cargo xtask faults`: everything that may fail, provoked on real processes and in the simulator, so many times.

use std::process::ExitCode;

use clap::Args;

use crate::process::{self, cargo, must_run};
use crate::{Outcome, postgres, simulate, test_run};

/// Simulated seeds for each round on real processes.
const SEEDS_A_ROUND: u64 = 1000;

/// What `cargo xtask faults` takes.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cargo xtask faults\n  cargo xtask faults --rounds 625 --at-once 3 --seed 4711\n\n\
    Processes are killed, disks slowed, filled and failed, logs torn, connections cut, transactions aborted: \
    docs/failure-model.md names each test. Needs PostgreSQL, as cargo xtask test does; slow disks need strace."
)]
pub struct Options {
    /// How often each fault is provoked.
    #[arg(long, value_name = "N", default_value_t = 10)]
    rounds: u32,
    /// Tests that run at the same time. They wait more than they work; with many, those that count on seconds fail.
    #[arg(long, value_name = "N", default_value_t = 1)]
    at_once: u32,
    /// Where random choices begin; without it somewhere else each time. Every test prints it.
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
}

/// Runs the tests, then the simulator.
///
/// # Errors
/// When PostgreSQL cannot be had, or nothing could be built.
pub fn run(options: &Options) -> Outcome<ExitCode> {
    let server = postgres::Server::start(&[])?;
    must_run(cargo().args(["build", "--quiet", "--package", "florin"]))?;
    let mut tests = cargo();
    let at_once = options.at_once.max(1).to_string();
    tests.args(["test", "--package", "florin", "--test", "failure", "--", "--nocapture", "--test-threads", &at_once]);
    test_run::lead_to(&mut tests, Some(&server));
    for variable in ["FLORIN_TEST_KILL_ROUNDS", "FLORIN_TEST_FAULT_ROUNDS", "FLORIN_TEST_STANDBY_ROUNDS"] {
        tests.env(variable, options.rounds.to_string());
    }
    match options.seed {
        Some(seed) => tests.env("FLORIN_TEST_SEED", seed.to_string()),
        None => tests.env_remove("FLORIN_TEST_SEED"),
    };
    let status = process::run(&mut tests)?;
    if !status.success() {
        return Ok(process::exit_code(status));
    }
    simulate::run(&simulate::Options::of(u64::from(options.rounds) * SEEDS_A_ROUND, options.seed))
}
