//! Users and the names that are unique over all buckets.

use florin_ledger::{AccountId, bucket_of};
use uuid::Uuid;

use crate::{Row, StoreError, Tx, Value};

/// A claim of a username.
pub const USERNAME: &str = "username";
/// A claim of a user's number.
pub const NUMBER: &str = "number";

const INSERT: &str = "INSERT INTO users (bucket, id, number, username, email, password_hash, is_active, is_staff, \
    is_superuser, token_version, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
/// Those of [`INSERT`].
const COLUMNS: &str = "bucket, id, number, username, email, password_hash, is_active, is_staff, is_superuser, \
    token_version, created_at, updated_at";
const FIND: &str = "SELECT id, number, username, email, password_hash, is_active, is_staff, is_superuser, \
    token_version, created_at, deleted_at FROM users WHERE bucket = $1 AND id = $2";
const CLAIM: &str = "INSERT INTO claims (kind, name, owner_id) VALUES ($1, $2, $3)";
const RELEASE: &str = "DELETE FROM claims WHERE kind = $1 AND name = $2 AND owner_id = $3";
const FIND_CLAIM: &str = "SELECT owner_id FROM claims WHERE kind = $1 AND name = $2";
const LIST_CLAIMS: &str = "SELECT name, owner_id FROM claims WHERE kind = $1 AND name > $2 ORDER BY name LIMIT $3";
const SEARCH_CLAIMS: &str = "SELECT name, owner_id FROM claims WHERE kind = $1 AND name > $2 \
    AND replace(lower(name), $3, '') <> lower(name) ORDER BY name LIMIT $4";
const TAKE_NUMBER: &str = "UPDATE counters SET value = value + 1 WHERE name = 'user_number'";
const TAKE_NUMBERS: &str = "UPDATE counters SET value = value + $1 WHERE name = 'user_number'";
const READ_NUMBER: &str = "SELECT value FROM counters WHERE name = 'user_number'";
const SET_PASSWORD: &str = "UPDATE users SET password_hash = $1, updated_at = $2 WHERE bucket = $3 AND id = $4 \
    AND password_hash = $5 AND is_active = $6 AND deleted_at IS NULL";
const SET_USERNAME: &str = "UPDATE users SET username = $1, updated_at = $2 WHERE bucket = $3 AND id = $4 \
    AND password_hash = $5 AND deleted_at IS NULL";
const SET_EMAIL: &str =
    "UPDATE users SET email = $1, updated_at = $2 WHERE bucket = $3 AND id = $4 AND deleted_at IS NULL";
const SET_ACTIVE: &str = "UPDATE users SET is_active = $1, token_version = token_version + 1, updated_at = $2 \
    WHERE bucket = $3 AND id = $4 AND deleted_at IS NULL";
const ERASE: &str = "UPDATE users SET username = $1, email = '', password_hash = '!', is_active = $2, \
    token_version = token_version + 1, updated_at = $3, deleted_at = $4 \
    WHERE bucket = $5 AND id = $6 AND password_hash = $7 AND deleted_at IS NULL";
const WALLETS_OF: &str = "SELECT id FROM wallets WHERE bucket = $1 AND owner_id = $2";

/// One row of `users`. Times: microseconds since the Unix epoch, UTC.
#[derive(Clone, PartialEq, Eq)]
pub struct UserRow {
    /// Id inside Florin.
    pub id: Uuid,
    /// The integer that clients see.
    pub number: i64,
    /// Name to sign in with.
    pub username: String,
    /// May be empty.
    pub email: String,
    /// A hash in PHC form, one imported from Django, or `!` for none.
    pub password_hash: String,
    /// A disabled user cannot sign in.
    pub is_active: bool,
    /// Staff routes are open.
    pub is_staff: bool,
    /// Made on the command line.
    pub is_superuser: bool,
    /// Rises when everything issued before must stop to count.
    pub token_version: i64,
    /// When it was registered.
    pub created_at_us: i64,
    /// When it was deleted.
    pub deleted_at_us: Option<i64>,
}

impl UserRow {
    /// Neither disabled nor deleted.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.is_active && self.deleted_at_us.is_none()
    }
}

/// How a user's number is written as a claim: padded, so that names sort as numbers do.
#[must_use]
pub fn number_claim(number: i64) -> String {
    format!("{number:020}")
}

/// Writes a new user.
///
/// # Errors
/// Those of the engine.
pub fn insert_user(tx: &mut dyn Tx, user: &UserRow) -> Result<(), StoreError> {
    tx.execute(INSERT, &values_of(user)).map(drop)
}

