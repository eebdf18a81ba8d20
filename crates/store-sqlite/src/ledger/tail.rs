//! The batches whose accounts and keys are not in their tables yet, and what they add to them.

use florin_ledger::{Account, AccountId, AccountMap, PostedLeg, Side};
use florin_store::StoreError;
use rusqlite::{Connection, params};

use super::{
    KeyMap,
    memory::Held,
    record::{Place, read_body},
};
use crate::error::store_error;

pub(crate) const SELECT_SETTLED: &str = "SELECT sequence FROM settled";
pub(crate) const SELECT_TAIL: &str = "SELECT sequence, body FROM batches WHERE sequence > ?1 ORDER BY sequence";

struct TailPosting {
    place: Place,
    posted: PostedLeg,
    recorded_at_us: i64,
}

/// What the tables lack, by account and by key.
#[derive(Default)]
pub(crate) struct Tail {
    postings: AccountMap<Vec<TailPosting>>,
    pub(crate) keys: KeyMap<Place>,
    pub(crate) last_sequence: i64,
    pub(crate) operations: usize,
}

impl Tail {
    /// Reads it, in the transaction that is open on `connection`.
    pub(crate) fn read(connection: &Connection) -> Result<Self, StoreError> {
        let settled = read_settled(connection)?;
        let mut tail = Self { last_sequence: settled, ..Self::default() };
        let mut select = connection.prepare_cached(SELECT_TAIL).map_err(store_error)?;
        let mut rows = select.query(params![settled]).map_err(store_error)?;
        while let Some(row) = rows.next().map_err(store_error)? {
            let sequence = row.get(0).map_err(store_error)?;
            let body = row.get_ref(1).map_err(store_error)?;
            let body = body.as_blob().map_err(|_| StoreError::Inconsistent(format!("batch {sequence} has no body")))?;
            tail.add(sequence, body)?;
        }
        Ok(tail)
    }

    fn add(&mut self, sequence: i64, body: &[u8]) -> Result<(), StoreError> {
        self.last_sequence = sequence;
        read_body(body, |offset, record| {
            let place = Place::new(sequence, offset).unwrap_or_default();
            self.operations += 1;
            for posted in record.transaction.legs {
                let recorded_at_us = record.transaction.recorded_at_us;
                let postings = self.postings.entry(posted.leg.account_id).or_default();
                postings.push(TailPosting { place, posted, recorded_at_us });
            }
            if let Some(key) = record.key {
                self.keys.insert(key.digest(), place);
            }
            true
        })
    }

    /// An account's row, brought up to date.
    pub(crate) fn complete(&self, mut held: Held) -> Held {
        let after = held.place;
        for posting in self.postings.get(&held.account.id).into_iter().flatten() {
            if posting.place > after {
                add(&mut held.account, &posting.posted, posting.recorded_at_us);
                held.place = posting.place;
            }
        }
        held
    }

    /// The accounts it says something about.
    pub(crate) fn accounts(&self) -> impl Iterator<Item = AccountId> + '_ {
        self.postings.keys().copied()
    }
}

/// The last batch that is in the tables.
pub(crate) fn read_settled(connection: &Connection) -> Result<i64, StoreError> {
    let mut select = connection.prepare_cached(SELECT_SETTLED).map_err(store_error)?;
    select.query_row([], |row| row.get(0)).map_err(store_error)
}

fn add(account: &mut Account, posted: &PostedLeg, recorded_at_us: i64) {
    let figure = match posted.leg.side {
        Side::Debit => &mut account.posted_debits_minor,
        Side::Credit => &mut account.posted_credits_minor,
    };
    *figure = figure.saturating_add(posted.leg.amount_minor);
    account.version = posted.version;
    account.updated_at_us = account.updated_at_us.max(recorded_at_us);
}
