//! Failed sign-ins, counted by name.

use florin_identity::{FORGET_AFTER_US, FORGET_FEW_AFTER_US, FREE_FAILURES, Failures};
use florin_ledger::bucket_of;
use uuid::Uuid;

use crate::{StoreError, Tx, Value};

const FIND: &str = "SELECT failures, failed_at FROM sign_in_failures WHERE bucket = $1 AND id = $2";
// Changes nothing: it takes the row's lock on engines that lock rows.
const LOCK: &str = "UPDATE sign_in_failures SET failures = failures WHERE bucket = $1 AND id = $2";
// As above, and makes the row where there is none.
const LOCK_OR_OPEN: &str = "INSERT INTO sign_in_failures (bucket, id, failures, failed_at) VALUES ($1, $2, 0, $3) \
    ON CONFLICT (bucket, id) DO UPDATE SET failures = sign_in_failures.failures";
const COUNT: &str = "UPDATE sign_in_failures SET failures = $1, failed_at = $2 WHERE bucket = $3 AND id = $4";
const FORGET: &str = "DELETE FROM sign_in_failures WHERE bucket = $1 AND id = $2";
const DELETE_OLD: &str = "DELETE FROM sign_in_failures WHERE (bucket, id) IN (SELECT bucket, id \
    FROM sign_in_failures WHERE failed_at < $1 AND (failures < $2 OR failed_at < $3) ORDER BY failed_at LIMIT $4)";

/// The failures under this name.
///
/// # Errors
/// Those of the engine.
pub fn find_failures(tx: &mut dyn Tx, id: Uuid) -> Result<Failures, StoreError> {
    let rows = tx.query(FIND, &[bucket(id), Value::Uuid(id)])?;
    let Some(row) = rows.first() else { return Ok(Failures::default()) };
    Ok(Failures { count: u32::try_from(row.get_int(0)?).unwrap_or(u32::MAX), last_at_us: row.get_time(1)? })
}

/// As [`find_failures`], and nobody else changes them until the transaction ends, if there were any.
///
/// # Errors
/// Those of the engine.
pub fn lock_failures(tx: &mut dyn Tx, id: Uuid) -> Result<Failures, StoreError> {
    if tx.execute(LOCK, &[bucket(id), Value::Uuid(id)])? == 0 {
        return Ok(Failures::default());
    }
    find_failures(tx, id)
}

/// As [`lock_failures`], to be followed by [`set_failures`]: also the first failure is nobody else's meanwhile.
///
/// # Errors
/// Those of the engine.
pub fn lock_or_open_failures(tx: &mut dyn Tx, id: Uuid, now_us: i64) -> Result<Failures, StoreError> {
    tx.execute(LOCK_OR_OPEN, &[bucket(id), Value::Uuid(id), Value::Time(now_us)])?;
    find_failures(tx, id)
}

/// Writes the failures of a row that [`lock_or_open_failures`] locked.
///
/// # Errors
/// Those of the engine.
pub fn set_failures(tx: &mut dyn Tx, id: Uuid, failures: Failures) -> Result<(), StoreError> {
    let count = Value::Int(i64::from(failures.count));
    tx.execute(COUNT, &[count, Value::Time(failures.last_at_us), bucket(id), Value::Uuid(id)]).map(drop)
}

/// Forgets the failures under this name.
///
/// # Errors
/// Those of the engine.
pub fn forget_failures(tx: &mut dyn Tx, id: Uuid) -> Result<(), StoreError> {
    tx.execute(FORGET, &[bucket(id), Value::Uuid(id)]).map(drop)
}

/// Deletes up to `limit` counters that are forgotten at `now_us`; gives how many it deleted.
///
/// # Errors
/// Those of the engine.
pub fn delete_old_failures(tx: &mut dyn Tx, now_us: i64, limit: u32) -> Result<u64, StoreError> {
    let params = [
        Value::Time(now_us.saturating_sub(FORGET_FEW_AFTER_US)),
        Value::Int(i64::from(FREE_FAILURES)),
        Value::Time(now_us.saturating_sub(FORGET_AFTER_US)),
        Value::Int(i64::from(limit)),
    ];
    tx.execute(DELETE_OLD, &params)
}

fn bucket(id: Uuid) -> Value {
    Value::Int(i64::from(bucket_of(id)))
}
