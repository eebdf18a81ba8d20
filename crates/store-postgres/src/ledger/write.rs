//! A batch's rows as arrays: one statement a table, all of them sent before the first answer is awaited.

use std::collections::HashSet;

use deadpool_postgres::Object as Client;
use florin_ledger::{Account, AccountId, Applied, BatchHeader, Command, Outcome, PostedLeg, bucket_of};
use florin_store::{
    BatchRows, StoreError,
    codes::{account_kind_code, kind_code, side_code},
    outcome_to_text,
};
use futures_util::future::{join, join4};
use tokio_postgres::Error;
use uuid::Uuid;

use super::{Params, Places, change, is_stripe, writer_code};
use crate::{
    codec::{Minor, Time},
    error::is_echo,
    statements as sql,
    tx::PostgresTx,
};

/// What was counted, and what should have been.
pub(crate) struct Written {
    /// Every account that was changed was as it had been read, and so was the end of the chain.
    pub(crate) is_as_read: bool,
}

/// Everything that a batch came to, in one round trip.
pub(crate) fn write(tx: &mut PostgresTx<'_>, rows: &BatchRows<'_>) -> Result<Written, StoreError> {
    let postings = Postings::of(rows)?;
    let opened_ids: HashSet<AccountId> = rows.opened.iter().map(|account| account.id).collect();
    let mut changed: Vec<&Account> = rows.changed.iter().copied().filter(|one| !opened_ids.contains(&one.id)).collect();
    // The order of the table's key, in which others lock: nobody waits in a circle.
    changed.sort_unstable_by_key(|account| (account.id.bucket(), account.id));
    let changed_figures = Figures::of(&changed, |id| tx.version_given(id));
    let opened_figures = Figures::of(&rows.opened, |_| 0);
    let opened = Opened::of(&rows.opened);
    let answers = Answers::of(rows)?;
    let client = tx.client();
    let expected = [changed.len() as u64, u64::from(rows.header.is_some())];
    let counted = tx.run(async {
        prepare(client, [sql::UPDATE_ACCOUNTS, sql::INSERT_POSTINGS, sql::INSERT_HEADER]).await?;
        // Sent in this order: who changes an account first holds it before a posting's key can be waited for.
        let (updated, header, postings, rest) = join4(
            changed_figures.update(client),
            insert_header(client, rows.header),
            postings.insert(client),
            join(opened.insert(client, &opened_figures), answers.insert(client)),
        )
        .await;
        first_cause([updated, header, postings, rest.0, rest.1]).map(|counts| [counts[0], counts[1]])
    })?;
    Ok(Written { is_as_read: counted == expected })
}

/// A statement that must be prepared first would be sent after its neighbours.
async fn prepare(client: &Client, statements: [&str; 3]) -> Result<(), Error> {
    for statement in statements {
        client.prepare_cached(statement).await?;
    }
    Ok(())
}

/// The counts; or the error that made the others fail.
fn first_cause(results: [Result<u64, Error>; 5]) -> Result<[u64; 5], Error> {
    let mut counts = [0; 5];
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

#[derive(Default)]
struct Postings<'r> {
    places: Places,
    versions: Vec<i64>,
    transaction_ids: Vec<Uuid>,
    kinds: Vec<i16>,
    legs: Vec<i16>,
    sides: Vec<i16>,
    amounts: Vec<Minor>,
    posted_after: Vec<Minor>,
    pending_after: Vec<Option<Minor>>,
    counterpart_ids: Vec<Uuid>,
    counterpart_versions: Vec<Option<i64>>,
    counterpart_after: Vec<Option<Minor>>,
    actor_ids: Vec<Uuid>,
    reasons: Vec<Option<&'r str>>,
    keys: Vec<Option<&'r str>>,
    effective_at: Vec<Option<Time>>,
    positions: Vec<i32>,
    recorded_at: Option<Time>,
    writer: i16,
    number: i64,
}

impl<'r> Postings<'r> {
    fn of(rows: &BatchRows<'r>) -> Result<Self, StoreError> {
        let mut all = Self::default();
        let Some(header) = rows.header else { return Ok(all) };
        all.writer = writer_code(header.writer)?;
        all.number = header.number;
        all.recorded_at = Some(Time(header.recorded_at_us));
        for (position, (command, applied)) in (0..).zip(&rows.applied) {
            match single_row(&applied.legs) {
                Some((leg, own, stripe)) => {
                    all.push(position, command, applied, leg, own, stripe.leg.account_id, Some(stripe))
                }
                None => {
                    for (leg, own) in applied.legs.iter().enumerate() {
                        let other = applied.legs.iter().find(|other| other.leg.side != own.leg.side).unwrap_or(own);
                        all.push(position, command, applied, leg, own, other.leg.account_id, None);
                    }
                }
            }
        }
        Ok(all)
    }

