//! A connection with its settings, its statements, and transactions that end however their work ends.

use std::{collections::HashMap, sync::Arc, time::Duration};

use florin_ledger::{AccountId, AccountMap};
use florin_store::{StoreError, Work};
use rusqlite::{Connection, OpenFlags};
use tracing::warn;

use crate::{
    engine::{Location, SqliteOptions},
    error::{commit_error, store_error},
    ledger::{
        batch::LedgerWriter,
        memory::{Held, Memory},
        view::Snapshot,
    },
    migrate::check_owner,
    tx::{Ledger, SqliteTx},
};

/// More than all statements of the repositories.
const STATEMENT_CACHE: usize = 512;

/// What a connection may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Read and write; creates the file.
    Write,
    /// Only read.
    Read,
    /// Only move the write-ahead log.
    Checkpoint,
}

/// One connection, with the texts of shared statements in SQLite's dialect.
pub(crate) struct Db {
    pub(crate) connection: Connection,
    texts: Texts,
}

impl Db {
    /// Opens a connection with its settings.
    pub(crate) fn open(location: &Location, access: Access, options: &SqliteOptions) -> Result<Self, StoreError> {
        let connection = match location {
            Location::Memory => Connection::open_in_memory(),
            Location::File(path) => {
                let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
                if access == Access::Write {
                    flags |= OpenFlags::SQLITE_OPEN_CREATE;
                }
                Connection::open_with_flags(path, flags)
            }
        }
        .map_err(store_error)?;
        connection.busy_timeout(Duration::from_millis(options.busy_timeout_ms)).map_err(store_error)?;
        // The first statement that touches the file: it says so when this is no database.
        check_owner(&connection)?;
        configure(&connection, access, options).map_err(store_error)?;
        if access == Access::Write && matches!(location, Location::File(_)) {
            keep_log(&connection)?;
        }
        Ok(Self { connection, texts: Texts::default() })
    }

    /// Runs `work` on one snapshot and changes nothing. `memory` is this process's, if it is the one that writes.
    pub(crate) fn read(&mut self, memory: Option<&Arc<Memory>>, work: Work<'_>) -> Result<(), StoreError> {
        let snapshot = Snapshot::before_begin(memory);
        let open = OpenTransaction::begin(&self.connection, "BEGIN DEFERRED")?;
        let mut tx = SqliteTx::new(&self.connection, &mut self.texts, Ledger::Reader(snapshot));
        let result = work(&mut tx).and_then(|()| tx.check());
        drop(open);
        result
    }

    /// Lets a connection that reads and writes do only one of them.
    pub(crate) fn set_query_only(&self, query_only: bool) -> Result<(), StoreError> {
        self.connection.pragma_update(None, "query_only", query_only).map_err(store_error)
    }

    /// These accounts as of now, with their places. Missing ones are left out.
    pub(crate) fn find_accounts(
        &mut self,
        memory: &Arc<Memory>,
        ids: &[AccountId],
    ) -> Result<AccountMap<Held>, StoreError> {
        let mut snapshot = Snapshot::before_begin(Some(memory));
        let _open = OpenTransaction::begin(&self.connection, "BEGIN DEFERRED")?;
        snapshot.find_accounts(&self.connection, ids)
    }

