//! Answers to whole requests, kept beside their idempotency key and given again.

use florin_ledger::{IdempotencyKey, bucket_of};

use crate::{Row, StoreError, Tx, Value};

/// An answer that was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestAnswer {
    /// SHA-256 of the request that it was given to.
    pub fingerprint: [u8; 32],
    /// The HTTP status of an answer whose body is kept as it was sent, or [`MADE_AGAIN`].
    pub status: u16,
    /// The body, or what it is made of.
    pub kept: Vec<u8>,
}

/// Instead of a status: what is kept is what the answer is made of.
pub const MADE_AGAIN: u16 = 0;

/// The table's columns, as [`row_of`] has them.
pub(crate) const COLUMNS: &str = "bucket, scope, key, fingerprint, status, kept, created_at";

pub(crate) const SELECT_ANSWER: &str =
    "SELECT fingerprint, status, kept FROM request_answers WHERE bucket = $1 AND scope = $2 AND key = $3";

/// Claims the key for this database transaction; gives the earlier answer if there is one. For who must know before
/// anything else; who can take back what was done asks [`Tx::find_request_answers`] and [`Tx::keep_request_answers`].
///
/// Who claims second waits for the first one's commit, then finds its answer: so two equal requests have one effect,
/// on any number of nodes. After a claim, [`set_answer`] must follow in the same database transaction.
///
/// # Errors
/// Those of the engine.
pub fn claim_key(tx: &mut dyn Tx, key: &IdempotencyKey, now_us: i64) -> Result<Option<RequestAnswer>, StoreError> {
    // Nobody sees it before its answer is set.
    let claim = RequestAnswer { fingerprint: key.fingerprint, status: 0, kept: Vec::new() };
    let claimed = tx.execute(
        "INSERT INTO request_answers (bucket, scope, key, fingerprint, status, kept, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (bucket, scope, key) DO NOTHING",
        &row_of(key, &claim, now_us),
    )?;
    if claimed > 0 {
        return Ok(None);
    }
    let rows = tx.query(SELECT_ANSWER, &place_of(key))?;
    let row = rows.first().ok_or_else(|| StoreError::Internal("a claimed key has gone".to_owned()))?;
    answer_of(row, 0).map(Some)
}

/// The columns of the table's key.
pub(crate) fn place_of(key: &IdempotencyKey) -> [Value; 3] {
    [Value::Int(i64::from(bucket_of(key.scope))), Value::Uuid(key.scope), Value::Text(key.key.clone())]
}

/// The answer in a row whose columns, from this one on, are fingerprint, status and what is kept.
///
/// # Errors
/// [`StoreError::Inconsistent`] when it is none.
pub fn answer_of(row: &Row, first: usize) -> Result<RequestAnswer, StoreError> {
    let status = u16::try_from(row.get_int(first + 1)?)
        .map_err(|_| StoreError::Inconsistent("request_answers.status is out of range".to_owned()))?;
    Ok(RequestAnswer { fingerprint: row.get_array(first)?, status, kept: row.get_bytes(first + 2)? })
}

/// A row of the table.
pub(crate) fn row_of(key: &IdempotencyKey, answer: &RequestAnswer, now_us: i64) -> Vec<Value> {
    let mut row = place_of(key).to_vec();
    row.extend([
        Value::Bytes(answer.fingerprint.to_vec()),
        Value::Int(i64::from(answer.status)),
        Value::Bytes(answer.kept.clone()),
        Value::Time(now_us),
    ]);
    row
}

/// Keeps the answer to the request that claimed the key.
///
/// # Errors
/// Those of the engine; [`StoreError::Internal`] without a claim.
pub fn set_answer(tx: &mut dyn Tx, key: &IdempotencyKey, status: u16, kept: &[u8]) -> Result<(), StoreError> {
    let mut params = place_of(key).to_vec();
    params.extend([Value::Int(i64::from(status)), Value::Bytes(kept.to_vec())]);
    let changed = tx.execute(
        "UPDATE request_answers SET status = $4, kept = $5 WHERE bucket = $1 AND scope = $2 AND key = $3",
        &params,
    )?;
    if changed == 1 { Ok(()) } else { Err(StoreError::Internal("an answer without a claimed key".to_owned())) }
}
