//! Whole copies of a database file, taken beside a running server.

use std::{
    ffi::OsString,
    fs::File,
    path::{Path, PathBuf},
    time::Duration,
};

use florin_store::StoreError;
use rusqlite::{
    Connection, OpenFlags,
    backup::{Backup, StepResult},
    config::DbConfig,
    ffi,
};

use crate::{
    engine::create_private, error::store_error, lock_file::folder_of, migrate::check_source,
    orphaned_log::refuse_orphaned_log,
};

/// Pages copied between two reports of progress: 16 MiB.
const STEP_PAGES: i32 = 4_096;
/// How long another process may hold the file.
const BUSY: Duration = Duration::from_secs(5);

/// How far a copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyProgress {
    /// Pages copied.
    pub done: u64,
    /// Pages to copy in all.
    pub total: u64,
}

/// Copies the database at `from`, as it is at this moment, into a new file at `to` that only its owner can read. A
/// server may write to `from` meanwhile: the copy is of one snapshot. `to` is flushed to disk and needs no log beside
/// it.
///
/// # Errors
/// [`StoreError::Foreign`] when `from` is no database, empty, or not Florin's; [`StoreError::Inconsistent`] when the
/// copy does not hold together; [`StoreError::Unavailable`] when a file cannot be read or written,
/// or only the log of `from` is left.
pub fn copy_database(from: &Path, to: &Path, progress: &mut dyn FnMut(CopyProgress)) -> Result<(), StoreError> {
    refuse_orphaned_log(from)?;
    let source = open(from).map_err(named(from))?;
    check_source(&source).map_err(named(from))?;
    create_private(to)?;
    let written = copy_into(&source, to, progress);
    let place = format!("{} to {}", from.display(), to.display());
    written.and_then(|()| flush(to)).map_err(said_before(place))
}

fn copy_into(source: &Connection, to: &Path, progress: &mut dyn FnMut(CopyProgress)) -> Result<(), StoreError> {
    let mut target = open(to)?;
    // The file is flushed once, as a whole.
    target.pragma_update(None, "synchronous", "OFF").map_err(store_error)?;
    // The open read pins the snapshot: without it a copy starts over with every commit of the server.
    source.execute_batch("BEGIN").map_err(store_error)?;
    let snapshot = source.query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(()));
    let copied = snapshot.and_then(|()| copy_pages(source, &mut target, progress));
    source.execute_batch("ROLLBACK").map_err(store_error)?;
    copied.map_err(store_error)?;
    // One file, without a log beside it; a server that opens it chooses its log again.
    target.pragma_update_and_check(None, "journal_mode", "delete", |_| Ok(())).map_err(store_error)?;
    let found: String = target.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(store_error)?;
    if found == "ok" { Ok(()) } else { Err(StoreError::Inconsistent(found)) }
}

fn copy_pages(
    source: &Connection,
    target: &mut Connection,
    progress: &mut dyn FnMut(CopyProgress),
) -> rusqlite::Result<()> {
    let backup = Backup::new(source, target)?;
    loop {
        let step = backup.step(STEP_PAGES)?;
        let count = |pages: i32| u64::try_from(pages).unwrap_or_default();
        let now = backup.progress();
        progress(CopyProgress { done: count(now.pagecount - now.remaining), total: count(now.pagecount) });
        match step {
            StepResult::Done => return Ok(()),
            StepResult::More => {}
            // Both files are ours to read and write; SQLite has waited for others already.
            _ => return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_BUSY), None)),
        }
    }
}

/// Makes a database that nobody uses one flushed file, without a log beside it.
///
/// # Errors
/// [`StoreError::Unavailable`] when another process uses it, or it cannot be written.
pub fn settle(path: &Path) -> Result<(), StoreError> {
    empty_log(path)?;
    flush(path)
}

/// Moves the log into the database and removes it.
pub(crate) fn empty_log(path: &Path) -> Result<(), StoreError> {
    let connection = open(path)?;
    // A log that cannot be moved stays: to close the file would throw it away.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(store_error)?;
    let mode: String = connection
        .pragma_update_and_check(None, "journal_mode", "delete", |row| row.get(0))
        .map_err(store_error)
        .map_err(named(path))?;
    if mode == "delete" {
        return Ok(());
    }
    Err(StoreError::Unavailable(format!("{} is in use by another process", path.display())))
}

fn open(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(store_error)?;
    connection.busy_timeout(BUSY).map_err(store_error)?;
    Ok(connection)
}

/// Forces a file, and its name in its folder, to disk.
fn flush(path: &Path) -> Result<(), StoreError> {
    let flushed = File::options().write(true).open(path).and_then(|file| file.sync_all());
    flushed.map_err(|error| StoreError::Unavailable(error.to_string()))?;
    flush_folder(path)
}

/// Forces the names in the folder of `path` to disk.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub fn flush_folder(path: &Path) -> Result<(), StoreError> {
    let folder = folder_of(path);
    let flushed = File::open(folder).and_then(|folder| folder.sync_all());
    flushed.map_err(|error| StoreError::Unavailable(format!("{}: {error}", folder.display())))
}

/// `florin.db` with something behind its name.
#[must_use]
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

fn named(path: &Path) -> impl Fn(StoreError) -> StoreError {
    said_before(path.display().to_string())
}

/// Puts `place` in front of what an error says.
fn said_before(place: String) -> impl Fn(StoreError) -> StoreError {
    move |error| match error {
        StoreError::Foreign(text) => StoreError::Foreign(format!("{place}: {text}")),
        StoreError::Unavailable(text) => StoreError::Unavailable(format!("{place}: {text}")),
        StoreError::Inconsistent(text) => StoreError::Inconsistent(format!("{place}: {text}")),
        StoreError::Internal(text) => StoreError::Internal(format!("{place}: {text}")),
        other => other,
    }
}
