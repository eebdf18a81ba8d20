//! Rows back into transactions, for those who show or check them.

use florin_ledger::{AccountId, Balance, Leg, PostedLeg, Side, TransactionId};
use florin_money::Asset;
use florin_store::{
    Row, StoreError, StoredTransaction,
    codes::{kind_from_code, side_from_code},
};

use crate::codec::row_of;

/// A transaction's place in its chain: the batch's number and the position in it.
pub(crate) type ChainPlace = (i64, i64);

/// The transactions of rows of postings with their assets, where rows of one transaction follow each other.
pub(crate) fn transactions_of(
    rows: &[tokio_postgres::Row],
) -> Result<Vec<(ChainPlace, StoredTransaction)>, StoreError> {
    transactions_in(rows, |row| {
        let exponent = u8::try_from(row.get_int(20)?).unwrap_or(u8::MAX);
        Asset::new(&row.get_text(19)?, exponent)
            .map_err(|error| StoreError::Inconsistent(format!("accounts.asset: {error}")))
    })
}

/// As [`transactions_of`], where `asset_of` tells the asset of a row.
pub(crate) fn transactions_in(
    rows: &[tokio_postgres::Row],
    asset_of: impl Fn(&Row) -> Result<Asset, StoreError>,
) -> Result<Vec<(ChainPlace, StoredTransaction)>, StoreError> {
    let mut transactions: Vec<(ChainPlace, StoredTransaction)> = Vec::with_capacity(rows.len());
    for row in rows {
        let row = row_of(row)?;
        let (id, asset) = (TransactionId(row.get_uuid(2)?), asset_of(&row)?);
        match transactions.last_mut() {
            Some((_, last)) if last.transaction_id == id => {
                if !says_the_same(last, &row, asset)? {
                    return Err(StoreError::Inconsistent(format!("the postings of transaction {} disagree", id.0)));
                }
                last.legs.extend(legs_of(&row)?);
            }
            _ => transactions.push(((row.get_int(17)?, row.get_int(18)?), transaction_of(&row, id, asset)?)),
        }
    }
    Ok(transactions)
}

fn transaction_of(row: &Row, transaction_id: TransactionId, asset: Asset) -> Result<StoredTransaction, StoreError> {
    let recorded_at_us = row.get_time(16)?;
    Ok(StoredTransaction {
        transaction_id,
        kind: kind_from_code(row.get_int(3)?)?,
        asset,
        actor_id: row.get_uuid(12)?,
        reason: row.find_text(13)?,
        idempotency_key: row.find_text(14)?,
        effective_at_us: row.find_time(15)?.unwrap_or(recorded_at_us),
        recorded_at_us,
        legs: legs_of(row)?,
    })
}

/// Whether another row of the transaction repeats what the first said of it.
fn says_the_same(transaction: &StoredTransaction, row: &Row, asset: Asset) -> Result<bool, StoreError> {
    let other = transaction_of(row, transaction.transaction_id, asset)?;
    Ok(StoredTransaction { legs: Vec::new(), ..other } == StoredTransaction { legs: Vec::new(), ..transaction.clone() })
}

/// The row's own leg, and the stripe's if it is in the row, in the transaction's order.
fn legs_of(row: &Row) -> Result<Vec<PostedLeg>, StoreError> {
    let side = side_from_code(row.get_int(5)?)?;
    let amount_minor = row.get_minor(6)?;
    let balance = |posted_minor: i128, pending_minor: i128| Balance {
        posted_minor,
        pending_minor,
        available_minor: posted_minor.saturating_sub(pending_minor),
    };
    let own = PostedLeg {
        leg: Leg { account_id: AccountId(row.get_uuid(0)?), side, amount_minor },
        version: row.get_int(1)?,
        balance: balance(row.get_minor(7)?, row.find_minor(8)?.unwrap_or_default()),
    };
    let Some(version) = row.find_int(10)? else { return Ok(vec![own]) };
    let other_side = if side == Side::Debit { Side::Credit } else { Side::Debit };
    let stripe = PostedLeg {
        leg: Leg { account_id: AccountId(row.get_uuid(9)?), side: other_side, amount_minor },
        version,
        balance: balance(row.get_minor(11)?, 0),
    };
    Ok(if row.get_int(4)? == 0 { vec![own, stripe] } else { vec![stripe, own] })
}
