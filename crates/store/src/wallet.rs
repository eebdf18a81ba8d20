//! Wallets: who owns which, and their accounts.

use florin_ledger::{Account, AccountId, AccountKind, IdempotencyKey, bucket_of};
use florin_money::Asset;
use uuid::Uuid;

use crate::{
    Row, StoreError, Tx, Value,
    codes::{account_kind_code, side_code},
};

/// A wallet: its account and its owner's name for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalletRow {
    /// The account.
    pub account: Account,
    /// May be empty.
    pub label: String,
}

const INSERT_ACCOUNT: &str = "INSERT INTO accounts (bucket, id, kind, owner_id, asset, exponent, normal_side, \
    floor, ceiling, posted_debits, posted_credits, pending_debits, pending_credits, version, created_at, updated_at, \
    closed_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)";
/// Those of [`INSERT_ACCOUNT`].
const ACCOUNT_COLUMNS: &str = "bucket, id, kind, owner_id, asset, exponent, normal_side, floor, ceiling, \
    posted_debits, posted_credits, pending_debits, pending_credits, version, created_at, updated_at, closed_at";
const INSERT_WALLET: &str =
    "INSERT INTO wallets (bucket, owner_id, id, asset, label, created_at) VALUES ($1, $2, $3, $4, $5, $6)";
/// Those of [`INSERT_WALLET`].
const WALLET_COLUMNS: &str = "bucket, owner_id, id, asset, label, created_at";

/// Opens a wallet's account and enters it in its owner's list.
///
/// # Errors
/// [`StoreError::Duplicate`] when the id is taken.
pub fn insert_wallet(tx: &mut dyn Tx, account: &Account, owner_id: Uuid, label: &str) -> Result<(), StoreError> {
    tx.execute(INSERT_ACCOUNT, &values_of_account(account))?;
    tx.execute(INSERT_WALLET, &values_of_wallet(account, owner_id, label))?;
    Ok(())
}

/// Opens many wallets, each with its owner.
///
/// # Errors
/// [`StoreError::Duplicate`] when an id is taken.
pub fn insert_wallets(tx: &mut dyn Tx, wallets: &[(WalletRow, Uuid)]) -> Result<(), StoreError> {
    let accounts: Vec<Vec<Value>> =
        wallets.iter().map(|(wallet, _)| values_of_account(&wallet.account).to_vec()).collect();
    tx.insert_rows("accounts", ACCOUNT_COLUMNS, &accounts)?;
    let places: Vec<Vec<Value>> = wallets
        .iter()
        .map(|(wallet, owner_id)| values_of_wallet(&wallet.account, *owner_id, &wallet.label).to_vec())
        .collect();
    tx.insert_rows("wallets", WALLET_COLUMNS, &places)
}

fn values_of_wallet(account: &Account, owner_id: Uuid, label: &str) -> [Value; 6] {
    [
        Value::Int(i64::from(bucket_of(owner_id))),
        Value::Uuid(owner_id),
        Value::Uuid(account.id.0),
        Value::Text(account.asset.code().as_str().to_owned()),
        Value::Text(label.to_owned()),
        Value::Time(account.created_at_us),
    ]
}

fn values_of_account(account: &Account) -> [Value; 17] {
    [
        Value::Int(i64::from(account.id.bucket())),
        Value::Uuid(account.id.0),
        Value::Int(i64::from(account_kind_code(account.kind))),
        Value::or_null(account.owner_id, Value::Uuid),
        Value::Text(account.asset.code().as_str().to_owned()),
        Value::Int(i64::from(account.asset.exponent())),
        Value::Int(i64::from(side_code(account.normal_side))),
        Value::or_null(account.limits.floor_minor, Value::Minor),
        Value::or_null(account.limits.ceiling_minor, Value::Minor),
        figure(account.posted_debits_minor),
        figure(account.posted_credits_minor),
        figure(account.pending_debits_minor),
        figure(account.pending_credits_minor),
        Value::Int(account.version),
        Value::Time(account.created_at_us),
        Value::Time(account.updated_at_us),
        Value::or_null(account.closed_at_us, Value::Time),
    ]
}

/// Most figures fit into 64 bits, and then take less room.
fn figure(minor: i128) -> Value {
    i64::try_from(minor).map_or(Value::Minor(minor), Value::Int)
}

/// The wallet with this id, if there is one.
///
/// # Errors
/// Those of the engine.
pub fn find_wallet(tx: &mut dyn Tx, id: AccountId) -> Result<Option<WalletRow>, StoreError> {
    let found = tx.lock_accounts(&[id])?.remove(&id);
    let Some(account) = found.filter(|account| account.kind == AccountKind::Wallet) else { return Ok(None) };
    let owner_id = account
        .owner_id
        .ok_or_else(|| StoreError::Inconsistent(format!("accounts.owner_id of wallet {} is NULL", id.0)))?;
    let rows = tx.query(
        "SELECT label FROM wallets WHERE bucket = $1 AND owner_id = $2 AND id = $3",
        &[Value::Int(i64::from(bucket_of(owner_id))), Value::Uuid(owner_id), Value::Uuid(id.0)],
    )?;
    let label = rows.first().map_or(Ok(String::new()), |row| row.get_text(0))?;
    Ok(Some(WalletRow { account, label }))
}

