//! `florin restored`: the rule after a restore that was made by other means than `florin restore`.

use std::{io::IsTerminal as _, process::ExitCode};

use clap::Args;
use florin_app::restored::end_everything_after_restore;
use florin_store::{Engine, restored::Ended};

use super::verify;
use crate::{
    clock::SystemClock,
    config::Config,
    output::{Problem, is_confirmed, say},
    rng::SystemRng,
    wiring,
};

const EXAMPLES: &str = "\
Examples:
  FLORIN_DATABASE_URL=postgres://florin@db/florin florin restored
  florin restored --yes

For a database that was put back to an earlier moment: PostgreSQL from a base backup or a dump, a standby that was
promoted without having everything, a SQLite file copied back by hand. Run it before the first node starts. It checks
the books, ends every session and revokes the keys that sign access tokens. `florin restore` does it by itself.";

/// What `florin restored` takes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// Proves the books and ends every session.
///
/// # Errors
/// The database cannot be used, waits for `florin migrate`, or its books are not right.
pub fn run(config: &Config, arguments: &Arguments) -> Result<ExitCode, Problem> {
    // Opened to be read first: that refuses a file that is not there, and makes none.
    refuse_empty(config, wiring::open_existing(config)?.as_ref())?;
    let engine = wiring::open_engine(config)?;
    wiring::prepare_schema(config, engine.as_ref(), config.migrate_on_start)?;
    if !arguments.yes && std::io::stdin().is_terminal() {
        say(&format!("{}: everybody will have to sign in again.", config.database_shown));
        if !is_confirmed("End every session?")? {
            say("Nothing was changed.");
            return Ok(ExitCode::FAILURE);
        }
    }
    verify::check(engine.as_ref(), &config.database_shown)?;
    say_ended(end_everything_after_restore(engine.as_ref(), &SystemClock::start(), &SystemRng)?);
    if !wiring::is_embedded(engine.as_ref()) {
        say("Nodes that run now take this over within about a second: tokens that were given out before are refused. \
             If the database was changed beneath their open connections, start them again: they remember balances of \
             the time that was lost.");
    }
    Ok(ExitCode::SUCCESS)
}

/// A database without a schema is none that was put back: a new ledger's books would be right, and empty.
fn refuse_empty(config: &Config, engine: &dyn Engine) -> Result<(), Problem> {
    let status = engine.status().map_err(|error| Problem::failed(format!("{}: {error}", config.database_shown)))?;
    if status.applied > 0 {
        return Ok(());
    }
    Err(Problem::failed(format!(
        "{} is empty: there is nothing of Florin's in it; put the backup in its place first",
        config.database_shown
    )))
}

/// What was ended, for people.
pub fn say_ended(ended: Ended) {
    say(&format!(
        "Ended {} sessions and revoked {} signing keys: everybody signs in again.",
        ended.sessions, ended.signing_keys
    ));
}
