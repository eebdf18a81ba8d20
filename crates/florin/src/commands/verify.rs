//! `florin verify`: are the books right?

use std::process::ExitCode;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    config::Config,
    output::{Problem, say},
    wiring,
};

const EXAMPLES: &str = "\
Examples:
  florin verify
  florin verify --database-url sqlite:/var/backups/florin.db

Reads the whole database, also while a server uses it: every transaction balances, every running balance follows from
the postings, every hash follows from the one before. Exit code 1 and the first divergence when something does not.";

/// What `florin verify` takes: nothing but the settings.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {}

/// Checks the books.
///
/// # Errors
/// The database cannot be read.
pub fn run(config: &Config) -> Result<ExitCode, Problem> {
    let engine = wiring::open_existing(config)?;
    wiring::prepare_schema(config, engine.as_ref(), false)?;
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {human_pos} rows, {per_sec}, {elapsed}") {
        bar.set_style(style);
    }
    let report = florin_store::verify::verify(engine.as_ref(), &mut |rows| bar.set_position(rows));
    bar.finish_and_clear();
    let report = report.map_err(|error| Problem::failed(format!("{}: {error}", config.database_shown)))?;
    say(&format!(
        "{}: {} transactions, {} postings, {} accounts, {} batches",
        config.database_shown, report.transactions, report.postings, report.accounts, report.batches
    ));
    match report.divergence {
        None => {
            say("The books are right.");
            Ok(ExitCode::SUCCESS)
        }
        Some(place) => Err(Problem::failed(format!("the books diverge: {place}"))),
    }
}
