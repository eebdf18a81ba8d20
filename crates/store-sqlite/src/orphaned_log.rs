//! A log whose database is gone: SQLite would throw it away, and begin a new database in that place.

use std::path::Path;

use florin_store::StoreError;

use crate::{copy::beside, in_place::length, lock_file::real_path};

/// Refuses a place where the log of a database is, and the database is not, or is empty.
///
/// A first start that is cut off leaves no such place: the file is made before anything that lies beside it, and its
/// first page is on disk before there is a write-ahead log. Only the journal of that page is beside an empty file.
///
/// # Errors
/// [`StoreError::Unavailable`], which says what to do about it. What cannot be looked at is left to whoever opens it.
pub fn refuse_orphaned_log(path: &Path) -> Result<(), StoreError> {
    let database = real_path(path);
    let look = |file: &Path| length(file).ok().flatten();
    let [log, journal] = ["-wal", "-journal"].map(|part| beside(&database, part));
    // The logs first: somebody may be making a database just now.
    let (logged, has_journal) = (look(&log), look(&journal).is_some());
    let (what, left) = match length(&database) {
        Ok(None) if logged.is_some() => ("missing", log),
        Ok(None) if has_journal => ("missing", journal),
        Ok(Some(0)) if logged.is_some_and(|bytes| bytes > 0) => ("empty", log),
        _ => return Ok(()),
    };
    Err(StoreError::Unavailable(format!(
        "{} is {what}, but its log {} is still there, with what was written last; put the database back beside its \
         log, restore a backup, or move the log away to begin without it",
        database.display(),
        left.display()
    )))
}
