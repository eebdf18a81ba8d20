//! `cargo xtask openapi`: the checked-in OpenAPI document, written from the code or compared with it.

use std::process::ExitCode;

use clap::Args;

use crate::Outcome;
use crate::process::{self, cargo};

const DOCUMENT: &str = "openapi/florin.json";

/// What `cargo xtask openapi` takes.
#[derive(Debug, Args)]
pub struct Options {
    /// Change nothing; fail when the document differs from the code.
    #[arg(long)]
    check: bool,
}

/// Asks the binary for its document.
///
/// # Errors
/// When cargo cannot be started.
pub fn run(options: &Options) -> Outcome<ExitCode> {
    let flag = if options.check { "--check" } else { "--output" };
    let status =
        process::run(cargo().args(["run", "--quiet", "--package", "florin", "--", "openapi", flag, DOCUMENT]))?;
    if !status.success() && options.check {
        eprintln!("xtask: {DOCUMENT} is not what the code says; run: cargo xtask openapi");
    }
    Ok(process::exit_code(status))
}
