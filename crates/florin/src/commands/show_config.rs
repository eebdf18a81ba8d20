//! `florin config`: every setting, its value and where it comes from.

use std::process::ExitCode;

use clap::Args;

use crate::{
    config::{Values, printout},
    output::{Problem, say},
};

const EXAMPLES: &str = "\
Examples:
  florin config
  FLORIN_LISTEN=127.0.0.1:9000 florin config --config /etc/florin.toml
  florin config --markdown > docs/configuration.md

Settings that differ from the defaults are marked with *. Secrets are masked.";

/// What `florin config` takes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Print the documentation of every setting instead of the values
    #[arg(long)]
    pub markdown: bool,
}

/// Prints the values.
///
/// # Errors
/// None but a defect in the table of options.
pub fn run(values: &Values) -> Result<ExitCode, Problem> {
    say(printout(values)?.trim_end());
    Ok(ExitCode::SUCCESS)
}
