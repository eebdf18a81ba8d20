//! Chains read from end to end, for those who check them.
//!
//! A chain's rows lie among those of the other writers. One scan of the table and one sort, on the server's disk where
//! it does not fit its memory, put them in order, however many and wherever they are.

use std::collections::VecDeque;

use florin_ledger::{AccountId, BatchHeader};
use florin_money::Asset;
use florin_store::{Row, StoreError, StoredBatch, codes::hash_form_from_code};
use tokio_postgres::Statement;

use super::{replay::transactions_in, select, writer_code};
use crate::{codec::row_of, statements as sql, tx::PostgresTx};

/// Headers, and rows of postings, fetched at once: bounds memory, whatever the size of the ledger.
const HEADERS_AT_ONCE: i64 = 1_000;
const ROWS_AT_ONCE: usize = 10_000;
/// Transactions given at once, but for a batch that alone has more.
const TRANSACTIONS_AT_ONCE: usize = 5_000;

/// The column of a posting's batch.
const BATCH_NUMBER: usize = 17;

/// Sessions read by index alone; what reads a whole table must not. Sorting in a little more memory than the server
/// gives by itself saves it a second round over its disk.
const READ_WHOLE: &str = "SET LOCAL enable_seqscan = on; SET LOCAL enable_bitmapscan = on; SET LOCAL work_mem = '32MB'";
const READ_BY_INDEX: &str =
    "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL work_mem TO DEFAULT";

/// A chain that is being read, and what was fetched but not given yet.
pub(crate) struct ChainReader {
    writer: u16,
    /// The last batch that was given, and the last one whose header was fetched.
    given: i64,
    fetched: i64,
    /// Without their transactions.
    headers: VecDeque<StoredBatch>,
    /// Of batches after the last one given.
    rows: VecDeque<tokio_postgres::Row>,
    fetch: Statement,
    has_more_rows: bool,
}

impl ChainReader {
    /// A cursor over the postings of this chain after this batch.
    pub(crate) fn open(tx: &mut PostgresTx<'_>, writer: u16, after: i64) -> Result<Self, StoreError> {
        let code = writer_code(writer)?;
        let client = tx.client();
        let declare = format!(
            "{READ_WHOLE}; DECLARE chain_{code} NO SCROLL CURSOR FOR {} \
             WHERE p.writer = {code} AND p.batch_number > {after} ORDER BY p.batch_number, p.position, p.leg; \
             {READ_BY_INDEX}",
            sql::CHAIN_POSTINGS
        );
        tx.run(client.batch_execute(&declare))?;
        let fetch = format!("FETCH {ROWS_AT_ONCE} FROM chain_{code}");
        let fetch = tx.run(client.prepare(&fetch))?;
        let (headers, rows) = (VecDeque::new(), VecDeque::new());
        Ok(Self { writer, given: after, fetched: after, headers, rows, fetch, has_more_rows: true })
    }

    /// Lets go of the cursor.
    pub(crate) fn close(self, tx: &mut PostgresTx<'_>) -> Result<(), StoreError> {
        let (close, client) = (format!("CLOSE chain_{}", self.writer), tx.client());
        tx.run(client.batch_execute(&close))
    }

    /// Whether the next batch to be given is the one after this.
    pub(crate) fn is_behind(&self, number: i64) -> bool {
        self.given == number
    }

    /// The next batches; none at the end.
    pub(crate) fn next_batches(
        &mut self,
        tx: &mut PostgresTx<'_>,
        asset_of: &dyn Fn(AccountId) -> Option<Asset>,
    ) -> Result<Vec<StoredBatch>, StoreError> {
        if self.headers.is_empty() {
            self.fetch_headers(tx)?;
        }
        let (mut batches, mut count) = (Vec::new(), 0);
        while count < TRANSACTIONS_AT_ONCE
            && let Some(mut batch) = self.headers.pop_front()
        {
            let rows = self.rows_up_to(tx, batch.header.number)?;
            let transactions = transactions_in(&rows, |row| asset_of_row(row, asset_of))?;
            batch.transactions = transactions.into_iter().map(|(_, transaction)| transaction).collect();
            count += batch.transactions.len();
            self.given = batch.header.number;
            batches.push(batch);
        }
        Ok(batches)
    }

