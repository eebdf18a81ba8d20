//! Keys that sign access tokens, sealed.

use crate::{StoreError, Tx, Value};

/// Signs new tokens.
pub const ACTIVE: &str = "active";

// Changes nothing: two nodes that start at once take turns.
const LOCK: &str = "UPDATE counters SET value = value WHERE name = 'user_number'";
const INSERT: &str = "INSERT INTO signing_keys (id, algorithm, private_key, public_jwk, state, created_at) \
    VALUES ($1, $2, $3, $4, $5, $6)";
const LIST: &str = "SELECT id, algorithm, private_key, public_jwk, state FROM signing_keys \
    WHERE state <> 'deleted' AND state <> 'revoked' ORDER BY created_at DESC, id";

/// One row of `signing_keys`.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKeyRow {
    /// RFC 7638 thumbprint: the `kid`.
    pub id: String,
    /// As in the header of a token: `ES256`.
    pub algorithm: String,
    /// Sealed.
    pub private_key: Vec<u8>,
    /// Public part, as JSON text.
    pub public_jwk: String,
    /// `active` or `retiring`.
    pub state: String,
}

/// Keys whose tokens are accepted, newest first.
///
/// # Errors
/// Those of the engine.
pub fn list_keys(tx: &mut dyn Tx) -> Result<Vec<SigningKeyRow>, StoreError> {
    tx.query(LIST, &[])?
        .iter()
        .map(|row| {
            Ok(SigningKeyRow {
                id: row.get_text(0)?,
                algorithm: row.get_text(1)?,
                private_key: row.get_bytes(2)?,
                public_jwk: row.get_text(3)?,
                state: row.get_text(4)?,
            })
        })
        .collect()
}

/// Writes `key` unless another node has written an active one; gives all keys, as [`list_keys`].
///
/// # Errors
/// Those of the engine.
pub fn insert_first_key(tx: &mut dyn Tx, key: &SigningKeyRow, now_us: i64) -> Result<Vec<SigningKeyRow>, StoreError> {
    tx.execute(LOCK, &[])?;
    let keys = list_keys(tx)?;
    if keys.iter().any(|key| key.state == ACTIVE) {
        return Ok(keys);
    }
    let params = [
        Value::Text(key.id.clone()),
        Value::Text(key.algorithm.clone()),
        Value::Bytes(key.private_key.clone()),
        Value::Text(key.public_jwk.clone()),
        Value::Text(key.state.clone()),
        Value::Time(now_us),
    ];
    tx.execute(INSERT, &params)?;
    list_keys(tx)
}
