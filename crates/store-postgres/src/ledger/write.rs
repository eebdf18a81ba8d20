//! What a batch writes, as one statement that needs nothing any more but a connection.

use deadpool_postgres::Object as Client;
use florin_ledger::{
    Account, AccountId, AccountMap, AccountSet, Applied, BatchHeader, Command, IdempotencyKey, Outcome, PostedLeg,
    bucket_of,
};
use florin_store::{
    BatchRows, StoreError,
    codes::{account_kind_code, kind_code, side_code},
    outcome_to_text,
};
use futures_util::future::join;
use tokio_postgres::{Error, types::Type};
use uuid::Uuid;

use super::{change, fingerprint_code, is_stripe, row_array::RowArray, small, writer_code};
use crate::{
    codec::{Minor, Time},
    error::is_echo,
    statements as sql,
};

/// A batch, encoded.
#[derive(Debug)]
pub(crate) struct BatchWrite {
    /// Stripes: any other account is as its last posting says.
    changed: RowArray<17>,
    /// The version of each of them as it was read.
    versions_before: Vec<i64>,
    opened: Option<RowArray<17>>,
    postings: RowArray<22>,
    answers: RowArray<7>,
    header: Option<Header>,
}

#[derive(Debug)]
struct Header {
    writer: i16,
    number: i64,
    previous_hash: [u8; 32],
    merkle_root: [u8; 32],
    transactions: i32,
    recorded_at: Time,
    hash: [u8; 32],
}

impl BatchWrite {
    /// `version_before` is that of each account as it was read.
    ///
    /// # Errors
    /// [`StoreError::Internal`] when something does not fit its column.
    pub(crate) fn of(rows: &BatchRows<'_>, version_before: impl Fn(AccountId) -> i64) -> Result<Self, StoreError> {
        let opened_ids: AccountSet = rows.opened.iter().map(|account| account.id).collect();
        let has_row_changed = |account: &&Account| is_stripe(account.id) && !opened_ids.contains(&account.id);
        let mut changed: Vec<&Account> = rows.changed.iter().copied().filter(has_row_changed).collect();
        // The order of the table's key, in which others lock: nobody waits in a circle.
        changed.sort_unstable_by_key(|account| (account.id.bucket(), account.id));
        Ok(Self {
            versions_before: changed.iter().map(|account| version_before(account.id)).collect(),
            changed: account_rows(&changed)?,
            opened: if rows.opened.is_empty() { None } else { Some(account_rows(&rows.opened)?) },
            postings: posting_rows(rows)?,
            answers: answer_rows(rows)?,
            header: rows.header.map(Header::of).transpose()?,
        })
    }

    /// Whether one statement says it all.
    pub(crate) fn is_single(&self) -> bool {
        self.header.is_some() && self.opened.is_none()
    }

    /// Has the statements ready: one that must be prepared first is sent after its neighbours.
    pub(crate) async fn prepare(&self, client: &Client) -> Result<(), Error> {
        if self.opened.is_some() {
            client.prepare_cached(sql::INSERT_ACCOUNTS).await?;
        }
        client.prepare_cached(if self.header.is_some() { sql::WRITE_BATCH } else { sql::INSERT_ANSWERS }).await?;
        Ok(())
    }

    /// Writes it, in as many statements as it needs, which are all sent before the first answer is awaited.
    pub(crate) async fn run(&self, client: &Client) -> Result<(), Error> {
        self.prepare(client).await?;
        // The second only echoes what made the first one fail.
        match join(self.open(client), self.write(client)).await {
            (Err(error), _) if !is_echo(&error) => Err(error),
            (opened, written) => written.and(opened).map(|_| ()),
        }
    }

    async fn open(&self, client: &Client) -> Result<u64, Error> {
        match &self.opened {
            Some(opened) => change(client, sql::INSERT_ACCOUNTS, &[opened]).await,
            None => Ok(0),
        }
    }

