//! The ledger's batch over arrays: one statement a table, all of them sent before the first answer is awaited.

use std::collections::HashSet;

use deadpool_postgres::Object as Client;
use florin_ledger::{Account, AccountId, BatchHeader, IdempotencyKey, Outcome, bucket_of};
use florin_store::{
    BatchRows, Row, StoreError,
    codes::{account_from_row, account_kind_code, kind_code, side_code},
    ledger::{counterpart_of, transaction_bucket},
    legs_to_bytes, outcome_from_text, outcome_to_text,
};
use futures_util::future::{join, join5};
use tokio_postgres::{Error, types::ToSql};
use uuid::Uuid;

use crate::{
    codec::{Minor, Time, row_of},
    error::is_echo,
    statements as sql,
    tx::PostgresTx,
};

type Params<'p> = &'p [&'p (dyn ToSql + Sync)];

/// A place in a table, for arrays: bucket and id, side by side.
#[derive(Default)]
struct Places {
    buckets: Vec<i16>,
    ids: Vec<Uuid>,
}

impl Places {
    fn push(&mut self, bucket: u16, id: Uuid) {
        self.buckets.push(small(bucket));
        self.ids.push(id);
    }

    fn of_accounts(ids: impl Iterator<Item = AccountId>) -> Self {
        let mut places = Self::default();
        ids.for_each(|id| places.push(id.bucket(), id.0));
        places
    }
}

/// Buckets end at 1023.
fn small(bucket: u16) -> i16 {
    i16::try_from(bucket).unwrap_or(i16::MAX)
}

fn writer_code(writer: u16) -> Result<i16, StoreError> {
    i16::try_from(writer).map_err(|_| StoreError::Internal(format!("writer {writer} is greater than 32767")))
}

fn whole(index: usize) -> i32 {
    i32::try_from(index).unwrap_or(i32::MAX)
}

async fn select(tx: &Client, sql: &str, params: Params<'_>) -> Result<Vec<tokio_postgres::Row>, Error> {
    let statement = tx.prepare_cached(sql).await?;
    tx.query(&statement, params).await
}

async fn change(tx: &Client, sql: &str, params: Params<'_>) -> Result<u64, Error> {
    let statement = tx.prepare_cached(sql).await?;
    tx.execute(&statement, params).await
}

/// The accounts that exist; in a write, locked in the order of their ids.
pub(crate) fn lock_accounts(tx: &mut PostgresTx<'_>, ids: &[AccountId]) -> Result<Vec<Account>, StoreError> {
    let places = Places::of_accounts(ids.iter().copied());
    let text = if tx.is_write() { sql::LOCK_ACCOUNTS } else { sql::READ_ACCOUNTS };
    let client = tx.client();
    let rows = tx.run(select(client, text, &[&places.buckets, &places.ids]))?;
    rows.iter().map(|row| account_from_row(&row_of(row)?)).collect()
}

/// The answers that exist.
pub(crate) fn find_answers(
    tx: &mut PostgresTx<'_>,
    keys: &[&IdempotencyKey],
) -> Result<Vec<(IdempotencyKey, Outcome)>, StoreError> {
    let mut places = Places::default();
    keys.iter().for_each(|key| places.push(bucket_of(key.scope), key.scope));
    let names: Vec<&str> = keys.iter().map(|key| key.key.as_str()).collect();
    let client = tx.client();
    let rows = tx.run(select(client, sql::FIND_ANSWERS, &[&places.buckets, &places.ids, &names]))?;
    let answer = |row: &tokio_postgres::Row| {
        let row = row_of(row)?;
        let key = IdempotencyKey { scope: row.get_uuid(0)?, key: row.get_text(1)?, fingerprint: row.get_array(2)? };
        Ok((key, outcome_from_text(&row.get_text(3)?)?))
    };
    rows.iter().map(answer).collect()
}

/// The end of the writer's chain, locked in a write. The row that is locked is made first, so that two nodes with one
/// number take turns from the first batch on.
pub(crate) fn lock_chain_head(tx: &mut PostgresTx<'_>, writer: u16) -> Result<Option<(i64, [u8; 32])>, StoreError> {
    let writer = writer_code(writer)?;
    let client = tx.client();
    let text = if tx.is_write() { sql::LOCK_HEAD } else { sql::READ_HEAD };
    let mut rows = tx.run(select(client, text, &[&writer]))?;
    if rows.is_empty() && tx.is_write() {
        tx.run(change(client, sql::OPEN_CHAIN, &[&writer, &[0_u8; 32].as_slice()]))?;
        rows = tx.run(select(client, text, &[&writer]))?;
    }
    let Some(row) = rows.first() else { return Ok(None) };
    let row = row_of(row)?;
    let number = row.get_int(0)?;
    if number == 0 { Ok(None) } else { Ok(Some((number, row.get_array(1)?))) }
}

/// The postings that exist.
pub(crate) fn find_postings(tx: &mut PostgresTx<'_>, wanted: &[(AccountId, i64)]) -> Result<Vec<Row>, StoreError> {
    let places = Places::of_accounts(wanted.iter().map(|(id, _)| *id));
    let versions: Vec<i64> = wanted.iter().map(|(_, version)| *version).collect();
    let client = tx.client();
    let rows = tx.run(select(client, sql::FIND_POSTINGS, &[&places.buckets, &places.ids, &versions]))?;
    rows.iter().map(row_of).collect()
}

/// Everything that a batch came to, in one round trip.
pub(crate) fn write(tx: &mut PostgresTx<'_>, rows: &BatchRows<'_>) -> Result<(), StoreError> {
    let transactions = Transactions::of(rows)?;
    let postings = Postings::of(rows);
    let opened_ids: HashSet<AccountId> = rows.opened.iter().map(|account| account.id).collect();
    let changed: Vec<&Account> = rows.changed.iter().copied().filter(|one| !opened_ids.contains(&one.id)).collect();
    let changed_figures = Figures::of(&changed);
    let opened_figures = Figures::of(&rows.opened);
    let opened = Opened::of(&rows.opened);
    let answers = Answers::of(rows)?;
    let client = tx.client();
    let (updated, expected) = tx.run(async {
        let (transactions, postings, opened, updated, rest) = join5(
            transactions.insert(client),
            postings.insert(client),
            opened.insert(client, &opened_figures),
            changed_figures.update(client),
            join(answers.insert(client), insert_header(client, rows.header)),
        )
        .await;
        let expected = u64::try_from(changed.len()).unwrap_or(u64::MAX);
        let results = [transactions, postings, opened, updated, rest.0, rest.1];
        first_cause(results).map(|counts| (counts[3], expected))
    })?;
    if updated != expected {
        return Err(StoreError::Inconsistent(format!("{expected} accounts were changed, {updated} are there")));
    }
    Ok(())
}

/// The counts; or the error that made the others fail.
fn first_cause(results: [Result<u64, Error>; 6]) -> Result<[u64; 6], Error> {
    let mut counts = [0; 6];
    let mut echo = None;
    for (count, result) in counts.iter_mut().zip(results) {
        match result {
            Ok(changed) => *count = changed,
            Err(error) if is_echo(&error) => echo = Some(error),
            Err(error) => return Err(error),
        }
    }
    echo.map_or(Ok(counts), Err)
}

#[derive(Default)]
struct Transactions<'r> {
    places: Places,
    kinds: Vec<i16>,
    assets: Vec<String>,
    actor_ids: Vec<Uuid>,
    reasons: Vec<Option<&'r str>>,
    keys: Vec<Option<&'r str>>,
    effective_at: Vec<Time>,
    recorded_at: Vec<Time>,
    positions: Vec<i32>,
    legs: Vec<Vec<u8>>,
    hashes: Vec<&'r [u8]>,
    writer: i16,
    number: i64,
}

