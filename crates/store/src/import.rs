//! Imports: files of commands, how far they were worked on, and the rows that were refused.

use florin_ledger::{IdempotencyKey, bucket_of};
use uuid::Uuid;

use crate::{
    Row, StoreError, Tx, Value,
    request_answer::{claim_key, set_answer},
};

/// Where an import stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportState {
    /// There are rows left.
    Running,
    /// Every row was applied or refused.
    Done,
    /// It cannot go on; its failure says why.
    Failed,
}

impl ImportState {
    /// The name kept in storage and shown on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    fn from_name(name: &str) -> Result<Self, StoreError> {
        [Self::Running, Self::Done, Self::Failed]
            .into_iter()
            .find(|state| state.as_str() == name)
            .ok_or_else(|| StoreError::Inconsistent("imports.state holds no state".to_owned()))
    }
}

/// A row of `imports`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportRow {
    /// Its id, time-ordered.
    pub id: Uuid,
    /// Who asked for it.
    pub actor_id: Uuid,
    /// The number of the node that holds the file.
    pub node: u16,
    /// What the client calls the file; may be empty.
    pub name: String,
    /// `csv` or `jsonl`.
    pub format: String,
    /// SHA-256 of the file.
    pub sha256: [u8; 32],
    /// Size of the file, bytes.
    pub size_bytes: i64,
    /// Where it stands.
    pub state: ImportState,
    /// Why it cannot go on.
    pub failure: Option<String>,
    /// How far it was worked on.
    pub progress: Progress,
    /// Microseconds since the Unix epoch, UTC.
    pub created_at_us: i64,
    /// Microseconds since the Unix epoch, UTC.
    pub updated_at_us: i64,
}

/// How far an import was worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// The first byte of the file that was not worked on yet.
    pub position: i64,
    /// The number of that byte's line, from 1.
    pub line: i64,
    /// Rows applied.
    pub applied: i64,
    /// Rows refused.
    pub refused: i64,
}

const COLUMNS_OF_IMPORTS: usize = 15;

fn import_from_row(row: &Row) -> Result<ImportRow, StoreError> {
    debug_assert_eq!(row.0.len(), COLUMNS_OF_IMPORTS);
    let node = u16::try_from(row.get_int(2)?)
        .map_err(|_| StoreError::Inconsistent("imports.node is out of range".to_owned()))?;
    Ok(ImportRow {
        id: row.get_uuid(0)?,
        actor_id: row.get_uuid(1)?,
        node,
        name: row.get_text(3)?,
        format: row.get_text(4)?,
        sha256: row.get_array(5)?,
        size_bytes: row.get_int(6)?,
        state: ImportState::from_name(&row.get_text(7)?)?,
        failure: row.find_text(8)?,
        progress: Progress {
            position: row.get_int(9)?,
            line: row.get_int(10)?,
            applied: row.get_int(11)?,
            refused: row.get_int(12)?,
        },
        created_at_us: row.get_time(13)?,
        updated_at_us: row.get_time(14)?,
    })
}

/// Enters a new import.
///
/// # Errors
/// [`StoreError::Duplicate`] when the id is taken.
pub fn insert_import(tx: &mut dyn Tx, import: &ImportRow) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO imports (bucket, id, actor_id, node, name, format, sha256, size_bytes, state, failure, position, \
         line, applied, refused, created_at, updated_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
        &[
            Value::Int(i64::from(bucket_of(import.id))),
            Value::Uuid(import.id),
            Value::Uuid(import.actor_id),
            Value::Int(i64::from(import.node)),
            Value::Text(import.name.clone()),
            Value::Text(import.format.clone()),
            Value::Bytes(import.sha256.to_vec()),
            Value::Int(import.size_bytes),
            Value::Text(import.state.as_str().to_owned()),
            Value::or_null(import.failure.clone(), Value::Text),
            Value::Int(import.progress.position),
            Value::Int(import.progress.line),
            Value::Int(import.progress.applied),
            Value::Int(import.progress.refused),
            Value::Time(import.created_at_us),
            Value::Time(import.updated_at_us),
        ],
    )?;
    Ok(())
}

/// The import with this id, if there is one.
///
/// # Errors
/// Those of the engine.
pub fn find_import(tx: &mut dyn Tx, id: Uuid) -> Result<Option<ImportRow>, StoreError> {
    let rows = tx.query(
        "SELECT id, actor_id, node, name, format, sha256, size_bytes, state, failure, position, line, applied, \
         refused, created_at, updated_at FROM imports WHERE bucket = $1 AND id = $2",
        &[Value::Int(i64::from(bucket_of(id))), Value::Uuid(id)],
    )?;
    rows.first().map(import_from_row).transpose()
}

/// A page of imports, newest first, before `(created_at, id)`.
///
/// # Errors
/// Those of the engine.
pub fn list_imports(tx: &mut dyn Tx, before: Option<(i64, Uuid)>, limit: u16) -> Result<Vec<ImportRow>, StoreError> {
    let (time_us, id) = before.unwrap_or((LAST_TIME_US, Uuid::max()));
    let rows = tx.query(
        "SELECT id, actor_id, node, name, format, sha256, size_bytes, state, failure, position, line, applied, \
         refused, created_at, updated_at FROM imports WHERE (created_at, id) < ($1, $2) \
         ORDER BY created_at DESC, id DESC LIMIT $3",
        &[Value::Time(time_us), Value::Uuid(id), Value::Int(i64::from(limit))],
    )?;
    rows.iter().map(import_from_row).collect()
}

