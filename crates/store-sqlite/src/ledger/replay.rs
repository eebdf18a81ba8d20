//! Reading the journal from end to end, for those who check it.

use florin_ledger::{AccountMap, BatchHeader};
use florin_store::{StoreError, StoredBatch};
use rusqlite::{Connection, params};

use super::{
    key_index::{self, KeySum},
    key_run::name_of,
    record::{BodyHead, Place, read_body},
    tail::read_settled,
};
use crate::{error::store_error, tx::row_of};

pub(crate) const SELECT_BATCHES: &str = "SELECT number, previous_hash, merkle_root, transactions, recorded_at, hash, \
    body FROM batches WHERE writer = ?1 AND number > ?2 ORDER BY number";

pub(crate) const SELECT_BODIES: &str = "SELECT sequence, body FROM batches ORDER BY sequence";

/// Transactions read at once: bounds memory, whatever the size of the ledger.
const AT_ONCE: usize = 5_000;

/// Batches of one chain.
pub(crate) fn list_batches(
    connection: &Connection,
    writer: u16,
    after_number: i64,
) -> Result<Vec<StoredBatch>, StoreError> {
    let mut select = connection.prepare_cached(SELECT_BATCHES).map_err(store_error)?;
    let mut rows = select.query(params![writer, after_number]).map_err(store_error)?;
    let (mut batches, mut count) = (Vec::new(), 0);
    while count < AT_ONCE
        && let Some(row) = rows.next().map_err(store_error)?
    {
        let row = row_of(row, 7)?;
        let number = row.get_int(0)?;
        let mut transactions = Vec::new();
        let place = |error| match error {
            StoreError::Inconsistent(text) => {
                StoreError::Inconsistent(format!("chain {writer}, batch {number}: {text}"))
            }
            other => other,
        };
        let body = row.get_bytes(6)?;
        read_body(&body, |_, record| {
            transactions.push(record.transaction);
            true
        })
        .map_err(place)?;
        let header = BatchHeader {
            form: BodyHead::read(&body).map_err(place)?.form,
            writer,
            number,
            previous_hash: row.get_array(1)?,
            merkle_root: row.get_array(2)?,
            transactions: u32::try_from(row.get_int(3)?).unwrap_or(u32::MAX),
            recorded_at_us: row.get_time(4)?,
        };
        count += transactions.len();
        batches.push(StoredBatch { header, hash: row.get_array(5)?, transactions });
    }
    Ok(batches)
}

/// Every posting in the order of commits; each must know the place of the one before it, and each key that is behind
/// the journal must be found at its place.
pub(crate) fn count_postings(connection: &Connection) -> Result<u64, StoreError> {
    let (settled, mut keys) = (read_settled(connection)?, KeySum::default());
    let mut count = 0;
    let mut last_places: AccountMap<Place> = AccountMap::default();
    let mut select = connection.prepare_cached(SELECT_BODIES).map_err(store_error)?;
    let mut rows = select.query([]).map_err(store_error)?;
    while let Some(row) = rows.next().map_err(store_error)? {
        let sequence: i64 = row.get(0).map_err(store_error)?;
        let body = row.get_ref(1).map_err(store_error)?;
        let body = body.as_blob().map_err(|_| StoreError::Inconsistent(format!("batch {sequence} has no body")))?;
        let mut astray = None;
        read_body(body, |offset, record| {
            let place = Place::new(sequence, offset).unwrap_or_default();
            for (posted, previous) in record.transaction.legs.iter().zip(&record.previous) {
                let before = last_places.insert(posted.leg.account_id, place).unwrap_or_default();
                if before != *previous {
                    astray = Some((posted.leg.account_id, posted.version));
                    return false;
                }
                count += 1;
            }
            if let Some(key) = record.key.filter(|_| sequence <= settled) {
                keys.add((name_of(&key.digest()), place));
            }
            true
        })?;
        if let Some((id, version)) = astray {
            let text = format!("posting {version} of account {}: it does not lead to the posting before it", id.0);
            return Err(StoreError::Inconsistent(text));
        }
    }
    if key_index::sum_keys(connection)? != keys {
        return Err(StoreError::Inconsistent("the index of idempotency keys is not that of the journal".to_owned()));
    }
    Ok(count)
}