    #[expect(clippy::too_many_arguments, reason = "the columns of one row")]
    fn push(
        &mut self,
        position: i32,
        command: &'r Command,
        applied: &Applied,
        leg: usize,
        own: &PostedLeg,
        counterpart_id: AccountId,
        stripe: Option<&PostedLeg>,
    ) {
        self.places.push(own.leg.account_id.bucket(), own.leg.account_id.0);
        self.versions.push(own.version);
        self.transaction_ids.push(applied.transaction_id.0);
        self.kinds.push(kind_code(command.kind));
        self.legs.push(i16::try_from(leg).unwrap_or(i16::MAX));
        self.sides.push(side_code(own.leg.side));
        self.amounts.push(Minor(own.leg.amount_minor));
        self.posted_after.push(Minor(own.balance.posted_minor));
        self.pending_after.push(Some(own.balance.pending_minor).filter(|pending| *pending != 0).map(Minor));
        self.counterpart_ids.push(counterpart_id.0);
        self.counterpart_versions.push(stripe.map(|stripe| stripe.version));
        self.counterpart_after.push(stripe.map(|stripe| Minor(stripe.balance.posted_minor)));
        self.actor_ids.push(command.actor_id);
        self.reasons.push(command.reason.as_deref());
        self.keys.push(command.idempotency.as_ref().map(|key| key.key.as_str()));
        self.effective_at.push(command.effective_at_us.map(Time));
        self.positions.push(position);
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
            &self.kinds,
            &self.legs,
            &self.sides,
            &self.amounts,
            &self.posted_after,
            &self.pending_after,
            &self.counterpart_ids,
            &self.counterpart_versions,
            &self.counterpart_after,
            &self.actor_ids,
            &self.reasons,
            &self.keys,
            &self.effective_at,
            &self.positions,
            &self.recorded_at,
            &self.writer,
            &self.number,
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
    versions_before: Vec<i64>,
    updated_at: Vec<Time>,
}

impl Figures {
    /// `version_before` is that of each account as it was read.
    fn of(accounts: &[&Account], version_before: impl Fn(AccountId) -> i64) -> Self {
        let mut all = Self { places: Places::of_accounts(accounts.iter().map(|one| one.id)), ..Self::default() };
        for account in accounts {
            all.versions_before.push(version_before(account.id));
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
            &self.versions_before,
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

#[derive(Default)]
struct Answers<'r> {
    places: Places,
    keys: Vec<&'r str>,
    fingerprints: Vec<&'r [u8]>,
    outcomes: Vec<Option<String>>,
    account_ids: Vec<Option<Uuid>>,
    versions: Vec<Option<i64>>,
    created_at: Option<Time>,
}

impl<'r> Answers<'r> {
    fn of(rows: &BatchRows<'r>) -> Result<Self, StoreError> {
        let mut all = Self { created_at: Some(Time(rows.recorded_at_us)), ..Self::default() };
        for (key, outcome) in rows.answered.iter().copied() {
            // What one row tells is not kept twice.
            let single = match outcome {
                Outcome::Applied(applied) => single_row(&applied.legs).map(|(_, own, _)| own),
                Outcome::Rejected(_) => None,
            };
            all.places.push(bucket_of(key.scope), key.scope);
            all.keys.push(&key.key);
            all.fingerprints.push(&key.fingerprint);
            all.outcomes.push(if single.is_none() { Some(outcome_to_text(outcome)?) } else { None });
            all.account_ids.push(single.map(|own| own.leg.account_id.0));
            all.versions.push(single.map(|own| own.version));
        }
        Ok(all)
    }

    async fn insert(&self, client: &Client) -> Result<u64, Error> {
        if self.keys.is_empty() {
            return Ok(0);
        }
        let params: Params<'_> = &[
            &self.places.buckets,
            &self.places.ids,
            &self.keys,
            &self.fingerprints,
            &self.outcomes,
            &self.account_ids,
            &self.versions,
            &self.created_at,
        ];
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