/// The end of the year 9999.
const LAST_TIME_US: i64 = 253_402_300_799_999_999;

/// The imports of a node that have rows left, oldest first.
///
/// # Errors
/// Those of the engine.
pub fn list_running(tx: &mut dyn Tx, node: u16) -> Result<Vec<ImportRow>, StoreError> {
    let rows = tx.query(
        "SELECT id, actor_id, node, name, format, sha256, size_bytes, state, failure, position, line, applied, \
         refused, created_at, updated_at FROM imports WHERE node = $1 AND state = 'running' ORDER BY created_at, id",
        &[Value::Int(i64::from(node))],
    )?;
    rows.iter().map(import_from_row).collect()
}

/// What the digests of files are keys of.
const FILES: Uuid = Uuid::from_u128(0x1_4907_f17e);

/// The newest import of a file with this digest, if there is one. Of two that look and then enter what they did not
/// find, the second waits here until the first one's database transaction ends, and finds what that one entered.
///
/// # Errors
/// Those of the engine.
pub fn lock_by_digest(tx: &mut dyn Tx, sha256: [u8; 32], now_us: i64) -> Result<Option<ImportRow>, StoreError> {
    let text = sha256.iter().map(|byte| format!("{byte:02x}")).collect();
    let key = IdempotencyKey { scope: FILES, resource: FILES, key: text, fingerprint: sha256 };
    claim_key(tx, &key, now_us)?;
    // It says nothing, but locks the row, also where it was there before.
    set_answer(tx, &key, 0, &[])?;
    find_by_digest(tx, sha256)
}

/// The newest import of a file with this digest, if there is one.
///
/// # Errors
/// Those of the engine.
pub fn find_by_digest(tx: &mut dyn Tx, sha256: [u8; 32]) -> Result<Option<ImportRow>, StoreError> {
    let rows = tx.query(
        "SELECT id, actor_id, node, name, format, sha256, size_bytes, state, failure, position, line, applied, \
         refused, created_at, updated_at FROM imports WHERE sha256 = $1 ORDER BY created_at DESC, id DESC LIMIT 1",
        &[Value::Bytes(sha256.to_vec())],
    )?;
    rows.first().map(import_from_row).transpose()
}

/// Moves a running import on from `from`, unless it is somewhere else by now. The row stays locked until the database
/// transaction ends, so of two workers one gets false.
///
/// # Errors
/// Those of the engine.
pub fn advance(
    tx: &mut dyn Tx,
    id: Uuid,
    from: i64,
    to: (i64, i64),
    is_last: bool,
    now_us: i64,
) -> Result<bool, StoreError> {
    let state = if is_last { ImportState::Done } else { ImportState::Running };
    let changed = tx.execute(
        "UPDATE imports SET position = $4, line = $5, state = $6, updated_at = $7 \
         WHERE bucket = $1 AND id = $2 AND position = $3 AND state = 'running'",
        &[
            Value::Int(i64::from(bucket_of(id))),
            Value::Uuid(id),
            Value::Int(from),
            Value::Int(to.0),
            Value::Int(to.1),
            Value::Text(state.as_str().to_owned()),
            Value::Time(now_us),
        ],
    )?;
    Ok(changed == 1)
}

/// Counts the rows of a chunk, and keeps those that were refused: `refusals` is their JSON text, empty for none, and
/// `line` the number of the chunk's first line.
///
/// # Errors
/// Those of the engine.
pub fn count_rows(
    tx: &mut dyn Tx,
    id: Uuid,
    line: i64,
    (applied, refused): (i64, i64),
    refusals: &str,
) -> Result<(), StoreError> {
    let bucket = Value::Int(i64::from(bucket_of(id)));
    tx.execute(
        "UPDATE imports SET applied = applied + $3, refused = refused + $4 WHERE bucket = $1 AND id = $2",
        &[bucket.clone(), Value::Uuid(id), Value::Int(applied), Value::Int(refused)],
    )?;
    if !refusals.is_empty() {
        tx.execute(
            "INSERT INTO import_refusals (bucket, import_id, line, refusals) VALUES ($1, $2, $3, $4)",
            &[bucket, Value::Uuid(id), Value::Int(line), Value::Text(refusals.to_owned())],
        )?;
    }
    Ok(())
}

/// Ends an import that cannot go on.
///
/// # Errors
/// Those of the engine.
pub fn fail_import(tx: &mut dyn Tx, id: Uuid, failure: &str, now_us: i64) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE imports SET state = 'failed', failure = $3, updated_at = $4 \
         WHERE bucket = $1 AND id = $2 AND state = 'running'",
        &[Value::Int(i64::from(bucket_of(id))), Value::Uuid(id), Value::Text(failure.to_owned()), Value::Time(now_us)],
    )?;
    Ok(())
}

/// The next chunk with refused rows after `after_line`: its line and its refusals' JSON text.
///
/// # Errors
/// Those of the engine.
pub fn find_refusals(tx: &mut dyn Tx, id: Uuid, after_line: i64) -> Result<Option<(i64, String)>, StoreError> {
    let rows = tx.query(
        "SELECT line, refusals FROM import_refusals WHERE bucket = $1 AND import_id = $2 AND line > $3 \
         ORDER BY line LIMIT 1",
        &[Value::Int(i64::from(bucket_of(id))), Value::Uuid(id), Value::Int(after_line)],
    )?;
    rows.first().map(|row| Ok((row.get_int(0)?, row.get_text(1)?))).transpose()
}