/// The owner and the asset of these wallets, in any order. What is no wallet is left out.
///
/// # Errors
/// Those of the engine.
pub fn list_owners(tx: &mut dyn Tx, ids: &[AccountId]) -> Result<Vec<(AccountId, Uuid, Asset)>, StoreError> {
    let wallets = tx.lock_accounts(ids)?.into_values().filter(|account| account.kind == AccountKind::Wallet);
    Ok(wallets.filter_map(|account| Some((account.id, account.owner_id?, account.asset))).collect())
}

/// A page of the ids of an owner's wallets, oldest first (ids are time-ordered), after `after`.
///
/// # Errors
/// Those of the engine.
pub fn list_wallets_by_owner(
    tx: &mut dyn Tx,
    owner_id: Uuid,
    after: Uuid,
    limit: u16,
) -> Result<Vec<WalletRow>, StoreError> {
    let rows = tx.query(
        "SELECT id, label FROM wallets WHERE bucket = $1 AND owner_id = $2 AND id > $3 ORDER BY id LIMIT $4",
        &[
            Value::Int(i64::from(bucket_of(owner_id))),
            Value::Uuid(owner_id),
            Value::Uuid(after),
            Value::Int(i64::from(limit)),
        ],
    )?;
    with_accounts(tx, &rows)
}

/// A page of all wallets, in the order of their buckets and ids, after `(bucket, id)`.
///
/// # Errors
/// Those of the engine.
pub fn list_wallets(tx: &mut dyn Tx, after: Option<AccountId>, limit: u16) -> Result<Vec<WalletRow>, StoreError> {
    let (bucket, id) = after.map_or((-1, Uuid::nil()), |id| (i64::from(id.bucket()), id.0));
    let rows = tx.query(
        "SELECT id, '' FROM accounts WHERE (bucket, id) > ($1, $2) AND kind = 0 ORDER BY bucket, id LIMIT $3",
        &[Value::Int(bucket), Value::Uuid(id), Value::Int(i64::from(limit))],
    )?;
    with_accounts(tx, &rows)
}

fn with_accounts(tx: &mut dyn Tx, rows: &[Row]) -> Result<Vec<WalletRow>, StoreError> {
    let ids = rows.iter().map(|row| row.get_uuid(0).map(AccountId)).collect::<Result<Vec<_>, _>>()?;
    let accounts = tx.lock_accounts(&ids)?;
    rows.iter()
        .zip(&ids)
        .map(|(row, id)| {
            let missing = || StoreError::Inconsistent(format!("wallets: {} has no account", id.0));
            let account = accounts.get(id).ok_or_else(missing)?;
            Ok(WalletRow { account: account.clone(), label: row.get_text(1)? })
        })
        .collect()
}

/// What an earlier request with this key opened: its fingerprint and the wallet.
///
/// # Errors
/// Those of the engine.
pub fn find_opened(tx: &mut dyn Tx, key: &IdempotencyKey) -> Result<Option<([u8; 32], AccountId)>, StoreError> {
    let rows = tx.query(
        "SELECT fingerprint, outcome FROM idempotency_keys WHERE bucket = $1 AND scope = $2 AND key = $3",
        &[Value::Int(i64::from(bucket_of(key.scope))), Value::Uuid(key.scope), Value::Text(key.key.clone())],
    )?;
    let Some(row) = rows.first() else { return Ok(None) };
    let id = Uuid::parse_str(&row.get_text(1)?)
        .map_err(|_| StoreError::Inconsistent("idempotency_keys.outcome does not name a wallet".to_owned()))?;
    Ok(Some((row.get_array(0)?, AccountId(id))))
}

/// Keeps that a request with this key opened a wallet.
///
/// # Errors
/// [`StoreError::Duplicate`] when another request with the key came first.
pub fn insert_opened(
    tx: &mut dyn Tx,
    key: &IdempotencyKey,
    id: AccountId,
    created_at_us: i64,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO idempotency_keys (bucket, scope, key, fingerprint, outcome, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6)",
        &[
            Value::Int(i64::from(bucket_of(key.scope))),
            Value::Uuid(key.scope),
            Value::Text(key.key.clone()),
            Value::Bytes(key.fingerprint.to_vec()),
            Value::Text(id.0.to_string()),
            Value::Time(created_at_us),
        ],
    )?;
    Ok(())
}
