//! After a restore: nothing that somebody could have signed in with, or was signed with, counts any more.
//!
//! A copy from yesterday has forgotten which sessions ended and which refresh tokens were used since, and does not know
//! the sessions that began. Whatever proves who somebody is by something other than a password is ended here; a table
//! of that kind that comes later adds its statement to this file.

use florin_ledger::BUCKETS;

use crate::{
    StoreError, Tx, Value,
    signing_key::{REVOKED, end_key, lock_keys},
};

/// Why those sessions ended.
pub const RESTORED: &str = "restored";

const END_SESSIONS: &str = "UPDATE sessions SET ended_at = $1, end_reason = $2 WHERE bucket = $3 AND ended_at IS NULL";
const RAISE_VERSIONS: &str = "UPDATE users SET token_version = token_version + 1, updated_at = $1 WHERE bucket = $2";
/// What was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ended {
    /// Sessions that had not ended.
    pub sessions: u64,
    /// Keys that signed access tokens.
    pub signing_keys: u64,
}

/// Ends every session with its refresh tokens, raises every user's token version, and revokes the keys that signed
/// access tokens.
///
/// # Errors
/// Those of the engine.
pub fn end_everything(tx: &mut dyn Tx, now_us: i64) -> Result<Ended, StoreError> {
    let mut ended = Ended::default();
    for bucket in (0..BUCKETS).map(|bucket| Value::Int(i64::from(bucket))) {
        let reason = Value::Text(RESTORED.to_owned());
        ended.sessions += tx.execute(END_SESSIONS, &[Value::Time(now_us), reason, bucket.clone()])?;
        tx.execute(RAISE_VERSIONS, &[Value::Time(now_us), bucket])?;
    }
    // Tokens of sessions that the copy does not know are still well signed: so the keys go too. New ones are made.
    for key in lock_keys(tx)? {
        ended.signing_keys += u64::from(end_key(tx, &key.id, REVOKED, now_us)?);
    }
    Ok(ended)
}
