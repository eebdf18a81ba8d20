//! The ledger on a server that several nodes write to: rows as arrays, few round trips, and nothing trusted that was
//! not read or compared.
//!
//! An account is as its last posting says. A batch is decided on the figures that this node wrote last ([`cache`]) and
//! inserts the versions behind them, with the keys of callers in the same rows; where another node has written one of
//! those, the batch is rolled back and decided again under locks.

pub(crate) mod cache;
pub(crate) mod caution;
pub(crate) mod chain;
mod key_name;
mod posting_rows;
pub(crate) mod read;
pub(crate) mod replay;
pub(crate) mod request_answers;
mod row_array;
pub(crate) mod write;

use deadpool_postgres::Object as Client;
use florin_ledger::AccountId;
use florin_store::StoreError;
use tokio_postgres::{Error, types::ToSql};
use uuid::Uuid;

pub(crate) type Params<'p> = &'p [&'p (dyn ToSql + Sync)];

/// A place in a table, for arrays: bucket and id, side by side.
#[derive(Default)]
pub(crate) struct Places {
    pub(crate) buckets: Vec<i16>,
    pub(crate) ids: Vec<Uuid>,
}

impl Places {
    pub(crate) fn push(&mut self, bucket: u16, id: Uuid) {
        self.buckets.push(small(bucket));
        self.ids.push(id);
    }

    pub(crate) fn of_accounts(ids: impl Iterator<Item = AccountId>) -> Self {
        let mut places = Self::default();
        ids.for_each(|id| places.push(id.bucket(), id.0));
        places
    }
}

/// Buckets end at 1023.
pub(crate) fn small(bucket: u16) -> i16 {
    i16::try_from(bucket).unwrap_or(i16::MAX)
}

pub(crate) fn writer_code(writer: u16) -> Result<i16, StoreError> {
    i16::try_from(writer).map_err(|_| StoreError::Internal(format!("writer {writer} is greater than 32767")))
}

/// Whether the account is a stripe of a system account: their ids are UUIDs of version 8.
pub(crate) fn is_stripe(id: AccountId) -> bool {
    id.0.get_version_num() == 8
}

pub(crate) async fn select(client: &Client, sql: &str, params: Params<'_>) -> Result<Vec<tokio_postgres::Row>, Error> {
    let statement = client.prepare_cached(sql).await?;
    client.query(&statement, params).await
}

pub(crate) async fn change(client: &Client, sql: &str, params: Params<'_>) -> Result<u64, Error> {
    let statement = client.prepare_cached(sql).await?;
    client.execute(&statement, params).await
}
