//! An account's history, walked back from posting to posting.

use florin_ledger::AccountId;
use florin_store::{POSTINGS_LOOKED_AT_MAX, PostingFilter, PostingPage, StoreError};
use rusqlite::{Connection, MAIN_DB, OptionalExtension, blob::Blob, params};

use super::{
    memory::Held,
    record::{BodyHead, HEADER_BYTES, Place, Record, read_record},
};
use crate::error::store_error;

/// Every so many postings of an account are marked, so that a long history can be entered anywhere.
pub(crate) const MARK_EVERY: i64 = 64;

pub(crate) const SELECT_MARK_FROM: &str =
    "SELECT version, place FROM posting_marks WHERE account_id = ?1 AND version >= ?2 ORDER BY version LIMIT 1";

pub(crate) const SELECT_MARK: &str =
    "SELECT place, recorded_at FROM posting_marks WHERE account_id = ?1 AND version = ?2";

/// Bytes read at first: a record of two legs without texts takes about a hundred.
const FIRST_READ: usize = 512;

/// A page of the history of the account `held`, newest first.
pub(crate) fn list_postings(
    connection: &Connection,
    held: &Held,
    filter: &PostingFilter,
) -> Result<PostingPage, StoreError> {
    let id = held.account.id;
    let start = held.account.version.min(filter.before_version.saturating_sub(1));
    let (mut version, mut place) = enter(connection, held, start, filter.to_us)?;
    let mut records = RecordReader::new(connection);
    let mut page = PostingPage::default();
    let mut looked_at = 0;
    while version > 0 && page.postings.len() < filter.limit {
        if looked_at == POSTINGS_LOOKED_AT_MAX {
            page.next_before_version = Some(version + 1);
            break;
        }
        let record = records.read(place)?;
        let Some(leg) = record.leg_at(id, version) else {
            return Err(StoreError::Inconsistent(format!(
                "posting {version} of account {} is not where it should be",
                id.0
            )));
        };
        let transaction = &record.transaction;
        if transaction.recorded_at_us < filter.from_us {
            break;
        }
        let amount_minor = transaction.legs[leg].leg.amount_minor;
        if version <= start && filter.admits(transaction.kind, amount_minor, transaction.recorded_at_us) {
            page.postings.extend(transaction.postings().nth(leg));
        }
        place = record.previous[leg];
        version -= 1;
        looked_at += i64::from(version < start);
    }
    Ok(page)
}

/// Where to begin: the nearest known place at or after posting `start`, and after `to_us`.
fn enter(connection: &Connection, held: &Held, start: i64, to_us: i64) -> Result<(i64, Place), StoreError> {
    let (id, tip) = (held.account.id, (held.account.version, held.place));
    if start <= 0 {
        return Ok((0, Place::default()));
    }
    let mut best = tip;
    if tip.0 - start >= MARK_EVERY {
        let mut select = connection.prepare_cached(SELECT_MARK_FROM).map_err(store_error)?;
        let mark = select.query_row(params![id.0.as_bytes(), start], |row| Ok((row.get(0)?, Place(row.get(1)?))));
        best = mark.optional().map_err(store_error)?.filter(|(version, _)| *version < tip.0).unwrap_or(tip);
    }
    // The first mark that is too new: everything above it is, too. Recorded time only grows.
    let (mut low, mut high) = (1, best.0 / MARK_EVERY + 1);
    while to_us != i64::MAX && low < high {
        let middle = low + (high - low) / 2;
        let Some((place, at_us)) = find_mark(connection, id, middle * MARK_EVERY)? else {
            high = middle;
            continue;
        };
        if at_us < to_us {
            low = middle + 1;
        } else {
            high = middle;
            if middle * MARK_EVERY < best.0 {
                best = (middle * MARK_EVERY, place);
            }
        }
    }
    Ok(best)
}

fn find_mark(connection: &Connection, id: AccountId, version: i64) -> Result<Option<(Place, i64)>, StoreError> {
    let mut select = connection.prepare_cached(SELECT_MARK).map_err(store_error)?;
    let mark = select.query_row(params![id.0.as_bytes(), version], |row| Ok((Place(row.get(0)?), row.get(1)?)));
    mark.optional().map_err(store_error)
}

impl Record {
    /// Which leg is this posting.
    fn leg_at(&self, id: AccountId, version: i64) -> Option<usize> {
        self.transaction.legs.iter().position(|posted| posted.leg.account_id == id && posted.version == version)
    }
}

struct OpenBody<'c> {
    sequence: i64,
    head: BodyHead,
    blob: Blob<'c>,
}

/// Reads single records out of bodies, without loading the bodies.
pub(crate) struct RecordReader<'c> {
    connection: &'c Connection,
    open: Option<OpenBody<'c>>,
    buffer: Vec<u8>,
}

impl<'c> RecordReader<'c> {
    pub(crate) fn new(connection: &'c Connection) -> Self {
        Self { connection, open: None, buffer: Vec::new() }
    }

    pub(crate) fn read(&mut self, place: Place) -> Result<Record, StoreError> {
        let (head, size) = self.turn_to(place.sequence())?;
        let mut wanted = FIRST_READ;
        loop {
            let length = wanted.min(size.saturating_sub(place.offset()));
            self.fill(place.offset(), length)?;
            match read_record(&self.buffer, head)? {
                Ok((record, _)) => return Ok(record),
                Err(needed) if needed > length && length == wanted => wanted = needed,
                Err(_) => return Err(StoreError::Inconsistent(format!("batch {} ends too soon", place.sequence()))),
            }
        }
    }

    /// Opens the body of a batch; gives what it begins with and its size.
    fn turn_to(&mut self, sequence: i64) -> Result<(BodyHead, usize), StoreError> {
        let open = match self.open.take() {
            Some(open) if open.sequence == sequence => open,
            other => self.open_body(sequence, other.map(|open| open.blob))?,
        };
        let (head, size) = (open.head, open.blob.len());
        self.open = Some(open);
        Ok((head, size))
    }

    fn open_body(&self, sequence: i64, other: Option<Blob<'c>>) -> Result<OpenBody<'c>, StoreError> {
        let blob = match other {
            Some(mut blob) => blob.reopen(sequence).map(|()| blob),
            None => self.connection.blob_open(MAIN_DB, "batches", "body", sequence, true),
        }
        .map_err(|error| match error {
            rusqlite::Error::SqliteFailure(failure, _) if failure.code == rusqlite::ErrorCode::Unknown => {
                StoreError::Inconsistent(format!("batch {sequence} is missing"))
            }
            other => store_error(other),
        })?;
        let mut first = [0; HEADER_BYTES];
        let length = HEADER_BYTES.min(blob.len());
        blob.read_at_exact(&mut first[..length], 0).map_err(store_error)?;
        Ok(OpenBody { sequence, head: BodyHead::read(&first[..length])?, blob })
    }

    fn fill(&mut self, offset: usize, length: usize) -> Result<(), StoreError> {
        self.buffer.resize(length, 0);
        let Some(open) = &self.open else { return Err(StoreError::Internal("no body is open".to_owned())) };
        open.blob.read_at_exact(&mut self.buffer, offset).map_err(store_error)
    }
}
