//! Small numbers that stand for names in the ledger's tables, and the columns of an account in one order.

use florin_ledger::{Account, AccountId, AccountKind, HashForm, Kind, Limits, Side};
use florin_money::Asset;

use crate::{Row, StoreError};

/// Debit is 0, credit is 1.
#[must_use]
pub const fn side_code(side: Side) -> i16 {
    match side {
        Side::Debit => 0,
        Side::Credit => 1,
    }
}

/// The side of that number.
///
/// # Errors
/// Another number.
pub fn side_from_code(code: i64) -> Result<Side, StoreError> {
    match code {
        0 => Ok(Side::Debit),
        1 => Ok(Side::Credit),
        other => Err(StoreError::Inconsistent(format!("{other} is no side"))),
    }
}

/// The number of a form of hashing.
#[must_use]
pub const fn hash_form_code(form: HashForm) -> i16 {
    match form {
        HashForm::V1 => 1,
        HashForm::V2 => 2,
    }
}

/// The form of that number.
///
/// # Errors
/// Another number.
pub fn hash_form_from_code(code: i64) -> Result<HashForm, StoreError> {
    match code {
        1 => Ok(HashForm::V1),
        2 => Ok(HashForm::V2),
        other => Err(StoreError::Inconsistent(format!("{other} is no form of hashing"))),
    }
}

/// The number of a transaction's kind.
#[must_use]
pub const fn kind_code(kind: Kind) -> i16 {
    match kind {
        Kind::Deposit => 0,
        Kind::Withdraw => 1,
        Kind::Transfer => 2,
        Kind::Adjustment => 3,
    }
}

/// The kind of that number.
///
/// # Errors
/// Another number.
pub fn kind_from_code(code: i64) -> Result<Kind, StoreError> {
    match code {
        0 => Ok(Kind::Deposit),
        1 => Ok(Kind::Withdraw),
        2 => Ok(Kind::Transfer),
        3 => Ok(Kind::Adjustment),
        other => Err(StoreError::Inconsistent(format!("{other} is no kind of transaction"))),
    }
}

/// The number of an account's kind.
#[must_use]
pub const fn account_kind_code(kind: AccountKind) -> i16 {
    match kind {
        AccountKind::Wallet => 0,
        AccountKind::System => 1,
    }
}

/// An asset from the columns `asset` and `exponent` of a row of `accounts`, which begin at `column`.
///
/// # Errors
/// They are of no asset.
pub fn asset_from_row(row: &Row, column: usize) -> Result<Asset, StoreError> {
    let exponent = u8::try_from(row.get_int(column + 1)?)
        .map_err(|_| StoreError::Inconsistent("accounts.exponent is out of range".to_owned()))?;
    Asset::new(&row.get_text(column)?, exponent)
        .map_err(|error| StoreError::Inconsistent(format!("accounts.asset: {error}")))
}

/// An account from a row of `accounts`: the columns of the table in their order, from `id` on, without the bucket.
///
/// # Errors
/// A column does not have the form that the table promises.
pub fn account_from_row(row: &Row) -> Result<Account, StoreError> {
    let kind = match row.get_int(1)? {
        0 => AccountKind::Wallet,
        1 => AccountKind::System,
        other => return Err(StoreError::Inconsistent(format!("accounts.kind: {other} is no kind of account"))),
    };
    let asset = asset_from_row(row, 3)?;
    Ok(Account {
        id: AccountId(row.get_uuid(0)?),
        kind,
        owner_id: row.find_uuid(2)?,
        asset,
        normal_side: side_from_code(row.get_int(5)?)?,
        limits: Limits { floor_minor: row.find_minor(6)?, ceiling_minor: row.find_minor(7)? },
        posted_debits_minor: row.get_minor(8)?,
        posted_credits_minor: row.get_minor(9)?,
        pending_debits_minor: row.get_minor(10)?,
        pending_credits_minor: row.get_minor(11)?,
        version: row.get_int(12)?,
        created_at_us: row.get_time(13)?,
        updated_at_us: row.get_time(14)?,
        closed_at_us: row.find_time(15)?,
    })
}
