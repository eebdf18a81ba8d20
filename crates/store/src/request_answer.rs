//! Answers to whole requests, kept beside their idempotency key and given again.

use florin_ledger::{IdempotencyKey, bucket_of};

use crate::{StoreError, Tx, Value};

/// An answer that was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestAnswer {
    /// SHA-256 of the request that it was given to.
    pub fingerprint: [u8; 32],
    /// The HTTP status.
    pub status: u16,
    /// The body, as it was sent.
    pub body: Vec<u8>,
}

/// Claims the key for this database transaction; gives the earlier answer if there is one.
///
/// Who claims second waits for the first one's commit, then finds its answer: so two equal requests have one effect,
/// on any number of nodes. After a claim, [`set_answer`] must follow in the same database transaction.
///
/// # Errors
/// Those of the engine.
pub fn claim_key(tx: &mut dyn Tx, key: &IdempotencyKey, now_us: i64) -> Result<Option<RequestAnswer>, StoreError> {
    let claimed = tx.execute(
        "INSERT INTO request_answers (bucket, scope, key, fingerprint, status, body, created_at) \
         VALUES ($1, $2, $3, $4, 0, $5, $6) ON CONFLICT (bucket, scope, key) DO NOTHING",
        &[
            Value::Int(i64::from(bucket_of(key.scope))),
            Value::Uuid(key.scope),
            Value::Text(key.key.clone()),
            Value::Bytes(key.fingerprint.to_vec()),
            Value::Bytes(Vec::new()),
            Value::Time(now_us),
        ],
    )?;
    if claimed > 0 {
        return Ok(None);
    }
    let rows = tx.query(
        "SELECT fingerprint, status, body FROM request_answers WHERE bucket = $1 AND scope = $2 AND key = $3",
        &[Value::Int(i64::from(bucket_of(key.scope))), Value::Uuid(key.scope), Value::Text(key.key.clone())],
    )?;
    let row = rows.first().ok_or_else(|| StoreError::Internal("a claimed key has gone".to_owned()))?;
    let status = u16::try_from(row.get_int(1)?)
        .map_err(|_| StoreError::Inconsistent("request_answers.status is out of range".to_owned()))?;
    Ok(Some(RequestAnswer { fingerprint: row.get_array(0)?, status, body: row.get_bytes(2)? }))
}

/// Keeps the answer to the request that claimed the key.
///
/// # Errors
/// Those of the engine; [`StoreError::Internal`] without a claim.
pub fn set_answer(tx: &mut dyn Tx, key: &IdempotencyKey, status: u16, body: &[u8]) -> Result<(), StoreError> {
    let changed = tx.execute(
        "UPDATE request_answers SET status = $4, body = $5 WHERE bucket = $1 AND scope = $2 AND key = $3",
        &[
            Value::Int(i64::from(bucket_of(key.scope))),
            Value::Uuid(key.scope),
            Value::Text(key.key.clone()),
            Value::Int(i64::from(status)),
            Value::Bytes(body.to_vec()),
        ],
    )?;
    if changed == 1 { Ok(()) } else { Err(StoreError::Internal("an answer without a claimed key".to_owned())) }
}