    async fn write(&self, client: &Client) -> Result<u64, Error> {
        let Some(header) = &self.header else {
            return change(client, sql::INSERT_ANSWERS, &[&self.answers]).await;
        };
        let params: super::Params<'_> = &[
            &self.changed,
            &self.versions_before,
            &i64::try_from(self.versions_before.len()).unwrap_or(i64::MAX),
            &header.writer,
            &header.number,
            &header.previous_hash.as_slice(),
            &header.merkle_root.as_slice(),
            &header.transactions,
            &header.recorded_at,
            &header.hash.as_slice(),
            &self.postings,
            &self.answers,
        ];
        change(client, sql::WRITE_BATCH, params).await
    }
}

impl Header {
    fn of(header: &BatchHeader) -> Result<Self, StoreError> {
        Ok(Self {
            writer: writer_code(header.writer)?,
            number: header.number,
            previous_hash: header.previous_hash,
            merkle_root: header.merkle_root,
            transactions: i32::try_from(header.transactions).unwrap_or(i32::MAX),
            recorded_at: Time(header.recorded_at_us),
            hash: header.hash(),
        })
    }
}

fn account_rows(accounts: &[&Account]) -> Result<RowArray<17>, StoreError> {
    let mut rows = RowArray::new([
        Type::INT2,
        Type::UUID,
        Type::INT2,
        Type::UUID,
        Type::TEXT,
        Type::INT2,
        Type::INT2,
        Type::NUMERIC,
        Type::NUMERIC,
        Type::NUMERIC,
        Type::NUMERIC,
        Type::NUMERIC,
        Type::NUMERIC,
        Type::INT8,
        Type::TIMESTAMPTZ,
        Type::TIMESTAMPTZ,
        Type::TIMESTAMPTZ,
    ]);
    for account in accounts {
        rows.push([
            &small(account.id.bucket()),
            &account.id.0,
            &account_kind_code(account.kind),
            &account.owner_id,
            &account.asset.code().as_str(),
            &i16::from(account.asset.exponent()),
            &side_code(account.normal_side),
            &account.limits.floor_minor.map(Minor),
            &account.limits.ceiling_minor.map(Minor),
            &Minor(account.posted_debits_minor),
            &Minor(account.posted_credits_minor),
            &Minor(account.pending_debits_minor),
            &Minor(account.pending_credits_minor),
            &account.version,
            &Time(account.created_at_us),
            &Time(account.updated_at_us),
            &account.closed_at_us.map(Time),
        ])?;
    }
    Ok(rows)
}

/// The one leg that has a row, and its place, when the other is on a stripe of a system account and fits beside it.
fn single_row(legs: &[PostedLeg]) -> Option<(usize, &PostedLeg, &PostedLeg)> {
    let [first, second] = legs else { return None };
    let (leg, own, stripe) = match (is_stripe(first.leg.account_id), is_stripe(second.leg.account_id)) {
        (true, false) => (1, second, first),
        (false, true) => (0, first, second),
        _ => return None,
    };
    let is_plain = stripe.balance.pending_minor == 0 && stripe.leg.side != own.leg.side;
    is_plain.then_some((leg, own, stripe))
}

fn posting_rows(batch: &BatchRows<'_>) -> Result<RowArray<22>, StoreError> {
    let mut rows = RowArray::new([
        Type::INT2,
        Type::UUID,
        Type::INT8,
        Type::UUID,
        Type::INT2,
        Type::INT2,
        Type::INT2,
        Type::NUMERIC,
        Type::NUMERIC,
        Type::NUMERIC,
        Type::UUID,
        Type::INT8,
        Type::NUMERIC,
        Type::UUID,
        Type::TEXT,
        Type::TEXT,
        Type::TIMESTAMPTZ,
        Type::TIMESTAMPTZ,
        Type::INT2,
        Type::INT8,
        Type::INT4,
        Type::NUMERIC,
    ]);
    let Some(header) = batch.header else { return Ok(rows) };
    let changed: AccountMap<&Account> = batch.changed.iter().map(|account| (account.id, *account)).collect();
    let mut postings: Vec<PostingRow<'_>> = (0..)
        .zip(&batch.applied)
        .flat_map(|(position, (command, applied))| rows_of(position, command, applied))
        .collect();
    // The order of the table's key, in which others insert, too: nobody waits in a circle.
    postings.sort_unstable_by_key(|row| (row.bucket, row.own.leg.account_id, row.own.version));
    for row in &postings {
        let account = changed.get(&row.own.leg.account_id);
        let last = account.filter(|account| account.version == row.own.version);
        push_posting(&mut rows, header, row, last.map(|account| account.posted_debits_minor))?;
    }
    Ok(rows)
}

