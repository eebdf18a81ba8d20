//! The rows of a batch as they go into the file: one in the journal, and the few beside it that cannot wait.

use florin_ledger::{AccountId, BatchHeader, Hash, IdempotencyKey, Outcome, bucket_of};
use florin_store::{
    StoreError,
    codes::{account_kind_code, side_code},
    minor_to_bytes, outcome_to_text,
};
use rusqlite::{Connection, params};

use super::{memory::Held, record::Place};
use crate::{error::store_error, minor::Minor};

pub(crate) const INSERT_BATCH: &str = "INSERT INTO batches (sequence, writer, number, previous_hash, merkle_root, \
    transactions, recorded_at, hash, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";

pub(crate) const UPSERT_HEAD: &str = "INSERT INTO chain_heads (writer, number, hash, recorded_at) \
    VALUES (?1, ?2, ?3, ?4) ON CONFLICT (writer) DO UPDATE SET number = excluded.number, hash = excluded.hash, \
    recorded_at = excluded.recorded_at";

pub(crate) const INSERT_MARK: &str =
    "INSERT INTO posting_marks (account_id, version, place, recorded_at) VALUES (?1, ?2, ?3, ?4)";

pub(crate) const INSERT_ACCOUNT: &str = "INSERT INTO accounts (bucket, id, kind, owner_id, asset, exponent, \
    normal_side, floor, ceiling, posted_debits, posted_credits, pending_debits, pending_credits, version, created_at, \
    updated_at, closed_at, last_place) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)";

pub(crate) const INSERT_ANSWER: &str = "INSERT INTO idempotency_keys (bucket, scope, key, fingerprint, outcome, \
    created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

/// What is written of a batch, whenever that is.
#[derive(Debug)]
pub(crate) struct JournalRows {
    /// Refusals are answers too; what was applied is found through the journal.
    pub(crate) refused: Vec<(IdempotencyKey, Outcome)>,
    /// None if nothing was applied.
    pub(crate) batch: Option<BatchRow>,
    pub(crate) recorded_at_us: i64,
}

/// One row of `batches`, with the rows that lead to it.
#[derive(Debug)]
pub(crate) struct BatchRow {
    pub(crate) sequence: i64,
    pub(crate) header: BatchHeader,
    /// Of the header.
    pub(crate) hash: Hash,
    pub(crate) body: Vec<u8>,
    pub(crate) marks: Vec<Mark>,
    /// Accounts that are opened by their first posting.
    pub(crate) opened: Vec<Held>,
}

/// Where a long history can be entered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    pub(crate) account_id: AccountId,
    pub(crate) version: i64,
    pub(crate) place: Place,
}

impl JournalRows {
    /// Writes them in the transaction that is open on `connection`.
    pub(crate) fn insert(&self, connection: &Connection) -> Result<(), StoreError> {
        for (key, outcome) in &self.refused {
            insert_refusal(connection, key, outcome, self.recorded_at_us)?;
        }
        self.batch.as_ref().map_or(Ok(()), |batch| batch.insert(connection))
    }

    /// How many operations they have.
    pub(crate) fn operations(&self) -> usize {
        let operations = self.batch.as_ref().map_or(0, |batch| batch.header.transactions);
        usize::try_from(operations).unwrap_or(usize::MAX)
    }
}

impl BatchRow {
    fn insert(&self, connection: &Connection) -> Result<(), StoreError> {
        for mark in &self.marks {
            insert_mark(connection, mark, self.header.recorded_at_us)?;
        }
        for opened in &self.opened {
            insert_account(connection, opened)?;
        }
        let header = &self.header;
        let mut insert = connection.prepare_cached(INSERT_BATCH).map_err(store_error)?;
        insert
            .execute(params![
                self.sequence,
                header.writer,
                header.number,
                header.previous_hash,
                header.merkle_root,
                header.transactions,
                header.recorded_at_us,
                self.hash,
                self.body,
            ])
            .map_err(store_error)?;
        let mut upsert = connection.prepare_cached(UPSERT_HEAD).map_err(store_error)?;
        upsert.execute(params![header.writer, header.number, self.hash, header.recorded_at_us]).map_err(store_error)?;
        Ok(())
    }
}

fn insert_mark(connection: &Connection, mark: &Mark, recorded_at_us: i64) -> Result<(), StoreError> {
    let mut insert = connection.prepare_cached(INSERT_MARK).map_err(store_error)?;
    let id = mark.account_id.0;
    insert.execute(params![id.as_bytes(), mark.version, mark.place.0, recorded_at_us]).map_err(store_error)?;
    Ok(())
}

fn insert_account(connection: &Connection, held: &Held) -> Result<(), StoreError> {
    let account = &held.account;
    let mut insert = connection.prepare_cached(INSERT_ACCOUNT).map_err(store_error)?;
    insert
        .execute(params![
            account.id.bucket(),
            account.id.0.as_bytes(),
            account_kind_code(account.kind),
            account.owner_id.as_ref().map(|owner| owner.as_bytes()),
            account.asset.code().as_str(),
            account.asset.exponent(),
            side_code(account.normal_side),
            account.limits.floor_minor.map(minor_to_bytes),
            account.limits.ceiling_minor.map(minor_to_bytes),
            Minor(account.posted_debits_minor),
            Minor(account.posted_credits_minor),
            Minor(account.pending_debits_minor),
            Minor(account.pending_credits_minor),
            account.version,
            account.created_at_us,
            account.updated_at_us,
            account.closed_at_us,
            held.place.0,
        ])
        .map_err(store_error)?;
    Ok(())
}

fn insert_refusal(
    connection: &Connection,
    key: &IdempotencyKey,
    outcome: &Outcome,
    recorded_at_us: i64,
) -> Result<(), StoreError> {
    let mut insert = connection.prepare_cached(INSERT_ANSWER).map_err(store_error)?;
    insert
        .execute(params![
            bucket_of(key.scope),
            key.scope.as_bytes(),
            key.key,
            key.fingerprint,
            outcome_to_text(outcome)?,
            recorded_at_us,
        ])
        .map_err(store_error)?;
    Ok(())
}
