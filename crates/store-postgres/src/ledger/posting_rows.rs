//! What a batch writes into the table of postings: its postings, with the keys of their callers, and answers to keys
//! that have no posting.

use florin_ledger::{
    Account, AccountId, AccountMap, Applied, BatchHeader, Command, IdempotencyKey, Outcome, PostedLeg,
};
use florin_store::{
    BatchRows, StoreError, Value,
    codes::{kind_code, side_code},
    outcome_to_text,
};
use tokio_postgres::types::Type;

use super::{
    is_stripe,
    key_name::{KeyName, fingerprint_code, place_of_answer},
    row_array::RowArray,
    small, writer_code,
};
use crate::codec::{Minor, Param, Time};

/// How many columns the table has.
pub(super) const POSTING_COLUMNS: usize = 26;

const COLUMNS: [Type; POSTING_COLUMNS] = [
    Type::INT8,
    Type::TIMESTAMPTZ,
    Type::INT8,
    Type::INT8,
    Type::TIMESTAMPTZ,
    Type::INT8,
    Type::INT8,
    Type::INT4,
    Type::INT4,
    Type::INT2,
    Type::INT2,
    Type::INT2,
    Type::INT2,
    Type::INT2,
    Type::UUID,
    Type::UUID,
    Type::UUID,
    Type::UUID,
    Type::NUMERIC,
    Type::NUMERIC,
    Type::NUMERIC,
    Type::NUMERIC,
    Type::NUMERIC,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
];

/// The rows of the batch.
///
/// # Errors
/// [`StoreError::Internal`] when something does not fit its column.
pub(super) fn posting_rows(batch: &BatchRows<'_>) -> Result<RowArray<POSTING_COLUMNS>, StoreError> {
    let mut rows = RowArray::new(COLUMNS);
    let postings =
        (0..).zip(&batch.applied).flat_map(|(position, (command, applied))| rows_of(position, command, applied));
    let answers = batch.answered.iter().filter(|(key, outcome)| !is_in_posting(key, outcome));
    let answers = answers.map(|(key, outcome)| TableRow::answer(key, outcome));
    let mut all: Vec<TableRow<'_>> = postings.chain(answers).collect();
    // The order of the table's key, in which others insert, too: nobody waits in a circle.
    all.sort_unstable_by_key(|row| row.place);
    let changed: AccountMap<&Account> = batch.changed.iter().map(|account| (account.id, *account)).collect();
    for TableRow { place, content } in &all {
        match (content, batch.header) {
            (Content::Posting(row), Some(header)) => {
                let account = changed.get(&row.own.leg.account_id);
                let last = account.filter(|account| account.version == row.own.version);
                push_posting(&mut rows, header, *place, row, last.map(|account| account.posted_debits_minor))?;
            }
            (Content::Posting(_), None) => return Err(StoreError::Internal("postings without a header".to_owned())),
            (Content::Answer(key, outcome), _) => push_answer(&mut rows, *place, key, outcome, batch.recorded_at_us)?,
        }
    }
    Ok(rows)
}

/// Bucket, account and version.
type Place = (i16, AccountId, i64);

struct TableRow<'b> {
    place: Place,
    content: Content<'b>,
}

enum Content<'b> {
    Posting(PostingRow<'b>),
    Answer(&'b IdempotencyKey, &'b Outcome),
}

impl<'b> TableRow<'b> {
    /// An answer that no posting is.
    fn answer(key: &'b IdempotencyKey, outcome: &'b Outcome) -> Self {
        Self { place: place_of_answer(key), content: Content::Answer(key, outcome) }
    }
}

/// A posting, and where it stands in its batch and its transaction.
struct PostingRow<'b> {
    position: i32,
    command: &'b Command,
    applied: &'b Applied,
    leg: usize,
    own: &'b PostedLeg,
    counterpart_id: AccountId,
    /// The leg that has no row of its own, beside this one.
    stripe: Option<&'b PostedLeg>,
    /// The command's key, if this is the row for it.
    key: Option<&'b IdempotencyKey>,
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

