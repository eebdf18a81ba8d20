//! The project's own chores: test, simulate, faults, tidy, bench, fuzz-api, openapi. Run as `cargo xtask <command>`.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a command line tool prints, and measures real time; nothing here is part of the service"
)]

mod api;
mod bench;
mod faults;
mod florin;
mod fuzz_api;
mod nginx;
mod openapi;
mod postgres;
mod process;
mod python;
mod simulate;
mod test_run;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What every command gives: nothing, or one line that says what went wrong and what to do.
type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Chores of the Florin workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about, after_help = "Example: cargo xtask test --engine sqlite")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run every test, on SQLite and on a throw-away PostgreSQL.
    Test(test_run::Options),
    /// Simulate the commit queue and the store, with faults, from many seeds.
    Simulate(simulate::Options),
    /// Provoke everything that may fail, on real processes and in the simulator.
    Faults(faults::Options),
    /// Check the rules of the house: directions, migrations, sizes, names.
    Tidy,
    /// Measure the server: operations a second, latencies, ratios.
    Bench(bench::Options),
    /// Throw generated requests at a running server and compare its answers with its OpenAPI document.
    FuzzApi(fuzz_api::Options),
    /// Write `openapi/florin.json` from the code, or check that it is current.
    Openapi(openapi::Options),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    process::watch_for_interrupts();
    let result = match arguments.command {
        Command::Test(options) => test_run::run(&options),
        Command::Simulate(options) => simulate::run(&options),
        Command::Faults(options) => faults::run(&options),
        Command::Tidy => tidy::run(),
        Command::Bench(options) => bench::run(&options),
        Command::FuzzApi(options) => fuzz_api::run(&options),
        Command::Openapi(options) => openapi::run(&options),
    };
    result.unwrap_or_else(|error| {
        eprintln!("xtask: {error}");
        ExitCode::FAILURE
    })
}
