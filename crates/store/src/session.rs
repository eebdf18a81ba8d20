//! Sessions and their refresh tokens, in the bucket of their user.

use florin_ledger::bucket_of;
use uuid::Uuid;

use crate::{Row, StoreError, Tx, Value};

const INSERT: &str = "INSERT INTO sessions (bucket, id, user_id, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)";
const FIND: &str = "SELECT id, user_id, expires_at, ended_at FROM sessions WHERE bucket = $1 AND id = $2";
// Changes nothing: it takes the row's lock on engines that lock rows.
const LOCK: &str = "UPDATE sessions SET expires_at = expires_at WHERE bucket = $1 AND id = $2";
const END: &str = "UPDATE sessions SET ended_at = $1, end_reason = $2 WHERE bucket = $3 AND id = $4 \
    AND ended_at IS NULL RETURNING id";
const END_OTHERS: &str = "UPDATE sessions SET ended_at = $1, end_reason = $2 WHERE bucket = $3 AND user_id = $4 \
    AND ended_at IS NULL AND id <> $5 RETURNING id";
// Live is who could still refresh. The newest is kept whatever the clock says.
const END_OLDEST: &str = "UPDATE sessions SET ended_at = $1, end_reason = $2 WHERE bucket = $3 AND id IN ( \
    SELECT s.id FROM sessions s WHERE s.bucket = $3 AND s.user_id = $4 AND s.ended_at IS NULL AND s.id <> $5 \
    AND EXISTS (SELECT 1 FROM refresh_tokens t WHERE t.bucket = s.bucket AND t.session_id = s.id \
    AND t.used_at IS NULL AND t.expires_at > $1) \
    ORDER BY s.created_at DESC, s.id DESC LIMIT 1000 OFFSET $6) RETURNING id";
const LIST_ENDED: &str = "SELECT id, ended_at, end_reason FROM sessions WHERE ended_at IS NOT NULL AND ended_at >= $1";
const INSERT_TOKEN: &str = "INSERT INTO refresh_tokens (bucket, id, session_id, user_id, secret_hash, issued_at, \
    expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7)";
const FIND_TOKEN: &str = "SELECT id, session_id, user_id, secret_hash, expires_at, used_at, replaced_by \
    FROM refresh_tokens WHERE bucket = $1 AND id = $2";
const USE_TOKEN: &str = "UPDATE refresh_tokens SET used_at = $1, replaced_by = $2 WHERE bucket = $3 AND id = $4 \
    AND used_at IS NULL";
const REPLACE_SUCCESSOR: &str = "UPDATE refresh_tokens SET replaced_by = $1 WHERE bucket = $2 AND id = $3 \
    AND replaced_by = $4";
const DELETE_UNUSED: &str = "DELETE FROM refresh_tokens WHERE bucket = $1 AND id = $2 AND used_at IS NULL";

const DELETE_EXPIRED_TOKENS: &str = "DELETE FROM refresh_tokens WHERE (bucket, id) IN (SELECT bucket, id \
    FROM refresh_tokens WHERE expires_at < $1 ORDER BY expires_at LIMIT $2) RETURNING bucket, session_id";
const DELETE_EMPTY: &str = "DELETE FROM sessions WHERE bucket = $1 AND id = $2 AND NOT EXISTS (SELECT 1 \
    FROM refresh_tokens t WHERE t.bucket = sessions.bucket AND t.session_id = sessions.id)";
const LIST_OVER: &str =
    "SELECT bucket, id FROM sessions WHERE ended_at IS NOT NULL AND ended_at < $1 ORDER BY ended_at LIMIT $2";
const DELETE_TOKENS_OF: &str = "DELETE FROM refresh_tokens WHERE bucket = $1 AND session_id = $2";
const DELETE: &str = "DELETE FROM sessions WHERE bucket = $1 AND id = $2";

/// One row of `sessions`. Times: microseconds since the Unix epoch, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionRow {
    /// Its id.
    pub id: Uuid,
    /// Whose it is.
    pub user_id: Uuid,
    /// Absolute limit.
    pub expires_at_us: i64,
    /// When it was ended, if it was.
    pub ended_at_us: Option<i64>,
}

/// A session that was ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedSession {
    /// Its id.
    pub id: Uuid,
    /// Microseconds since the Unix epoch, UTC.
    pub ended_at_us: i64,
    /// Why, as a code.
    pub reason: String,
}