impl<'r> Transactions<'r> {
    fn of(rows: &BatchRows<'r>) -> Result<Self, StoreError> {
        let mut all = Self::default();
        if let Some(header) = rows.header {
            all.writer = writer_code(header.writer)?;
            all.number = header.number;
        }
        for (position, (command, applied)) in rows.applied.iter().copied().enumerate() {
            all.places.push(transaction_bucket(command), applied.transaction_id.0);
            all.kinds.push(kind_code(command.kind));
            all.assets.push(command.asset.code().as_str().to_owned());
            all.actor_ids.push(command.actor_id);
            all.reasons.push(command.reason.as_deref());
            all.keys.push(command.idempotency.as_ref().map(|key| key.key.as_str()));
            all.effective_at.push(Time(command.effective_at_us.unwrap_or(applied.recorded_at_us)));
            all.recorded_at.push(Time(applied.recorded_at_us));
            all.positions.push(whole(position));
            all.legs.push(legs_to_bytes(&applied.legs));
            all.hashes.push(&applied.hash);
        }
        Ok(all)
    }

    async fn insert(&self, client: &Client) -> Result<u64, Error> {
        if self.kinds.is_empty() {
            return Ok(0);
        }
        let params: Params<'_> = &[
            &self.places.buckets,
            &self.places.ids,
            &self.kinds,
            &self.assets,
            &self.actor_ids,
            &self.reasons,
            &self.keys,
            &self.effective_at,
            &self.recorded_at,
            &self.positions,
            &self.legs,
            &self.hashes,
            &self.writer,
            &self.number,
        ];
        change(client, sql::INSERT_TRANSACTIONS, params).await
    }
}