/// The leg in whose row the key is: that of the account which the command acts on.
fn leg_of_key(legs: &[PostedLeg], key: &IdempotencyKey) -> Option<usize> {
    let acts_on = |posted: &PostedLeg| posted.leg.account_id.0 == key.resource;
    match single_row(legs) {
        Some((leg, own, _)) => Some(leg).filter(|_| acts_on(own)),
        None => legs.iter().position(acts_on),
    }
}

fn is_in_posting(key: &IdempotencyKey, outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Applied(applied) if leg_of_key(&applied.legs, key).is_some())
}

fn rows_of<'b>(position: i32, command: &'b Command, applied: &'b Applied) -> impl Iterator<Item = TableRow<'b>> {
    let legs = applied.legs.as_slice();
    let key = command.idempotency.as_ref();
    let keyed_leg = key.and_then(|key| leg_of_key(legs, key));
    let single = single_row(legs);
    let several = if single.is_some() { &[] } else { legs };
    let row = move |leg, own: &'b PostedLeg, counterpart_id, stripe| {
        let key = key.filter(|_| keyed_leg == Some(leg));
        let account_id = own.leg.account_id;
        TableRow {
            place: (small(account_id.bucket()), account_id, own.version),
            content: Content::Posting(PostingRow { position, command, applied, leg, own, counterpart_id, stripe, key }),
        }
    };
    let single = single.map(move |(leg, own, stripe)| row(leg, own, stripe.leg.account_id, Some(stripe)));
    single.into_iter().chain(several.iter().enumerate().map(move |(leg, own)| {
        let other = legs.iter().find(|other| other.leg.side != own.leg.side).unwrap_or(own);
        row(leg, own, other.leg.account_id, None)
    }))
}

/// `debits_after`: where this is the batch's last posting of its account.
fn push_posting(
    rows: &mut RowArray<POSTING_COLUMNS>,
    header: &BatchHeader,
    (bucket, account_id, version): Place,
    row: &PostingRow<'_>,
    debits_after: Option<i128>,
) -> Result<(), StoreError> {
    let PostingRow { position, command, applied, leg, own, counterpart_id, stripe, key } = row;
    let name = key.map(KeyName::of);
    // What one row tells is not kept twice.
    let answer = key.filter(|_| stripe.is_none()).map(|_| outcome_to_text(&Outcome::Applied((*applied).clone())));
    rows.push([
        &version,
        &Time(header.recorded_at_us),
        &header.number,
        &stripe.map(|stripe| stripe.version),
        &command.effective_at_us.map(Time),
        &name.map(|name| name.high),
        &key.map(fingerprint_code),
        position,
        &name.map(|name| name.low),
        &bucket,
        &kind_code(command.kind),
        &i16::try_from(*leg).unwrap_or(i16::MAX),
        &side_code(own.leg.side),
        &writer_code(header.writer)?,
        &account_id.0,
        &applied.transaction_id.0,
        &counterpart_id.0,
        &command.actor_id,
        &Minor(own.leg.amount_minor),
        &Minor(own.balance.posted_minor),
        &Some(own.balance.pending_minor).filter(|pending| *pending != 0).map(Minor),
        &stripe.map(|stripe| Minor(stripe.balance.posted_minor)),
        &debits_after.map(Minor),
        &command.reason.as_deref(),
        &command.idempotency.as_ref().map(|key| key.key.as_str()),
        &answer.transpose()?,
    ])
}

fn push_answer(
    rows: &mut RowArray<POSTING_COLUMNS>,
    (bucket, account_id, version): Place,
    key: &IdempotencyKey,
    outcome: &Outcome,
    recorded_at_us: i64,
) -> Result<(), StoreError> {
    let name = KeyName::of(key);
    let null = &Param(&Value::Null);
    rows.push([
        &version,
        &Time(recorded_at_us),
        null,
        null,
        null,
        &name.high,
        &fingerprint_code(key),
        null,
        &name.low,
        &bucket,
        null,
        null,
        null,
        null,
        &account_id.0,
        null,
        null,
        null,
        null,
        null,
        null,
        null,
        null,
        null,
        null,
        &outcome_to_text(outcome)?,
    ])
}