/// One row of `refresh_tokens`. Times: microseconds since the Unix epoch, UTC.
#[derive(Clone, PartialEq, Eq)]
pub struct RefreshTokenRow {
    /// Its id.
    pub id: Uuid,
    /// Its session.
    pub session_id: Uuid,
    /// Whose it is.
    pub user_id: Uuid,
    /// SHA-256 of its secret.
    pub secret_hash: [u8; 32],
    /// Idle limit.
    pub expires_at_us: i64,
    /// When it was used, if it was.
    pub used_at_us: Option<i64>,
    /// What took its place.
    pub replaced_by: Option<Uuid>,
}

/// Writes a new session.
///
/// # Errors
/// Those of the engine.
pub fn insert_session(tx: &mut dyn Tx, session: &SessionRow, now_us: i64) -> Result<(), StoreError> {
    let params = [
        bucket(session.user_id),
        Value::Uuid(session.id),
        Value::Uuid(session.user_id),
        Value::Time(now_us),
        Value::Time(session.expires_at_us),
    ];
    tx.execute(INSERT, &params).map(drop)
}

/// The session of this user.
///
/// # Errors
/// Those of the engine.
pub fn find_session(tx: &mut dyn Tx, user_id: Uuid, id: Uuid) -> Result<Option<SessionRow>, StoreError> {
    tx.query(FIND, &[bucket(user_id), Value::Uuid(id)])?.first().map(session_from_row).transpose()
}

/// As [`find_session`], and nobody else changes the session or its tokens until the transaction ends.
///
/// # Errors
/// Those of the engine.
pub fn lock_session(tx: &mut dyn Tx, user_id: Uuid, id: Uuid) -> Result<Option<SessionRow>, StoreError> {
    tx.execute(LOCK, &[bucket(user_id), Value::Uuid(id)])?;
    find_session(tx, user_id, id)
}

/// Ends one session; false if it had ended before.
///
/// # Errors
/// Those of the engine.
pub fn end_session(tx: &mut dyn Tx, user_id: Uuid, id: Uuid, reason: &str, now_us: i64) -> Result<bool, StoreError> {
    let params = [Value::Time(now_us), Value::Text(reason.to_owned()), bucket(user_id), Value::Uuid(id)];
    Ok(!tx.query(END, &params)?.is_empty())
}

/// Ends every session of a user but `keep`; gives the ids of those it ended.
///
/// # Errors
/// Those of the engine.
pub fn end_sessions_of(
    tx: &mut dyn Tx,
    user_id: Uuid,
    keep: Option<Uuid>,
    reason: &str,
    now_us: i64,
) -> Result<Vec<Uuid>, StoreError> {
    let params = [
        Value::Time(now_us),
        Value::Text(reason.to_owned()),
        bucket(user_id),
        Value::Uuid(user_id),
        Value::Uuid(keep.unwrap_or_default()),
    ];
    tx.query(END_OTHERS, &params)?.iter().map(|row| row.get_uuid(0)).collect()
}

/// Ends the oldest live sessions of a user, so that `keep` are left with the one of id `newest`; gives their ids.
///
/// # Errors
/// Those of the engine.
pub fn end_oldest_sessions(
    tx: &mut dyn Tx,
    user_id: Uuid,
    newest: Uuid,
    keep: u32,
    reason: &str,
    now_us: i64,
) -> Result<Vec<Uuid>, StoreError> {
    let params = [
        Value::Time(now_us),
        Value::Text(reason.to_owned()),
        bucket(user_id),
        Value::Uuid(user_id),
        Value::Uuid(newest),
        Value::Int(i64::from(keep.saturating_sub(1))),
    ];
    tx.query(END_OLDEST, &params)?.iter().map(|row| row.get_uuid(0)).collect()
}

/// Sessions ended at `since_us` or later, of all users.
///
/// # Errors
/// Those of the engine.
pub fn list_ended(tx: &mut dyn Tx, since_us: i64) -> Result<Vec<EndedSession>, StoreError> {
    tx.query(LIST_ENDED, &[Value::Time(since_us)])?
        .iter()
        .map(|row| {
            let reason = row.find_text(2)?.unwrap_or_default();
            Ok(EndedSession { id: row.get_uuid(0)?, ended_at_us: row.get_time(1)?, reason })
        })
        .collect()
}

/// Writes a new refresh token.
///
/// # Errors
/// Those of the engine.
pub fn insert_refresh_token(tx: &mut dyn Tx, token: &RefreshTokenRow, now_us: i64) -> Result<(), StoreError> {
    let params = [
        bucket(token.user_id),
        Value::Uuid(token.id),
        Value::Uuid(token.session_id),
        Value::Uuid(token.user_id),
        Value::Bytes(token.secret_hash.to_vec()),
        Value::Time(now_us),
        Value::Time(token.expires_at_us),
    ];
    tx.execute(INSERT_TOKEN, &params).map(drop)
}

