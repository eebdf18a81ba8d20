//! The ledger's batch, row by row: in this process a statement costs a function call, not a round trip.

use florin_ledger::{Account, AccountId, BatchHeader, IdempotencyKey, Outcome, bucket_of};
use florin_store::{
    BatchRows, Row, StoreError,
    codes::{account_from_row, account_kind_code, kind_code, side_code},
    ledger::{counterpart_of, transaction_bucket},
    legs_to_bytes, minor_to_bytes, outcome_from_text, outcome_to_text,
};
use rusqlite::{Connection, OptionalExtension, params};

use crate::{error::store_error, tx::row_of};

const SELECT_ACCOUNT: &str = "SELECT id, kind, owner_id, asset, exponent, normal_side, floor, ceiling, posted_debits, \
    posted_credits, pending_debits, pending_credits, version, created_at, updated_at, closed_at \
    FROM accounts WHERE bucket = ?1 AND id = ?2";

const SELECT_ANSWER: &str =
    "SELECT fingerprint, outcome FROM idempotency_keys WHERE bucket = ?1 AND scope = ?2 AND key = ?3";

const SELECT_HEAD: &str = "SELECT number, hash FROM chain_heads WHERE writer = ?1";

const SELECT_POSTING: &str = "SELECT account_id, version, transaction_id, leg, kind, side, amount, posted_after, \
    pending_after, counterpart_id, reason, recorded_at FROM postings \
    WHERE bucket = ?1 AND account_id = ?2 AND version = ?3";

const INSERT_TRANSACTION: &str = "INSERT INTO transactions (bucket, id, kind, asset, actor_id, reason, \
    idempotency_key, effective_at, recorded_at, writer, batch_number, position, legs, hash) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";

const INSERT_POSTING: &str = "INSERT INTO postings (bucket, account_id, version, transaction_id, leg, kind, side, \
    amount, posted_after, pending_after, reason, counterpart_id, recorded_at) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";

const INSERT_ACCOUNT: &str = "INSERT INTO accounts (bucket, id, kind, owner_id, asset, exponent, normal_side, floor, \
    ceiling, posted_debits, posted_credits, pending_debits, pending_credits, version, created_at, updated_at, \
    closed_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)";

const UPDATE_ACCOUNT: &str = "UPDATE accounts SET posted_debits = ?3, posted_credits = ?4, pending_debits = ?5, \
    pending_credits = ?6, version = ?7, updated_at = ?8 WHERE bucket = ?1 AND id = ?2";

const INSERT_ANSWER: &str = "INSERT INTO idempotency_keys (bucket, scope, key, fingerprint, outcome, created_at) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

const INSERT_BATCH: &str = "INSERT INTO batches (writer, number, previous_hash, merkle_root, transactions, \
    recorded_at, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

const UPSERT_HEAD: &str = "INSERT INTO chain_heads (writer, number, hash) VALUES (?1, ?2, ?3) \
    ON CONFLICT (writer) DO UPDATE SET number = excluded.number, hash = excluded.hash";

/// Every statement of this module, for the test that prepares them.
#[cfg(test)]
pub(crate) const STATEMENTS: &[&str] = &[
    SELECT_ACCOUNT,
    SELECT_ANSWER,
    SELECT_HEAD,
    SELECT_POSTING,
    INSERT_TRANSACTION,
    INSERT_POSTING,
    INSERT_ACCOUNT,
    UPDATE_ACCOUNT,
    INSERT_ANSWER,
    INSERT_BATCH,
    UPSERT_HEAD,
];

/// The accounts that exist. Nothing is locked: there is one writer, and it is us.
pub(crate) fn read_accounts(connection: &Connection, ids: &[AccountId]) -> Result<Vec<Account>, StoreError> {
    let mut statement = connection.prepare_cached(SELECT_ACCOUNT).map_err(store_error)?;
    let mut accounts = Vec::with_capacity(ids.len());
    for id in ids {
        let mut rows = statement.query(params![id.bucket(), id.0.as_bytes()]).map_err(store_error)?;
        if let Some(row) = rows.next().map_err(store_error)? {
            accounts.push(account_from_row(&row_of(row, 16)?)?);
        }
    }
    Ok(accounts)
}

/// The answers that exist.
pub(crate) fn find_answers(
    connection: &Connection,
    keys: &[&IdempotencyKey],
) -> Result<Vec<(IdempotencyKey, Outcome)>, StoreError> {
    let mut statement = connection.prepare_cached(SELECT_ANSWER).map_err(store_error)?;
    let mut answers = Vec::new();
    for key in keys {
        let place = params![bucket_of(key.scope), key.scope.as_bytes(), key.key];
        let mut rows = statement.query(place).map_err(store_error)?;
        if let Some(row) = rows.next().map_err(store_error)? {
            let row = row_of(row, 2)?;
            let key = IdempotencyKey { scope: key.scope, key: key.key.clone(), fingerprint: row.get_array(0)? };
            answers.push((key, outcome_from_text(&row.get_text(1)?)?));
        }
    }
    Ok(answers)
}

/// The end of the writer's chain.
pub(crate) fn read_chain_head(connection: &Connection, writer: u16) -> Result<Option<(i64, [u8; 32])>, StoreError> {
    let mut statement = connection.prepare_cached(SELECT_HEAD).map_err(store_error)?;
    statement.query_row(params![writer], |row| Ok((row.get(0)?, row.get(1)?))).optional().map_err(store_error)
}

