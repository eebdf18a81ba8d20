//! `florin backup`: a whole copy of a SQLite database, proved before it gets its name.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use florin_store::{Engine as _, StoreError};
use florin_store_sqlite::{
    copy::{CopyProgress, beside, copy_database, flush_folder},
    refuse_orphaned_log,
};
use indicatif::{ProgressBar, ProgressStyle};

use super::verify;
use crate::{
    config::{Config, Database},
    output::{Problem, say},
    wiring,
};

const EXAMPLES: &str = "\
Examples:
  florin backup /var/backups/florin-2026-11-21.db
  florin backup --force /var/backups/florin.db

Works beside a running server, and is of one moment: everything acknowledged before it began is in it. The copy is
flushed, its books are checked, and only then does it get its name. The master key is not in it: keep that elsewhere.
For PostgreSQL see docs/recovery.md.";

/// What `florin backup` takes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Where to write the copy
    file: PathBuf,
    /// Replace the file if it is there
    #[arg(long)]
    force: bool,
}

/// Writes and proves the copy.
///
/// # Errors
/// The database is no SQLite file or cannot be read, the copy cannot be written, is there already, or does not prove.
pub fn run(config: &Config, arguments: &Arguments) -> Result<ExitCode, Problem> {
    let Database::Sqlite(source) = &config.database else {
        return Err(Problem::Usage(format!(
            "{} is not a SQLite database; back PostgreSQL up with its own tools: see docs/recovery.md",
            config.database_shown
        )));
    };
    let target = &arguments.file;
    must_be_there(source)?;
    if is_same_file(source, target) {
        return Err(Problem::Usage(format!("{} is the database itself; name another file", target.display())));
    }
    if target.is_dir() {
        return Err(Problem::Usage(format!("{} is a folder; name a file", target.display())));
    }
    if is_there(target)? && !arguments.force {
        return Err(Problem::failed(format!("{} is there already; --force replaces it", target.display())));
    }
    refuse_logs_beside(target)?;
    let draft = Draft::at(beside(target, &format!(".{}.part", std::process::id())));
    copy_with_bar(source, &draft.0)?;
    prove(&draft.0, target)?;
    fs::rename(&draft.0, target)
        .map_err(|error| Problem::failed(format!("{} cannot be written: {error}", target.display())))?;
    flush_folder(target)?;
    say(&format!("{} is a copy of {}.", target.display(), config.database_shown));
    say(&format!(
        "Not in it: the master key ({}) and the settings. Keep both, but elsewhere: without the key, what is sealed in \
         the database cannot be opened.",
        wiring::master_key_place(config)
    ));
    Ok(ExitCode::SUCCESS)
}

/// A log that lies where the copy shall be belongs to another database: SQLite would read it into the copy.
fn refuse_logs_beside(target: &Path) -> Result<(), Problem> {
    for part in ["-wal", "-journal"] {
        let log = beside(target, part);
        if is_there(&log)? {
            return Err(Problem::failed(format!(
                "{} belongs to what was in the place of the copy, and would be read into it: move it away first",
                log.display()
            )));
        }
    }
    Ok(())
}

/// A file that is not finished: gone with this value, with everything that SQLite laid beside it.
pub struct Draft(pub PathBuf);

impl Draft {
    /// Nothing is left of an earlier one.
    pub fn at(path: PathBuf) -> Self {
        let draft = Self(path);
        draft.remove();
        draft
    }

    fn remove(&self) {
        for part in ["", "-wal", "-shm", "-journal", ".lock"] {
            let _ = fs::remove_file(beside(&self.0, part));
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Copies, and shows how far it is.
///
/// # Errors
/// Those of the copy.
pub fn copy_with_bar(from: &Path, to: &Path) -> Result<(), Problem> {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {human_pos} of {human_len} pages, {eta}") {
        bar.set_style(style);
    }
    let copied = copy_database(from, to, &mut |CopyProgress { done, total }| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    copied.map_err(|error| match error {
        StoreError::Unavailable(text) => Problem::failed(format!("no copy could be made: {text}")),
        other => other.into(),
    })
}

fn prove(draft: &Path, target: &Path) -> Result<(), Problem> {
    let engine = wiring::open_file(draft, false)?;
    let pending = engine.status()?.pending;
    if pending.is_empty() {
        return verify::check(&engine, &target.display().to_string());
    }
    say(&format!(
        "The file is sound. Its schema waits for {} migrations, so the books were not checked; `florin restore` \
         migrates and checks them.",
        pending.len()
    ));
    Ok(())
}

/// Whether there is something under this name.
///
/// # Errors
/// It cannot be found out, as in a folder that this user may not enter.
pub fn is_there(path: &Path) -> Result<bool, Problem> {
    path.try_exists().map_err(|error| Problem::failed(format!("{} cannot be looked at: {error}", path.display())))
}

/// Refuses a SQLite database that is not there.
///
/// # Errors
/// It is not, or its log is all that is left of it; whether it is cannot be found out.
pub fn must_be_there(database: &Path) -> Result<(), Problem> {
    if is_there(database)? {
        return Ok(());
    }
    refuse_orphaned_log(database)?;
    Err(Problem::failed(format!("there is no database {}", database.display())))
}

/// Whether both names lead to one file.
pub fn is_same_file(a: &Path, b: &Path) -> bool {
    let real = |path: &Path| fs::canonicalize(path).ok();
    real(a).is_some() && real(a) == real(b)
}
