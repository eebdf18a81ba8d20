//! `cargo xtask simulate`: the commit queue and the store on one thread, with faults, from many seeds.

use std::process::ExitCode;

use clap::Args;

use crate::Outcome;
use crate::process::{self, cargo};

/// What `cargo xtask simulate` takes.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cargo xtask simulate\n  cargo xtask simulate --seeds 1 --seed 4711\n\nA seed that \
    breaks a promise is printed with everything that led to it."
)]
pub struct Options {
    /// How many seeds.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    seeds: u64,
    /// The first seed; without it a new one each time.
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Build with optimisations: for many seeds.
    #[arg(long)]
    release: bool,
}

impl Options {
    /// So many seeds, as they are built for tests.
    pub const fn of(seeds: u64, seed: Option<u64>) -> Self {
        Self { seeds, seed, release: false }
    }
}

/// Runs the seeds and ends with the test's exit code.
///
/// # Errors
/// When cargo cannot be started.
pub fn run(options: &Options) -> Outcome<ExitCode> {
    let mut command = cargo();
    command.args(["test", "--quiet", "--package", "florin-testkit", "--test", "simulation"]);
    if options.release {
        command.arg("--release");
    }
    command.args(["--", "seeds_hold", "--exact", "--nocapture"]);
    command.env("FLORIN_TEST_SIMULATION_SEEDS", options.seeds.to_string());
    match options.seed {
        Some(seed) => command.env("FLORIN_TEST_SEED", seed.to_string()),
        None => command.env_remove("FLORIN_TEST_SEED"),
    };
    Ok(process::exit_code(process::run(&mut command)?))
}