/// The refresh token of this id in this bucket (0–1023).
///
/// # Errors
/// Those of the engine.
pub fn find_refresh_token(tx: &mut dyn Tx, bucket: u16, id: Uuid) -> Result<Option<RefreshTokenRow>, StoreError> {
    let rows = tx.query(FIND_TOKEN, &[Value::Int(i64::from(bucket)), Value::Uuid(id)])?;
    rows.first().map(token_from_row).transpose()
}

/// Marks a token as used and names what took its place; false if it was used before.
///
/// # Errors
/// Those of the engine.
pub fn use_refresh_token(
    tx: &mut dyn Tx,
    token: &RefreshTokenRow,
    replaced_by: Uuid,
    now_us: i64,
) -> Result<bool, StoreError> {
    let params = [Value::Time(now_us), Value::Uuid(replaced_by), bucket(token.user_id), Value::Uuid(token.id)];
    Ok(tx.execute(USE_TOKEN, &params)? == 1)
}

/// Drops the successor that nobody used and names another; false if the successor was used or replaced meanwhile.
///
/// # Errors
/// Those of the engine.
pub fn replace_successor(
    tx: &mut dyn Tx,
    token: &RefreshTokenRow,
    drop: Uuid,
    replaced_by: Uuid,
) -> Result<bool, StoreError> {
    let params = [Value::Uuid(replaced_by), bucket(token.user_id), Value::Uuid(token.id), Value::Uuid(drop)];
    Ok(tx.execute(REPLACE_SUCCESSOR, &params)? == 1
        && tx.execute(DELETE_UNUSED, &[bucket(token.user_id), Value::Uuid(drop)])? == 1)
}

/// Deletes up to `limit` refresh tokens that expired before `before_us`, used or not, and the sessions that have none
/// left; gives how many tokens it deleted.
///
/// # Errors
/// Those of the engine.
pub fn delete_expired_tokens(tx: &mut dyn Tx, before_us: i64, limit: u32) -> Result<u64, StoreError> {
    let deleted = tx.query(DELETE_EXPIRED_TOKENS, &[Value::Time(before_us), Value::Int(i64::from(limit))])?;
    let mut sessions = deleted.iter().map(place).collect::<Result<Vec<_>, _>>()?;
    sessions.sort_unstable();
    sessions.dedup();
    for (bucket, id) in sessions {
        tx.execute(DELETE_EMPTY, &[Value::Int(bucket), Value::Uuid(id)])?;
    }
    Ok(u64::try_from(deleted.len()).unwrap_or_default())
}

/// Deletes up to `limit` sessions that were ended before `before_us`, with their tokens; gives how many.
///
/// # Errors
/// Those of the engine.
pub fn delete_ended_sessions(tx: &mut dyn Tx, before_us: i64, limit: u32) -> Result<u64, StoreError> {
    let over = tx.query(LIST_OVER, &[Value::Time(before_us), Value::Int(i64::from(limit))])?;
    let mut deleted = 0;
    for row in &over {
        let (bucket, id) = place(row)?;
        tx.execute(DELETE_TOKENS_OF, &[Value::Int(bucket), Value::Uuid(id)])?;
        deleted += tx.execute(DELETE, &[Value::Int(bucket), Value::Uuid(id)])?;
    }
    Ok(deleted)
}

fn place(row: &Row) -> Result<(i64, Uuid), StoreError> {
    Ok((row.get_int(0)?, row.get_uuid(1)?))
}

fn bucket(user_id: Uuid) -> Value {
    Value::Int(i64::from(bucket_of(user_id)))
}

fn session_from_row(row: &Row) -> Result<SessionRow, StoreError> {
    Ok(SessionRow {
        id: row.get_uuid(0)?,
        user_id: row.get_uuid(1)?,
        expires_at_us: row.get_time(2)?,
        ended_at_us: row.find_time(3)?,
    })
}

fn token_from_row(row: &Row) -> Result<RefreshTokenRow, StoreError> {
    Ok(RefreshTokenRow {
        id: row.get_uuid(0)?,
        session_id: row.get_uuid(1)?,
        user_id: row.get_uuid(2)?,
        secret_hash: row.get_array(3)?,
        expires_at_us: row.get_time(4)?,
        used_at_us: row.find_time(5)?,
        replaced_by: row.find_uuid(6)?,
    })
}