#[derive(Default)]
struct Postings<'r> {
    places: Places,
    versions: Vec<i64>,
    transaction_ids: Vec<Uuid>,
    legs: Vec<i16>,
    kinds: Vec<i16>,
    sides: Vec<i16>,
    amounts: Vec<Minor>,
    posted_after: Vec<Minor>,
    pending_after: Vec<Minor>,
    reasons: Vec<Option<&'r str>>,
    counterpart_ids: Vec<Uuid>,
    recorded_at: Vec<Time>,
}

impl<'r> Postings<'r> {
    fn of(rows: &BatchRows<'r>) -> Self {
        let mut all = Self::default();
        for (command, applied) in rows.applied.iter().copied() {
            for (index, posted) in applied.legs.iter().enumerate() {
                all.places.push(posted.leg.account_id.bucket(), posted.leg.account_id.0);
                all.versions.push(posted.version);
                all.transaction_ids.push(applied.transaction_id.0);
                all.legs.push(i16::try_from(index).unwrap_or(i16::MAX));
                all.kinds.push(kind_code(command.kind));
                all.sides.push(side_code(posted.leg.side));
                all.amounts.push(Minor(posted.leg.amount_minor));
                all.posted_after.push(Minor(posted.balance.posted_minor));
                all.pending_after.push(Minor(posted.balance.pending_minor));
                all.reasons.push(command.reason.as_deref());
                all.counterpart_ids.push(counterpart_of(command, index).0);
                all.recorded_at.push(Time(applied.recorded_at_us));
            }
        }
        all
    }

    async fn insert(&self, client: &Client) -> Result<u64, Error> {
        if self.versions.is_empty() {
            return Ok(0);
        }
        let params: Params<'_> = &[
            &self.places.buckets,
            &self.places.ids,
            &self.versions,
            &self.transaction_ids,
            &self.legs,
            &self.kinds,
            &self.sides,
            &self.amounts,
            &self.posted_after,
            &self.pending_after,
            &self.reasons,
            &self.counterpart_ids,
            &self.recorded_at,
        ];
        change(client, sql::INSERT_POSTINGS, params).await
    }
}

/// What a batch changes of an account.
#[derive(Default)]
struct Figures {
    places: Places,
    posted_debits: Vec<Minor>,
    posted_credits: Vec<Minor>,
    pending_debits: Vec<Minor>,
    pending_credits: Vec<Minor>,
    versions: Vec<i64>,
    updated_at: Vec<Time>,
}

impl Figures {
    fn of(accounts: &[&Account]) -> Self {
        let mut all = Self { places: Places::of_accounts(accounts.iter().map(|one| one.id)), ..Self::default() };
        for account in accounts {
            all.posted_debits.push(Minor(account.posted_debits_minor));
            all.posted_credits.push(Minor(account.posted_credits_minor));
            all.pending_debits.push(Minor(account.pending_debits_minor));
            all.pending_credits.push(Minor(account.pending_credits_minor));
            all.versions.push(account.version);
            all.updated_at.push(Time(account.updated_at_us));
        }
        all
    }