/// The postings that exist.
pub(crate) fn find_postings(connection: &Connection, places: &[(AccountId, i64)]) -> Result<Vec<Row>, StoreError> {
    let mut statement = connection.prepare_cached(SELECT_POSTING).map_err(store_error)?;
    let mut postings = Vec::with_capacity(places.len());
    for (id, version) in places {
        let mut rows = statement.query(params![id.bucket(), id.0.as_bytes(), version]).map_err(store_error)?;
        if let Some(row) = rows.next().map_err(store_error)? {
            postings.push(row_of(row, 12)?);
        }
    }
    Ok(postings)
}

/// Everything that a batch came to.
pub(crate) fn write(connection: &Connection, rows: &BatchRows<'_>) -> Result<(), StoreError> {
    write_transactions(connection, rows)?;
    write_postings(connection, rows)?;
    for account in &rows.opened {
        insert_account(connection, account)?;
    }
    let mut update = connection.prepare_cached(UPDATE_ACCOUNT).map_err(store_error)?;
    for account in rows.changed.iter().filter(|changed| !rows.opened.iter().any(|opened| opened.id == changed.id)) {
        let changed = update
            .execute(params![
                account.id.bucket(),
                account.id.0.as_bytes(),
                minor_to_bytes(account.posted_debits_minor),
                minor_to_bytes(account.posted_credits_minor),
                minor_to_bytes(account.pending_debits_minor),
                minor_to_bytes(account.pending_credits_minor),
                account.version,
                account.updated_at_us,
            ])
            .map_err(store_error)?;
        if changed != 1 {
            return Err(StoreError::Inconsistent(format!("account {} was changed but is not there", account.id.0)));
        }
    }
    write_answers(connection, rows)?;
    rows.header.map_or(Ok(()), |header| write_header(connection, header))
}

fn write_transactions(connection: &Connection, rows: &BatchRows<'_>) -> Result<(), StoreError> {
    let mut insert = connection.prepare_cached(INSERT_TRANSACTION).map_err(store_error)?;
    let (writer, number) = rows.header.map_or((0, 0), |header| (header.writer, header.number));
    for (position, (command, applied)) in (0_i64..).zip(&rows.applied) {
        insert
            .execute(params![
                transaction_bucket(command),
                applied.transaction_id.0.as_bytes(),
                kind_code(command.kind),
                command.asset.code().as_str(),
                command.actor_id.as_bytes(),
                command.reason,
                command.idempotency.as_ref().map(|key| &key.key),
                command.effective_at_us.unwrap_or(applied.recorded_at_us),
                applied.recorded_at_us,
                writer,
                number,
                position,
                legs_to_bytes(&applied.legs),
                applied.hash,
            ])
            .map_err(store_error)?;
    }
    Ok(())
}

fn write_postings(connection: &Connection, rows: &BatchRows<'_>) -> Result<(), StoreError> {
    let mut insert = connection.prepare_cached(INSERT_POSTING).map_err(store_error)?;
    for (command, applied) in &rows.applied {
        for (index, posted) in applied.legs.iter().enumerate() {
            let account_id = posted.leg.account_id;
            insert
                .execute(params![
                    account_id.bucket(),
                    account_id.0.as_bytes(),
                    posted.version,
                    applied.transaction_id.0.as_bytes(),
                    i64::try_from(index).unwrap_or(i64::MAX),
                    kind_code(command.kind),
                    side_code(posted.leg.side),
                    minor_to_bytes(posted.leg.amount_minor),
                    minor_to_bytes(posted.balance.posted_minor),
                    minor_to_bytes(posted.balance.pending_minor),
                    command.reason,
                    counterpart_of(command, index).0.as_bytes(),
                    applied.recorded_at_us,
                ])
                .map_err(store_error)?;
        }
    }
    Ok(())
}

fn insert_account(connection: &Connection, account: &Account) -> Result<(), StoreError> {
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
            minor_to_bytes(account.posted_debits_minor),
            minor_to_bytes(account.posted_credits_minor),
            minor_to_bytes(account.pending_debits_minor),
            minor_to_bytes(account.pending_credits_minor),
            account.version,
            account.created_at_us,
            account.updated_at_us,
            account.closed_at_us,
        ])
        .map_err(store_error)?;
    Ok(())
}

fn write_answers(connection: &Connection, rows: &BatchRows<'_>) -> Result<(), StoreError> {
    let mut insert = connection.prepare_cached(INSERT_ANSWER).map_err(store_error)?;
    for (key, outcome) in &rows.answered {
        insert
            .execute(params![
                bucket_of(key.scope),
                key.scope.as_bytes(),
                key.key,
                key.fingerprint,
                outcome_to_text(outcome)?,
                rows.recorded_at_us,
            ])
            .map_err(store_error)?;
    }
    Ok(())
}

fn write_header(connection: &Connection, header: &BatchHeader) -> Result<(), StoreError> {
    let hash = header.hash();
    let mut insert = connection.prepare_cached(INSERT_BATCH).map_err(store_error)?;
    insert
        .execute(params![
            header.writer,
            header.number,
            header.previous_hash,
            header.merkle_root,
            header.transactions,
            header.recorded_at_us,
            hash,
        ])
        .map_err(store_error)?;
    let mut upsert = connection.prepare_cached(UPSERT_HEAD).map_err(store_error)?;
    upsert.execute(params![header.writer, header.number, hash]).map_err(store_error)?;
    Ok(())
}