/// Writes many new users, whose names and numbers they claim.
///
/// # Errors
/// [`StoreError::Duplicate`] when somebody has a name or a number, and those of the engine.
pub fn insert_users(tx: &mut dyn Tx, users: &[UserRow]) -> Result<(), StoreError> {
    let mut rows: Vec<Vec<Value>> = users.iter().map(|user| values_of(user).to_vec()).collect();
    tx.insert_rows("users", COLUMNS, &rows)?;
    rows.clear();
    let claim = |kind: &str, name: String, user: &UserRow| {
        vec![Value::Text(kind.to_owned()), Value::Text(name), Value::Uuid(user.id)]
    };
    rows.extend(users.iter().map(|user| claim(USERNAME, user.username.clone(), user)));
    rows.extend(users.iter().map(|user| claim(NUMBER, number_claim(user.number), user)));
    tx.insert_rows("claims", "kind, name, owner_id", &rows)
}

fn values_of(user: &UserRow) -> [Value; 12] {
    [
        bucket(user.id),
        Value::Uuid(user.id),
        Value::Int(user.number),
        Value::Text(user.username.clone()),
        Value::Text(user.email.clone()),
        Value::Text(user.password_hash.clone()),
        Value::Bool(user.is_active),
        Value::Bool(user.is_staff),
        Value::Bool(user.is_superuser),
        Value::Int(user.token_version),
        Value::Time(user.created_at_us),
        Value::Time(user.created_at_us),
    ]
}

/// The user of this id, deleted or not.
///
/// # Errors
/// Those of the engine.
pub fn find_user(tx: &mut dyn Tx, id: Uuid) -> Result<Option<UserRow>, StoreError> {
    tx.query(FIND, &[bucket(id), Value::Uuid(id)])?.first().map(user_from_row).transpose()
}

/// The user who has this name.
///
/// # Errors
/// Those of the engine.
pub fn find_user_by_claim(tx: &mut dyn Tx, kind: &str, name: &str) -> Result<Option<UserRow>, StoreError> {
    match find_claim(tx, kind, name)? {
        Some(id) => find_user(tx, id),
        None => Ok(None),
    }
}

/// Takes a name.
///
/// # Errors
/// [`StoreError::Duplicate`] when somebody has it, and those of the engine.
pub fn claim(tx: &mut dyn Tx, kind: &str, name: &str, owner_id: Uuid) -> Result<(), StoreError> {
    let params = [Value::Text(kind.to_owned()), Value::Text(name.to_owned()), Value::Uuid(owner_id)];
    tx.execute(CLAIM, &params).map(drop)
}

/// Gives a name back.
///
/// # Errors
/// Those of the engine.
pub fn release(tx: &mut dyn Tx, kind: &str, name: &str, owner_id: Uuid) -> Result<(), StoreError> {
    let params = [Value::Text(kind.to_owned()), Value::Text(name.to_owned()), Value::Uuid(owner_id)];
    tx.execute(RELEASE, &params).map(drop)
}

/// Who has this name.
///
/// # Errors
/// Those of the engine.
pub fn find_claim(tx: &mut dyn Tx, kind: &str, name: &str) -> Result<Option<Uuid>, StoreError> {
    let rows = tx.query(FIND_CLAIM, &[Value::Text(kind.to_owned()), Value::Text(name.to_owned())])?;
    rows.first().map(|row| row.get_uuid(0)).transpose()
}

/// Names after `after` with their owners, in order; `query` keeps those that contain it (lower case).
///
/// # Errors
/// Those of the engine.
pub fn list_claims(
    tx: &mut dyn Tx,
    kind: &str,
    after: &str,
    query: Option<&str>,
    limit: u16,
) -> Result<Vec<(String, Uuid)>, StoreError> {
    let mut params = vec![Value::Text(kind.to_owned()), Value::Text(after.to_owned())];
    let sql = match query {
        None => LIST_CLAIMS,
        Some(query) => {
            params.push(Value::Text(query.to_owned()));
            SEARCH_CLAIMS
        }
    };
    params.push(Value::Int(i64::from(limit)));
    tx.query(sql, &params)?.iter().map(|row| Ok((row.get_text(0)?, row.get_uuid(1)?))).collect()
}

/// The next number for a user. Locks the counter until the transaction ends.
///
/// # Errors
/// Those of the engine.
pub fn take_number(tx: &mut dyn Tx) -> Result<i64, StoreError> {
    tx.execute(TAKE_NUMBER, &[])?;
    let rows = tx.query(READ_NUMBER, &[])?;
    rows.first().ok_or_else(|| StoreError::Inconsistent("no counter for users".to_owned()))?.get_int(0)
}

