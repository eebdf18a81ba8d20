//! `florin verify`: are the books right?

use std::process::ExitCode;

use clap::Args;
use florin_store::Engine;
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
    check(engine.as_ref(), &config.database_shown)?;
    Ok(ExitCode::SUCCESS)
}

/// Checks the books of `engine`, shown under this name, and says what was found.
///
/// # Errors
/// The database cannot be read, or the books are not right.
pub fn check(engine: &dyn Engine, shown: &str) -> Result<(), Problem> {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {human_pos} rows, {per_sec}, {elapsed}") {
        bar.set_style(style);
    }
    let report = florin_store::verify::verify(engine, &mut |rows| bar.set_position(rows));
    bar.finish_and_clear();
    let report = report.map_err(|error| Problem::failed(format!("{shown}: {error}")))?;
    say(&format!(
        "{shown}: {} transactions, {} postings, {} accounts, {} batches",
        report.transactions, report.postings, report.accounts, report.batches
    ));
    if let Some(place) = report.divergence {
        return Err(Problem::failed(format!("the books diverge: {place}")));
    }
    say("The books are right.");
    Ok(())
}