    /// Runs `work` and commits it; rolls back when it fails. What `ledger` has staged counts from the commit on.
    pub(crate) fn write(
        &mut self,
        ledger: &mut LedgerWriter,
        work: impl FnOnce(&mut SqliteTx<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let staged = StagedLedger(ledger);
        let open = OpenTransaction::begin(&self.connection, "BEGIN IMMEDIATE")?;
        let mut tx = SqliteTx::new(&self.connection, &mut self.texts, Ledger::Writer(&mut *staged.0));
        work(&mut tx)?;
        tx.check()?;
        drop(tx);
        match open.commit() {
            Ok(()) => staged.0.publish(),
            Err(StoreError::OutcomeUnknown(cause)) => {
                staged.0.forget();
                return Err(StoreError::OutcomeUnknown(cause));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// Discards what a transaction has staged and not published, also when its work panics.
struct StagedLedger<'l>(&'l mut LedgerWriter);

impl Drop for StagedLedger<'_> {
    fn drop(&mut self) {
        self.0.discard();
    }
}

fn configure(connection: &Connection, access: Access, options: &SqliteOptions) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", false)?;
    let cache_size_kib = if access == Access::Write { options.cache_size_kib } else { options.read_cache_size_kib };
    connection.pragma_update(None, "cache_size", -cache_size_kib)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)?;
    // In memory this one answers nothing, in a file it does.
    connection.execute_batch(&format!("PRAGMA mmap_size = {}", options.mmap_size_bytes))?;
    connection.pragma_update_and_check(None, "wal_autocheckpoint", 50_000, |_| Ok(()))?;
    if access == Access::Read {
        connection.pragma_update(None, "query_only", true)?;
    }
    Ok(())
}

/// Chooses the write-ahead log, without which readers would wait for the writer.
fn keep_log(connection: &Connection) -> Result<(), StoreError> {
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0)).map_err(store_error)?;
    if mode == "wal" {
        return Ok(());
    }
    Err(StoreError::Unavailable(format!("no write-ahead log can be kept on this file system (journal mode {mode})")))
}

/// A transaction that rolls back unless it is committed, also when its work panics.
struct OpenTransaction<'c> {
    connection: &'c Connection,
}

impl<'c> OpenTransaction<'c> {
    fn begin(connection: &'c Connection, statement: &str) -> Result<Self, StoreError> {
        let open = Self { connection };
        open.roll_back();
        connection.prepare_cached(statement).and_then(|mut begin| begin.execute([])).map_err(store_error)?;
        Ok(open)
    }

    fn commit(self) -> Result<(), StoreError> {
        let result = self.connection.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([]));
        // When it failed, `drop` rolls back what SQLite may have left open.
        result.map(|_| ()).map_err(commit_error)
    }

    fn roll_back(&self) {
        if self.connection.is_autocommit() {
            return;
        }
        let result = self.connection.prepare_cached("ROLLBACK").and_then(|mut rollback| rollback.execute([]));
        if let Err(error) = result {
            warn!(%error, "a transaction could not be rolled back");
        }
    }
}

impl Drop for OpenTransaction<'_> {
    fn drop(&mut self) {
        self.roll_back();
    }
}

/// Shared statements (`$1`) as SQLite numbers their parameters (`?1`), by the text's place in the binary.
#[derive(Debug, Default)]
pub(crate) struct Texts(HashMap<(usize, usize), Arc<str>>);

impl Texts {
    pub(crate) fn of(&mut self, sql: &'static str) -> Arc<str> {
        let place = (sql.as_ptr().addr(), sql.len());
        Arc::clone(self.0.entry(place).or_insert_with(|| numbered(sql).into()))
    }
}

/// `$1` names a parameter in SQLite, `?1` numbers it. Texts in quotes are left alone.
fn numbered(sql: &str) -> String {
    let mut quoted = false;
    let mut numbered = String::with_capacity(sql.len());
    let mut characters = sql.chars().peekable();
    while let Some(character) = characters.next() {
        if character == '\'' {
            quoted = !quoted;
        }
        let is_parameter = !quoted && character == '$' && characters.peek().is_some_and(char::is_ascii_digit);
        numbered.push(if is_parameter { '?' } else { character });
    }
    numbered
}

#[cfg(test)]
mod tests {
    use super::numbered;

    #[test]
    fn parameters_are_numbered_and_quotes_left_alone() {
        assert_eq!(numbered("a = $1 AND b = $12"), "a = ?1 AND b = ?12");
        assert_eq!(numbered("a = '$1 it''s $2' AND $2 = $x"), "a = '$1 it''s $2' AND ?2 = $x");
    }
}