    fn fetch_headers(&mut self, tx: &mut PostgresTx<'_>) -> Result<(), StoreError> {
        let (code, client) = (writer_code(self.writer)?, tx.client());
        let rows = tx.run(select(client, sql::LIST_HEADERS, &[&code, &self.fetched, &HEADERS_AT_ONCE]))?;
        for row in &rows {
            let row = row_of(row)?;
            self.fetched = row.get_int(0)?;
            let header = BatchHeader {
                form: hash_form_from_code(row.get_int(6)?)?,
                writer: self.writer,
                number: self.fetched,
                previous_hash: row.get_array(1)?,
                merkle_root: row.get_array(2)?,
                transactions: u32::try_from(row.get_int(3)?).unwrap_or(u32::MAX),
                recorded_at_us: row.get_time(4)?,
            };
            self.headers.push_back(StoredBatch { header, hash: row.get_array(5)?, transactions: Vec::new() });
        }
        Ok(())
    }

    /// The rows up to this batch that were not given yet: those of a batch without a header are counted to the next.
    fn rows_up_to(&mut self, tx: &mut PostgresTx<'_>, number: i64) -> Result<Vec<tokio_postgres::Row>, StoreError> {
        let mut own = Vec::new();
        loop {
            while let Some(row) = self.rows.pop_front() {
                let found = row.try_get::<_, i64>(BATCH_NUMBER);
                if found.map_err(|error| StoreError::Inconsistent(error.to_string()))? > number {
                    self.rows.push_front(row);
                    return Ok(own);
                }
                own.push(row);
            }
            if !self.has_more_rows {
                return Ok(own);
            }
            let client = tx.client();
            self.rows = tx.run(client.query(&self.fetch, &[]))?.into();
            self.has_more_rows = self.rows.len() == ROWS_AT_ONCE;
        }
    }
}

/// The asset of the row's account; the row must lie in that account's bucket, where it is looked for.
fn asset_of_row(row: &Row, asset_of: &dyn Fn(AccountId) -> Option<Asset>) -> Result<Asset, StoreError> {
    let id = AccountId(row.get_uuid(0)?);
    let place = || row.get_int(1).map(|version| format!("posting {version} of account {}", id.0));
    if row.get_int(19)? != i64::from(id.bucket()) {
        return Err(StoreError::Inconsistent(format!("{}: it lies in another bucket", place()?)));
    }
    let Some(asset) = asset_of(id) else {
        return Err(StoreError::Inconsistent(format!("{}: no such account", place()?)));
    };
    Ok(asset)
}

/// Every posting that is stored; each key must be in one of those that have its text.
pub(crate) fn count_postings(tx: &mut PostgresTx<'_>) -> Result<u64, StoreError> {
    let client = tx.client();
    tx.run(client.batch_execute(READ_WHOLE))?;
    let rows = tx.run(client.query(sql::COUNT_POSTINGS, &[]))?;
    tx.run(client.batch_execute(READ_BY_INDEX))?;
    let Some(row) = rows.first() else { return Ok(0) };
    let row = row_of(row)?;
    let [count, odd, with_text, with_key] = [row.get_int(0)?, row.get_int(1)?, row.get_int(2)?, row.get_int(3)?];
    if odd > 0 {
        return Err(StoreError::Inconsistent(format!("{odd} rows of postings have a part of a key, or no text of it")));
    }
    if with_text != with_key {
        return Err(StoreError::Inconsistent(format!(
            "{with_text} transactions have a key, {with_key} are found by it"
        )));
    }
    Ok(u64::try_from(count).unwrap_or_default())
}
