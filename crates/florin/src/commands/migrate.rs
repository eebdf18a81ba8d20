//! `florin migrate`: shows what is pending, asks when somebody is there to answer, applies it.

use std::{io::IsTerminal as _, process::ExitCode};

use clap::Args;
use florin_store::{EngineStatus, migrations::MIGRATIONS};

use crate::{
    config::{Config, Database},
    output::{Problem, is_confirmed, say},
    wiring,
};

const EXAMPLES: &str = "\
Examples:
  florin migrate --dry-run
  FLORIN_DATABASE_URL=postgres://florin@db/florin florin migrate --yes

Safe to run from several nodes at once. A database of a newer Florin is refused.";

/// What `florin migrate` takes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Show what is pending and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// Brings the schema up to date.
///
/// # Errors
/// The database cannot be opened, is foreign or newer, or a migration fails.
pub fn run(config: &Config, arguments: &Arguments) -> Result<ExitCode, Problem> {
    let named = |error| Problem::failed(format!("{}: {error}", config.database_shown));
    if arguments.dry_run {
        show(config, &dry_status(config)?);
        return Ok(ExitCode::SUCCESS);
    }
    wiring::prepare_data_dir(config)?;
    let engine = wiring::open_engine(config)?;
    let status = engine.status().map_err(named)?;
    show(config, &status);
    if status.pending.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    if !arguments.yes && std::io::stdin().is_terminal() && !is_confirmed("Apply them?")? {
        say("Nothing was changed.");
        return Ok(ExitCode::FAILURE);
    }
    let applied = engine.migrate().map_err(named)?;
    say(if applied.is_empty() { "Somebody else was faster: the schema is current." } else { "Applied:" });
    for name in applied {
        say(&format!("  {name}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// What is pending, without making or locking anything.
fn dry_status(config: &Config) -> Result<EngineStatus, Problem> {
    if matches!(&config.database, Database::Sqlite(path) if !path.exists()) {
        return Ok(EngineStatus { applied: 0, pending: MIGRATIONS.iter().map(|migration| migration.name).collect() });
    }
    let engine = wiring::open_existing(config)?;
    engine.status().map_err(|error| Problem::failed(format!("{}: {error}", config.database_shown)))
}

fn show(config: &Config, status: &EngineStatus) {
    say(&format!("{}: schema version {}", config.database_shown, status.applied));
    if status.pending.is_empty() {
        say("Nothing to do: the schema is current.");
        return;
    }
    say("Pending:");
    for name in &status.pending {
        say(&format!("  {name}"));
    }
}
