//! Rows back into transactions and batches, for those who show or check them.

use florin_ledger::{AccountId, Balance, BatchHeader, Leg, PostedLeg, Side, TransactionId};
use florin_money::Asset;
use florin_store::{
    Posting, Row, StoreError, StoredBatch, StoredTransaction,
    codes::{kind_from_code, side_from_code},
};

use super::{is_stripe, select, writer_code};
use crate::{codec::row_of, statements as sql, tx::PostgresTx};

/// A transaction's place in its chain: the batch's number and the position in it.
pub(crate) type ChainPlace = (i64, i64);

/// The transactions of rows of postings, where rows of one transaction follow each other.
pub(crate) fn transactions_of(
    rows: &[tokio_postgres::Row],
) -> Result<Vec<(ChainPlace, StoredTransaction)>, StoreError> {
    let mut transactions: Vec<(ChainPlace, StoredTransaction)> = Vec::with_capacity(rows.len());
    for row in rows {
        let row = row_of(row)?;
        let id = TransactionId(row.get_uuid(2)?);
        match transactions.last_mut() {
            Some((_, last)) if last.transaction_id == id => {
                if !says_the_same(last, &row)? {
                    return Err(StoreError::Inconsistent(format!("the postings of transaction {} disagree", id.0)));
                }
                last.legs.extend(legs_of(&row)?);
            }
            _ => transactions.push(((row.get_int(17)?, row.get_int(18)?), transaction_of(&row, id)?)),
        }
    }
    Ok(transactions)
}

fn transaction_of(row: &Row, transaction_id: TransactionId) -> Result<StoredTransaction, StoreError> {
    let recorded_at_us = row.get_time(16)?;
    let exponent = u8::try_from(row.get_int(20)?).unwrap_or(u8::MAX);
    let asset = Asset::new(&row.get_text(19)?, exponent)
        .map_err(|error| StoreError::Inconsistent(format!("accounts.asset: {error}")))?;
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
fn says_the_same(transaction: &StoredTransaction, row: &Row) -> Result<bool, StoreError> {
    let other = transaction_of(row, transaction.transaction_id)?;
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

/// Batches of one chain.
pub(crate) fn list_batches(
    tx: &mut PostgresTx<'_>,
    writer: u16,
    after_number: i64,
    limit: usize,
) -> Result<Vec<StoredBatch>, StoreError> {
    let code = writer_code(writer)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let client = tx.client();
    let headers = tx.run(select(client, sql::LIST_HEADERS, &[&code, &after_number, &limit]))?;
    let headers = headers.iter().map(row_of).collect::<Result<Vec<_>, _>>()?;
    let last = headers.last().map_or(Ok(after_number), |row| row.get_int(0))?;
    let rows = tx.run(select(client, sql::LIST_BATCH_POSTINGS, &[&code, &after_number, &last]))?;
    let mut transactions = transactions_of(&rows)?.into_iter().peekable();
    let mut batches = Vec::with_capacity(headers.len());
    for row in &headers {
        let number = row.get_int(0)?;
        let mut own = Vec::new();
        while let Some((_, transaction)) = transactions.next_if(|((batch, _), _)| *batch <= number) {
            own.push(transaction);
        }
        let header = BatchHeader {
            writer,
            number,
            previous_hash: row.get_array(1)?,
            merkle_root: row.get_array(2)?,
            transactions: u32::try_from(row.get_int(3)?).unwrap_or(u32::MAX),
            recorded_at_us: row.get_time(4)?,
        };
        batches.push(StoredBatch { header, hash: row.get_array(5)?, transactions: own });
    }
    Ok(batches)
}

/// Every posting: those of wallets as their rows lie, then those of stripes, sorted.
pub(crate) fn visit_postings(
    tx: &mut PostgresTx<'_>,
    visit: &mut dyn FnMut(&Posting) -> bool,
) -> Result<(), StoreError> {
    let passes =
        [(sql::ALL_POSTINGS, sql::FETCH_POSTINGS, false), (sql::ALL_STRIPE_POSTINGS, sql::FETCH_STRIPE_POSTINGS, true)];
    for (declare, fetch, of_stripes) in passes {
        let client = tx.client();
        tx.run(client.batch_execute(declare))?;
        loop {
            let client = tx.client();
            let rows = tx.run(client.query(fetch, &[]))?;
            if rows.is_empty() {
                break;
            }
            for (_, transaction) in transactions_of(&rows)? {
                for posting in transaction.postings().filter(|posting| is_stripe(posting.account_id) == of_stripes) {
                    if !visit(&posting) {
                        return Ok(());
                    }
                }
            }
        }
    }
    Ok(())
}
