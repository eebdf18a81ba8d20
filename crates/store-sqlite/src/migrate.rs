//! The schema: what is applied, and applying what is not.

use florin_store::{
    EngineStatus, StoreError,
    migrations::{AppliedMigration, Migration, checksum, newest, pending},
};
use rusqlite::{Connection, TransactionBehavior, params};

use crate::error::store_error;

/// Marks a file as Florin's: "FLRN".
const APPLICATION_ID: i32 = 0x464c_524e;

fn text_of(migration: &Migration) -> &'static str {
    migration.sqlite
}

/// Refuses a file that belongs to something else. A file without tables belongs to nobody.
pub(crate) fn check_owner(connection: &Connection) -> Result<(), StoreError> {
    if is_ours(connection)? || is_empty(connection)? { Ok(()) } else { Err(foreign()) }
}

/// Refuses what cannot be a copy of a database of Florin's, also a file without tables.
pub(crate) fn check_source(connection: &Connection) -> Result<(), StoreError> {
    if is_ours(connection)? {
        return Ok(());
    }
    if is_empty(connection)? {
        return Err(StoreError::Foreign("this database is empty: there is nothing of Florin's in it".to_owned()));
    }
    Err(foreign())
}

fn foreign() -> StoreError {
    StoreError::Foreign("this is a SQLite database, but not one of Florin's".to_owned())
}

fn application_id(connection: &Connection) -> Result<i32, StoreError> {
    connection.query_row("PRAGMA application_id", [], |row| row.get(0)).map_err(store_error)
}

fn is_ours(connection: &Connection) -> Result<bool, StoreError> {
    Ok(application_id(connection)? == APPLICATION_ID)
}

fn is_empty(connection: &Connection) -> Result<bool, StoreError> {
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0)).map_err(store_error)?;
    Ok(tables == 0 && application_id(connection)? == 0)
}

/// What the schema is.
pub(crate) fn status(connection: &Connection) -> Result<EngineStatus, StoreError> {
    let applied = applied(connection)?;
    let pending = pending(&applied, text_of)?;
    Ok(EngineStatus {
        applied: applied.last().map_or(0, |last| last.number),
        pending: pending.iter().map(|migration| migration.name).collect(),
    })
}

/// Applies what is pending, each migration in a transaction of its own. `BEGIN IMMEDIATE` keeps others out.
pub(crate) fn migrate(connection: &mut Connection) -> Result<Vec<&'static str>, StoreError> {
    let mut names = Vec::new();
    for _ in 0..=newest() {
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(store_error)?;
        let Some(migration) = pending(&applied(&tx)?, text_of)?.first() else { return Ok(names) };
        apply(&tx, migration)
            .map_err(|error| StoreError::Internal(format!("migration {} failed: {error}", migration.name)))?;
        tx.commit().map_err(store_error)?;
        names.push(migration.name);
    }
    Ok(names)
}

fn apply(connection: &Connection, migration: &Migration) -> rusqlite::Result<()> {
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS schema_migrations (
            number      INTEGER NOT NULL PRIMARY KEY,
            name        TEXT NOT NULL,
            checksum    TEXT NOT NULL,
            applied_at  INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID",
    )?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.execute_batch(migration.sqlite)?;
    connection.execute(
        "INSERT INTO schema_migrations (number, name, checksum, applied_at) \
         VALUES (?1, ?2, ?3, CAST(unixepoch('subsec') * 1000000 AS INTEGER))",
        params![migration.number, migration.name, checksum(migration.sqlite)],
    )?;
    Ok(())
}

fn applied(connection: &Connection) -> Result<Vec<AppliedMigration>, StoreError> {
    let is_new: bool = connection
        .query_row("SELECT count(*) = 0 FROM sqlite_master WHERE name = 'schema_migrations'", [], |row| row.get(0))
        .map_err(store_error)?;
    if is_new {
        return Ok(Vec::new());
    }
    let mut statement = connection
        .prepare("SELECT number, name, checksum FROM schema_migrations ORDER BY number")
        .map_err(store_error)?;
    let rows = statement
        .query_map([], |row| Ok(AppliedMigration { number: row.get(0)?, name: row.get(1)?, checksum: row.get(2)? }))
        .map_err(store_error)?;
    rows.collect::<Result<_, _>>().map_err(store_error)
}
