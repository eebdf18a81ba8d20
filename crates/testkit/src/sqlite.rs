//! An SQLite database of a test's own, in a file.

use florin_store_sqlite::{SqliteEngine, SqliteOptions};
use tempfile::TempDir;

/// An engine on a new, empty file, `florin.db` in a folder that is deleted with its value.
///
/// # Panics
/// No folder or no file can be made: a test cannot go on.
#[must_use]
pub fn fresh_engine() -> (SqliteEngine, TempDir) {
    fresh_engine_with(SqliteOptions::default())
}

/// The same, opened so.
///
/// # Panics
/// As [`fresh_engine`].
#[must_use]
#[expect(clippy::unwrap_used, reason = "a test without its database cannot go on")]
pub fn fresh_engine_with(options: SqliteOptions) -> (SqliteEngine, TempDir) {
    let folder = TempDir::new().unwrap();
    let engine = SqliteEngine::open(&folder.path().join("florin.db"), options).unwrap();
    (engine, folder)
}
