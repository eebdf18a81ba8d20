//! `florin`: the wallet platform as one program. Configuration, wiring, telemetry and commands; no rules.

mod background;
mod cli;
mod clock;
mod commands;
mod config;
mod key_request;
mod output;
mod rng;
mod serve;
mod telemetry;
mod wiring;

use std::process::ExitCode;

/// Many small allocations on many threads are this program's load; the system's allocator is slower at it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match cli::run() {
        Ok(code) => code,
        Err(problem) => problem.report(),
    }
}