/// So many numbers for users at once; gives the first of them. Locks the counter until the transaction ends.
///
/// # Errors
/// Those of the engine.
pub fn take_numbers(tx: &mut dyn Tx, count: i64) -> Result<i64, StoreError> {
    tx.execute(TAKE_NUMBERS, &[Value::Int(count)])?;
    let rows = tx.query(READ_NUMBER, &[])?;
    let last = rows.first().ok_or_else(|| StoreError::Inconsistent("no counter for users".to_owned()))?.get_int(0)?;
    Ok(last - count + 1)
}

/// Replaces `old_hash` and locks the user until the transaction ends. False if the user is not active or has another
/// hash by now. With the same hash twice it is a lock and nothing else.
///
/// # Errors
/// Those of the engine.
pub fn set_password_hash(
    tx: &mut dyn Tx,
    id: Uuid,
    old_hash: &str,
    new_hash: &str,
    now_us: i64,
) -> Result<bool, StoreError> {
    let params = [
        Value::Text(new_hash.to_owned()),
        Value::Time(now_us),
        bucket(id),
        Value::Uuid(id),
        Value::Text(old_hash.to_owned()),
        Value::Bool(true),
    ];
    Ok(tx.execute(SET_PASSWORD, &params)? == 1)
}

/// Writes another username. False if the user is gone or has another password hash by now.
///
/// # Errors
/// Those of the engine.
pub fn set_username(
    tx: &mut dyn Tx,
    id: Uuid,
    password_hash: &str,
    username: &str,
    now_us: i64,
) -> Result<bool, StoreError> {
    let params = [
        Value::Text(username.to_owned()),
        Value::Time(now_us),
        bucket(id),
        Value::Uuid(id),
        Value::Text(password_hash.to_owned()),
    ];
    Ok(tx.execute(SET_USERNAME, &params)? == 1)
}

/// Writes another address. False if the user is gone.
///
/// # Errors
/// Those of the engine.
pub fn set_email(tx: &mut dyn Tx, id: Uuid, email: &str, now_us: i64) -> Result<bool, StoreError> {
    let params = [Value::Text(email.to_owned()), Value::Time(now_us), bucket(id), Value::Uuid(id)];
    Ok(tx.execute(SET_EMAIL, &params)? == 1)
}

/// Enables or disables. False if the user is gone.
///
/// # Errors
/// Those of the engine.
pub fn set_active(tx: &mut dyn Tx, id: Uuid, is_active: bool, now_us: i64) -> Result<bool, StoreError> {
    let params = [Value::Bool(is_active), Value::Time(now_us), bucket(id), Value::Uuid(id)];
    Ok(tx.execute(SET_ACTIVE, &params)? == 1)
}

/// Erases what is personal and keeps the row, for the ledger's sake. False if the user is gone or has another password
/// hash by now. The claims stay as they are.
///
/// # Errors
/// Those of the engine.
pub fn erase_user(
    tx: &mut dyn Tx,
    id: Uuid,
    password_hash: &str,
    username: &str,
    now_us: i64,
) -> Result<bool, StoreError> {
    let params = [
        Value::Text(username.to_owned()),
        Value::Bool(false),
        Value::Time(now_us),
        Value::Time(now_us),
        bucket(id),
        Value::Uuid(id),
        Value::Text(password_hash.to_owned()),
    ];
    Ok(tx.execute(ERASE, &params)? == 1)
}

/// Whether any wallet of this user has a posted or a pending figure, as this transaction sees them.
///
/// # Errors
/// Those of the engine.
pub fn holds_money(tx: &mut dyn Tx, id: Uuid) -> Result<bool, StoreError> {
    let rows = tx.query(WALLETS_OF, &[bucket(id), Value::Uuid(id)])?;
    let mut wallets = rows.iter().map(|row| row.get_uuid(0).map(AccountId)).collect::<Result<Vec<_>, _>>()?;
    wallets.sort_unstable();
    let accounts = tx.lock_accounts(&wallets)?;
    Ok(accounts.values().any(|account| {
        account.posted_debits_minor != account.posted_credits_minor
            || account.pending_debits_minor != 0
            || account.pending_credits_minor != 0
    }))
}

fn bucket(id: Uuid) -> Value {
    Value::Int(i64::from(bucket_of(id)))
}

fn user_from_row(row: &Row) -> Result<UserRow, StoreError> {
    Ok(UserRow {
        id: row.get_uuid(0)?,
        number: row.get_int(1)?,
        username: row.get_text(2)?,
        email: row.get_text(3)?,
        password_hash: row.get_text(4)?,
        is_active: row.get_bool(5)?,
        is_staff: row.get_bool(6)?,
        is_superuser: row.get_bool(7)?,
        token_version: row.get_int(8)?,
        created_at_us: row.get_time(9)?,
        deleted_at_us: row.find_time(10)?,
    })
}