    async fn update(&self, client: &Client) -> Result<u64, Error> {
        if self.versions.is_empty() {
            return Ok(0);
        }
        let params: Params<'_> = &[
            &self.places.buckets,
            &self.places.ids,
            &self.posted_debits,
            &self.posted_credits,
            &self.pending_debits,
            &self.pending_credits,
            &self.versions,
            &self.updated_at,
        ];
        change(client, sql::UPDATE_ACCOUNTS, params).await
    }
}

/// What a new account has beside its figures.
#[derive(Default)]
struct Opened {
    kinds: Vec<i16>,
    owner_ids: Vec<Option<Uuid>>,
    assets: Vec<String>,
    exponents: Vec<i16>,
    sides: Vec<i16>,
    floors: Vec<Option<Minor>>,
    ceilings: Vec<Option<Minor>>,
    created_at: Vec<Time>,
    closed_at: Vec<Option<Time>>,
}

impl Opened {
    fn of(accounts: &[&Account]) -> Self {
        let mut all = Self::default();
        for account in accounts {
            all.kinds.push(account_kind_code(account.kind));
            all.owner_ids.push(account.owner_id);
            all.assets.push(account.asset.code().as_str().to_owned());
            all.exponents.push(i16::from(account.asset.exponent()));
            all.sides.push(side_code(account.normal_side));
            all.floors.push(account.limits.floor_minor.map(Minor));
            all.ceilings.push(account.limits.ceiling_minor.map(Minor));
            all.created_at.push(Time(account.created_at_us));
            all.closed_at.push(account.closed_at_us.map(Time));
        }
        all
    }

    async fn insert(&self, client: &Client, figures: &Figures) -> Result<u64, Error> {
        if self.kinds.is_empty() {
            return Ok(0);
        }
        let params: Params<'_> = &[
            &figures.places.buckets,
            &figures.places.ids,
            &self.kinds,
            &self.owner_ids,
            &self.assets,
            &self.exponents,
            &self.sides,
            &self.floors,
            &self.ceilings,
            &figures.posted_debits,
            &figures.posted_credits,
            &figures.pending_debits,
            &figures.pending_credits,
            &figures.versions,
            &self.created_at,
            &figures.updated_at,
            &self.closed_at,
        ];
        change(client, sql::INSERT_ACCOUNTS, params).await
    }
}

struct Answers<'r> {
    places: Places,
    keys: Vec<&'r str>,
    fingerprints: Vec<&'r [u8]>,
    outcomes: Vec<String>,
    created_at: Time,
}

impl<'r> Answers<'r> {
    fn of(rows: &BatchRows<'r>) -> Result<Self, StoreError> {
        let mut all = Self {
            places: Places::default(),
            keys: Vec::new(),
            fingerprints: Vec::new(),
            outcomes: Vec::new(),
            created_at: Time(rows.recorded_at_us),
        };
        for (key, outcome) in rows.answered.iter().copied() {
            all.places.push(bucket_of(key.scope), key.scope);
            all.keys.push(&key.key);
            all.fingerprints.push(&key.fingerprint);
            all.outcomes.push(outcome_to_text(outcome)?);
        }
        Ok(all)
    }

    async fn insert(&self, client: &Client) -> Result<u64, Error> {
        if self.keys.is_empty() {
            return Ok(0);
        }
        let params: Params<'_> =
            &[&self.places.buckets, &self.places.ids, &self.keys, &self.fingerprints, &self.outcomes, &self.created_at];
        change(client, sql::INSERT_ANSWERS, params).await
    }
}

/// The batch's header and the chain's new end, in one statement.
async fn insert_header(client: &Client, header: Option<&BatchHeader>) -> Result<u64, Error> {
    let Some(header) = header else { return Ok(0) };
    let hash = header.hash();
    let params: Params<'_> = &[
        &i16::try_from(header.writer).unwrap_or(i16::MAX),
        &header.number,
        &header.previous_hash.as_slice(),
        &header.merkle_root.as_slice(),
        &i32::try_from(header.transactions).unwrap_or(i32::MAX),
        &Time(header.recorded_at_us),
        &hash.as_slice(),
    ];
    change(client, sql::INSERT_HEADER, params).await
}
