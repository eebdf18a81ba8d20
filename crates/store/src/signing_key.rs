//! Keys that sign access tokens, sealed.

use florin_identity::{KeyFacts, KeyState};

use crate::{Row, StoreError, Tx, Value};

/// Published, and signs nothing yet.
pub const NEXT: &str = "next";
/// Signs new tokens.
pub const ACTIVE: &str = "active";
/// Signs nothing any more.
pub const RETIRING: &str = "retiring";
/// Counts for nothing, because its time was over.
pub const DELETED: &str = "deleted";
/// Counts for nothing, because somebody said so.
pub const REVOKED: &str = "revoked";

// Changes nothing: two nodes that change keys at once take turns.
const LOCK: &str = "UPDATE counters SET value = value WHERE name = 'user_number'";
const INSERT: &str = "INSERT INTO signing_keys (id, algorithm, private_key, public_jwk, state, created_at) \
    VALUES ($1, $2, $3, $4, $5, $6)";
const LIST: &str = "SELECT id, algorithm, private_key, public_jwk, state, created_at, retire_at FROM signing_keys \
    WHERE state <> 'deleted' AND state <> 'revoked' ORDER BY created_at DESC, id";
const ACTIVATE: &str = "UPDATE signing_keys SET state = 'active' WHERE id = $1";
// What does not sign needs no private part.
const END: &str = "UPDATE signing_keys SET state = $1, retire_at = $2, private_key = $3 WHERE id = $4 \
    AND state <> 'deleted' AND state <> 'revoked'";

/// One row of `signing_keys`. Times: microseconds since the Unix epoch, UTC.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKeyRow {
    /// RFC 7638 thumbprint: the `kid`.
    pub id: String,
    /// As in the header of a token: `ES256`.
    pub algorithm: String,
    /// Sealed; empty once the key stopped to sign.
    pub private_key: Vec<u8>,
    /// Public part, as JSON text.
    pub public_jwk: String,
    /// [`NEXT`], [`ACTIVE`] or [`RETIRING`].
    pub state: String,
    /// When it was made.
    pub created_at_us: i64,
    /// Until when what it signed counts, once it stopped to sign.
    pub retire_at_us: Option<i64>,
}

impl SigningKeyRow {
    /// What its life depends on.
    ///
    /// # Errors
    /// The state is none that this binary knows.
    pub fn facts(&self) -> Result<KeyFacts, StoreError> {
        let state = match (self.state.as_str(), self.retire_at_us) {
            (NEXT, _) => KeyState::Next,
            (ACTIVE, _) => KeyState::Active,
            (RETIRING, Some(until_us)) => KeyState::Retiring { until_us },
            (other, _) => return Err(StoreError::Inconsistent(format!("signing_keys.state: {other:?}"))),
        };
        Ok(KeyFacts { state, created_at_us: self.created_at_us })
    }
}

/// Keys whose tokens are accepted, now or soon, newest first.
///
/// # Errors
/// Those of the engine.
pub fn list_keys(tx: &mut dyn Tx) -> Result<Vec<SigningKeyRow>, StoreError> {
    tx.query(LIST, &[])?.iter().map(key_from_row).collect()
}

/// As [`list_keys`], and nobody else changes keys until the transaction ends.
///
/// # Errors
/// Those of the engine.
pub fn lock_keys(tx: &mut dyn Tx) -> Result<Vec<SigningKeyRow>, StoreError> {
    tx.execute(LOCK, &[])?;
    list_keys(tx)
}

/// Writes a new key.
///
/// # Errors
/// Those of the engine.
pub fn insert_key(tx: &mut dyn Tx, key: &SigningKeyRow) -> Result<(), StoreError> {
    let params = [
        Value::Text(key.id.clone()),
        Value::Text(key.algorithm.clone()),
        Value::Bytes(key.private_key.clone()),
        Value::Text(key.public_jwk.clone()),
        Value::Text(key.state.clone()),
        Value::Time(key.created_at_us),
    ];
    tx.execute(INSERT, &params).map(drop)
}

/// Lets a key sign.
///
/// # Errors
/// Those of the engine.
pub fn activate_key(tx: &mut dyn Tx, id: &str) -> Result<(), StoreError> {
    tx.execute(ACTIVATE, &[Value::Text(id.to_owned())]).map(drop)
}

/// Ends a key's signing, with the state it has from now on and the time that goes with it. False if it had ended for
/// good before.
///
/// # Errors
/// Those of the engine.
pub fn end_key(tx: &mut dyn Tx, id: &str, state: &'static str, at_us: i64) -> Result<bool, StoreError> {
    let params =
        [Value::Text(state.to_owned()), Value::Time(at_us), Value::Bytes(Vec::new()), Value::Text(id.to_owned())];
    Ok(tx.execute(END, &params)? == 1)
}

fn key_from_row(row: &Row) -> Result<SigningKeyRow, StoreError> {
    Ok(SigningKeyRow {
        id: row.get_text(0)?,
        algorithm: row.get_text(1)?,
        private_key: row.get_bytes(2)?,
        public_jwk: row.get_text(3)?,
        state: row.get_text(4)?,
        created_at_us: row.get_time(5)?,
        retire_at_us: row.find_time(6)?,
    })
}