/// A posting, and where it stands in its batch and its transaction.
struct PostingRow<'b> {
    position: i32,
    command: &'b Command,
    applied: &'b Applied,
    leg: usize,
    bucket: i16,
    own: &'b PostedLeg,
    counterpart_id: AccountId,
    /// The leg that has no row of its own, beside this one.
    stripe: Option<&'b PostedLeg>,
}

fn rows_of<'b>(position: i32, command: &'b Command, applied: &'b Applied) -> impl Iterator<Item = PostingRow<'b>> {
    let legs = applied.legs.as_slice();
    let single = single_row(legs);
    let several = if single.is_some() { &[] } else { legs };
    let row = move |leg, own: &'b PostedLeg, counterpart_id, stripe| PostingRow {
        position,
        command,
        applied,
        leg,
        bucket: small(own.leg.account_id.bucket()),
        own,
        counterpart_id,
        stripe,
    };
    let single = single.map(move |(leg, own, stripe)| row(leg, own, stripe.leg.account_id, Some(stripe)));
    single.into_iter().chain(several.iter().enumerate().map(move |(leg, own)| {
        let other = legs.iter().find(|other| other.leg.side != own.leg.side).unwrap_or(own);
        row(leg, own, other.leg.account_id, None)
    }))
}

/// `debits_after`: where this is the batch's last posting of its account.
fn push_posting(
    rows: &mut RowArray<22>,
    header: &BatchHeader,
    row: &PostingRow<'_>,
    debits_after: Option<i128>,
) -> Result<(), StoreError> {
    let PostingRow { position, command, applied, leg, bucket, own, counterpart_id, stripe } = row;
    rows.push([
        bucket,
        &own.leg.account_id.0,
        &own.version,
        &applied.transaction_id.0,
        &kind_code(command.kind),
        &i16::try_from(*leg).unwrap_or(i16::MAX),
        &side_code(own.leg.side),
        &Minor(own.leg.amount_minor),
        &Minor(own.balance.posted_minor),
        &Some(own.balance.pending_minor).filter(|pending| *pending != 0).map(Minor),
        &counterpart_id.0,
        &stripe.map(|stripe| stripe.version),
        &stripe.map(|stripe| Minor(stripe.balance.posted_minor)),
        &command.actor_id,
        &command.reason.as_deref(),
        &command.idempotency.as_ref().map(|key| key.key.as_str()),
        &command.effective_at_us.map(Time),
        &Time(header.recorded_at_us),
        &writer_code(header.writer)?,
        &header.number,
        position,
        &debits_after.map(Minor),
    ])
}

fn answer_rows(batch: &BatchRows<'_>) -> Result<RowArray<7>, StoreError> {
    let mut rows =
        RowArray::new([Type::INT8, Type::INT8, Type::TIMESTAMPTZ, Type::INT2, Type::UUID, Type::UUID, Type::TEXT]);
    let name = |key: &IdempotencyKey| (bucket_of(key.scope), Uuid::from_bytes(key.digest()));
    let mut answers: Vec<_> = batch.answered.iter().map(|(key, outcome)| (name(key), *key, *outcome)).collect();
    // As the postings, in the order of the table's key.
    answers.sort_unstable_by_key(|(name, ..)| *name);
    for ((bucket, digest), key, outcome) in answers {
        // What one row tells is not kept twice.
        let single = match outcome {
            Outcome::Applied(applied) => single_row(&applied.legs).map(|(_, own, _)| own),
            Outcome::Rejected(_) => None,
        };
        let text = if single.is_none() { Some(outcome_to_text(outcome)?) } else { None };
        rows.push([
            &single.map(|own| own.version),
            &fingerprint_code(key),
            &text.as_ref().map(|_| Time(batch.recorded_at_us)),
            &small(bucket),
            &digest,
            &single.map(|own| own.leg.account_id.0),
            &text,
        ])?;
    }
    Ok(rows)
}
