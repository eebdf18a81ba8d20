//! `florin restore`: a backup in the place of a SQLite database, proved before it counts.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use florin_app::{port::Clock as _, restored::end_everything_after_restore};
use florin_store::Engine as _;
use florin_store_sqlite::{
    copy::{beside, settle},
    in_place::{Kept, TargetLock, put_in_place},
};

use super::{
    backup::{Draft, copy_with_bar, is_same_file, is_there},
    restored::say_ended,
    verify,
};
use crate::{
    clock::SystemClock,
    config::{Config, Database},
    output::{Problem, say},
    rng::SystemRng,
    wiring,
};

const EXAMPLES: &str = "\
Examples:
  florin restore /var/backups/florin-2026-11-21.db
  florin restore --force /var/backups/florin-2026-11-21.db

Refuses while a server has the database. The copy is checked before it takes its place; what was there is kept beside
it. Everybody signs in again afterwards: a copy of an earlier moment has forgotten which sessions ended and which
tokens were used since. For PostgreSQL see docs/recovery.md and `florin restored`.";

/// What `florin restore` takes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The backup; it is not changed
    file: PathBuf,
    /// Take the place of a database that is there; that one is kept under another name
    #[arg(long)]
    force: bool,
}

/// Proves the backup and puts it in place.
///
/// # Errors
/// A server has the database, or it is there and `--force` is not; the backup cannot be read or its books are not
/// right.
pub fn run(config: &Config, arguments: &Arguments) -> Result<ExitCode, Problem> {
    let Database::Sqlite(target) = &config.database else {
        return Err(Problem::Usage(format!(
            "{} is not a SQLite database; restore PostgreSQL with its own tools, then run `florin restored`: see \
             docs/recovery.md",
            config.database_shown
        )));
    };
    let backup = &arguments.file;
    if !is_there(backup)? || !backup.is_file() {
        return Err(Problem::failed(format!("there is no backup {}", backup.display())));
    }
    if is_same_file(backup, target) {
        return Err(Problem::Usage(format!("{} is the database itself; name a backup", backup.display())));
    }
    wiring::prepare_data_dir(config)?;
    let lock = TargetLock::take(target)?;
    if is_there(target)? && !arguments.force {
        return Err(Problem::failed(format!(
            "{} is there already; --force takes its place and keeps it under another name",
            target.display()
        )));
    }
    let clock = SystemClock::start();
    let draft = Draft::at(beside(lock.path(), ".restoring"));
    copy_with_bar(backup, &draft.0)?;
    prepare(&draft.0, backup, &clock)?;
    settle(&draft.0)?;
    let kept = put_in_place(&lock, &draft.0, &format!(".before-restore-{}", clock.now_us().div_euclid(1_000_000)))?;
    say(&format!("{} is in the place of {}.", backup.display(), target.display()));
    say_kept(&kept, arguments.force);
    say(&format!(
        "Needed beside it: the master key that belongs to it ({}) and the settings.",
        wiring::master_key_place(config)
    ));
    Ok(ExitCode::SUCCESS)
}

/// Brings the copy's schema up to date, proves its books and ends its sessions: nothing is served before that.
fn prepare(draft: &Path, backup: &Path, clock: &SystemClock) -> Result<(), Problem> {
    let engine = wiring::open_file(draft, true)?;
    let applied = engine.migrate()?;
    if !applied.is_empty() {
        say(&format!("The schema was brought up to date: {}.", applied.join(", ")));
    }
    verify::check(&engine, &backup.display().to_string())?;
    say_ended(end_everything_after_restore(&engine, clock, &SystemRng)?);
    Ok(())
}

/// What was in the place. Who expects a database there, and none was, may have named the wrong place.
fn say_kept(kept: &Kept, forced: bool) {
    match &kept.database {
        Some(database) => say(&format!("What was there is kept as {}.", database.display())),
        None if forced => {
            say("Nothing was replaced: there was no database in that place. See that it is the right one.")
        }
        None => {}
    }
    for log in &kept.logs {
        say(&format!("What lay beside it is kept as {}.", log.display()));
    }
}
