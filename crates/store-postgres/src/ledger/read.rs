//! Accounts, answers, heads and histories.

use std::collections::HashMap;

use deadpool_postgres::Object as Client;
use florin_ledger::{Account, AccountId, AccountMap, Applied, HashForm, IdempotencyKey, Outcome};
use florin_store::{
    BatchFacts, ChainHead, POSTINGS_LOOKED_AT_MAX, PostingFilter, PostingPage, StoreError,
    codes::{account_from_row, hash_form_from_code, kind_code},
    outcome_from_text,
};
use futures_util::future::{try_join, try_join4};
use tokio_postgres::{Error, Row};
use uuid::Uuid;

use super::{
    Places, is_stripe,
    key_name::{KeyName, KeyNames, namesakes, requests_answered},
    replay::transactions_of,
    select, small, writer_code,
};
use crate::{
    codec::{Minor, Time, row_of},
    lease::{Asked, LOCK_CLASS},
    statements as sql,
    tx::PostgresTx,
};

/// What PostgreSQL and the wire can hold: 1 January of the year 1, and the end of 9999.
const TIME_MIN_US: i64 = -62_135_596_800_000_000;
const TIME_MAX_US: i64 = 253_402_300_799_999_999;
/// The largest amount that is kept: 38 digits.
const MINOR_MAX: i128 = 10_i128.pow(38) - 1;

/// In the rows of answers, behind the columns of a posting: bucket, the key's low and high part, fingerprint, outcome.
const KEY_COLUMNS: [usize; 5] = [21, 22, 23, 24, 25];
/// That of the posting's batch.
const HASH_FORM: usize = 26;

/// The accounts that exist, as they are now.
pub(crate) fn select_accounts(tx: &mut PostgresTx<'_>, ids: &[AccountId]) -> Result<AccountMap<Account>, StoreError> {
    let places = Places::of_accounts(ids.iter().copied());
    let client = tx.client();
    let rows = tx.run(select(client, sql::READ_ACCOUNTS, &[&places.buckets, &places.ids]))?;
    accounts_of(&rows)
}

/// The accounts that exist, locked in the order of buckets and ids. The lock holds off who locks, too; who writes on
/// what it remembers does not ask for it, and is found out by the postings' key.
pub(crate) fn lock_accounts(tx: &mut PostgresTx<'_>, ids: &[AccountId]) -> Result<AccountMap<Account>, StoreError> {
    let places = Places::of_accounts(ids.iter().copied());
    let client = tx.client();
    tx.run(select(client, sql::LOCK_ACCOUNTS, &[&places.buckets, &places.ids]))?;
    // A statement of its own: it sees what was committed while the locks were waited for.
    select_accounts(tx, ids)
}

pub(crate) fn accounts_of(rows: &[Row]) -> Result<AccountMap<Account>, StoreError> {
    rows.iter().map(|row| account_from_row(&row_of(row)?).map(|account| (account.id, account))).collect()
}

/// The accounts as they are now, but for those that are as they are known.
pub(crate) fn changed_accounts(
    tx: &mut PostgresTx<'_>,
    ids: &[AccountId],
    known: &AccountMap<Account>,
) -> Result<AccountMap<Account>, StoreError> {
    let client = tx.client();
    let (_, rows) = tx.run_before(select_changed_accounts(client, None, ids, known))?;
    accounts_of(&rows)
}

/// The accounts, but for those that are as they are known, as of a moment after the server said, if it is asked,
/// whether no other process is connected.
pub(crate) async fn select_changed_accounts(
    client: &Client,
    asked: Option<Asked>,
    ids: &[AccountId],
    known: &AccountMap<Account>,
) -> Result<(Option<bool>, Vec<Row>), Error> {
    // The last posting of a stripe is in its row alone.
    let version_of = |id| known.get(id).filter(|_| !is_stripe(*id)).map_or(-1, |account| account.version);
    let versions: Vec<i64> = ids.iter().map(version_of).collect();
    let places = Places::of_accounts(ids.iter().copied());
    let params: super::Params<'_> = &[&places.buckets, &places.ids, &versions];
    let Some(Asked { name, .. }) = asked else {
        return Ok((None, select(client, sql::READ_CHANGED_ACCOUNTS, params).await?));
    };
    // What must be prepared first would be sent after its neighbour.
    let is_alone = client.prepare_cached(sql::IS_ALONE).await?;
    let read = client.prepare_cached(sql::READ_CHANGED_ACCOUNTS).await?;
    let class = LOCK_CLASS.cast_unsigned();
    let name: super::Params<'_> = &[&class, &name];
    let (is_alone, rows) = try_join(client.query_one(&is_alone, name), client.query(&read, params)).await?;
    Ok((Some(is_alone.try_get(0)?), rows))
}

/// Accounts in the order of their buckets and ids.
pub(crate) fn page_accounts(
    tx: &mut PostgresTx<'_>,
    after: Option<AccountId>,
    limit: usize,
) -> Result<Vec<Account>, StoreError> {
    let (bucket, id) = after.map_or((-1, Uuid::nil()), |id| (small(id.bucket()), id.0));
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let client = tx.client();
    let rows = tx.run(select(client, sql::PAGE_ACCOUNTS, &[&bucket, &id, &limit]))?;
    let accounts: Vec<Account> =
        rows.iter().map(|row| account_from_row(&row_of(row)?)).collect::<Result<_, StoreError>>()?;
    for (row, account) in rows.iter().zip(&accounts) {
        if row_of(row)?.get_bool(16)? {
            return Err(StoreError::Inconsistent(format!(
                "account {}: its row is not as the posting says that is as old as it",
                account.id.0
            )));
        }
    }
    Ok(accounts)
}

/// The answers that exist.
pub(crate) fn find_answers(
    tx: &mut PostgresTx<'_>,
    keys: &[&IdempotencyKey],
) -> Result<Vec<(IdempotencyKey, Outcome)>, StoreError> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let names = KeyNames::of(keys);
    let client = tx.client();
    let rows = tx.run(select(client, sql::FIND_ANSWERS, &[&names.buckets, &names.lows, &names.highs]))?;
    answers_of(keys, &rows)
}

/// The answers that rows with keys tell of. Of two keys that are one but for their fingerprints the answer has that of
/// its own request.
fn answers_of(keys: &[&IdempotencyKey], rows: &[Row]) -> Result<Vec<(IdempotencyKey, Outcome)>, StoreError> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let mut asked: HashMap<KeyName, Vec<&IdempotencyKey>> = HashMap::new();
    for key in keys {
        asked.entry(KeyName::of(key)).or_default().push(key);
    }
    let mut answers = Vec::with_capacity(rows.len());
    for row in rows {
        let [bucket, low, high, fingerprint, outcome] = KEY_COLUMNS;
        let cells = row_of(row)?;
        let name = KeyName {
            bucket: i16::try_from(cells.get_int(bucket)?).unwrap_or_default(),
            low: i32::try_from(cells.get_int(low)?).unwrap_or_default(),
            high: cells.get_int(high)?,
        };
        let fingerprint = cells.get_int(fingerprint)?;
        // A key that was asked for twice has two rows.
        let Some(requests) = asked.remove(&name) else { continue };
        let outcome = match cells.find_text(outcome)? {
            Some(text) => outcome_from_text(&text)?,
            None => applied_by(row)?,
        };
        answers.extend(requests_answered(&requests, fingerprint).into_iter().map(|key| (key, outcome.clone())));
    }
    Ok(answers)
}

/// The answer of the transaction that this posting tells of.
fn applied_by(row: &Row) -> Result<Outcome, StoreError> {
    let missing = || StoreError::Inconsistent("the posting of a key tells of no transaction".to_owned());
    let transaction = transactions_of(std::slice::from_ref(row))?.pop().ok_or_else(missing)?.1;
    // A batch that is missing is for `verify` to find: the answer to a key does not depend on it.
    let form = row_of(row)?.find_int(HASH_FORM)?.map_or(Ok(HashForm::V1), hash_form_from_code)?;
    Ok(Outcome::Applied(Applied {
        transaction_id: transaction.transaction_id,
        recorded_at_us: transaction.recorded_at_us,
        hash: transaction.hash(form),
        legs: transaction.legs,
    }))
}

/// The end of the writer's chain.
pub(crate) fn find_chain_head(tx: &mut PostgresTx<'_>, writer: u16) -> Result<Option<ChainHead>, StoreError> {
    let writer = writer_code(writer)?;
    let client = tx.client();
    head_of(&tx.run(select(client, sql::READ_HEAD, &[&writer]))?)
}

fn head_of(rows: &[Row]) -> Result<Option<ChainHead>, StoreError> {
    let Some(row) = rows.first() else { return Ok(None) };
    let row = row_of(row)?;
    Ok(Some(ChainHead { number: row.get_int(0)?, hash: row.get_array(1)?, recorded_at_us: row.get_time(2)? }))
}

/// The accounts, locked, then the end of the writer's chain, the accounts as they are, and the answers: each statement
/// sees what was committed before it, as one after the other, but all of them are sent before the first answer is
/// awaited.
pub(crate) fn lock_facts(
    tx: &mut PostgresTx<'_>,
    writer: u16,
    ids: &[AccountId],
    keys: &[&IdempotencyKey],
) -> Result<BatchFacts, StoreError> {
    let (code, accounts) = (writer_code(writer)?, Places::of_accounts(ids.iter().copied()));
    let names = KeyNames::of(keys);
    let client = tx.client();
    let (_, heads, accounts, answers) = tx.run(async {
        // What must be prepared first would be sent after its neighbours.
        let lock_accounts = client.prepare_cached(sql::LOCK_ACCOUNTS).await?;
        let read_head = client.prepare_cached(sql::READ_HEAD).await?;
        let read_accounts = client.prepare_cached(sql::READ_ACCOUNTS).await?;
        let find_answers = client.prepare_cached(sql::FIND_ANSWERS).await?;
        let account_params: super::Params<'_> = &[&accounts.buckets, &accounts.ids];
        let answer_params: super::Params<'_> = &[&names.buckets, &names.lows, &names.highs];
        let answers =
            async { if keys.is_empty() { Ok(Vec::new()) } else { client.query(&find_answers, answer_params).await } };
        let code: super::Params<'_> = &[&code];
        try_join4(
            client.query(&lock_accounts, account_params),
            client.query(&read_head, code),
            client.query(&read_accounts, account_params),
            answers,
        )
        .await
    })?;
    let (head, accounts) = (head_of(&heads)?, accounts_of(&accounts)?);
    // What is stored under a name comes after what two keys of one name would be without it.
    let mut found = namesakes(keys, KeyName::of);
    found.extend(answers_of(keys, &answers)?);
    Ok(BatchFacts { head, accounts, answers: found })
}

/// A page of an account's postings, newest first.
pub(crate) fn list_postings(
    tx: &mut PostgresTx<'_>,
    id: AccountId,
    filter: &PostingFilter,
) -> Result<PostingPage, StoreError> {
    let Some(account) = select_accounts(tx, &[id])?.remove(&id) else { return Ok(PostingPage::default()) };
    let before = filter.before_version.min(account.version.saturating_add(1));
    if is_stripe(id) {
        return list_stripe_postings(tx, id, before, filter);
    }
    let before = if filter.to_us < TIME_MAX_US { first_after(tx, id, before, filter.to_us)? } else { before };
    let low = before.saturating_sub(POSTINGS_LOOKED_AT_MAX).max(1);
    let kind = filter.kind.map_or(-1, kind_code);
    let time = |at_us: i64| Time(at_us.clamp(TIME_MIN_US, TIME_MAX_US));
    let (from, to) = (time(filter.from_us), time(filter.to_us));
    let (min, max) = (Minor(filter.min_minor.max(0)), Minor(filter.max_minor.min(MINOR_MAX)));
    let limit = i64::try_from(filter.limit).unwrap_or(i64::MAX);
    let client = tx.client();
    let rows = tx.run(select(
        client,
        sql::LIST_POSTINGS,
        &[&small(id.bucket()), &id.0, &before, &low, &kind, &from, &to, &min, &max, &limit],
    ))?;
    let transactions = transactions_of(&rows)?;
    let postings: Vec<_> = transactions
        .iter()
        .flat_map(|(_, transaction)| transaction.postings())
        .filter(|posting| posting.account_id == id)
        .collect();
    let ends_here = low <= 1 || postings.len() >= filter.limit || time_at(tx, id, low)? < Some(filter.from_us);
    Ok(PostingPage { postings, next_before_version: if ends_here { None } else { Some(low) } })
}

/// The first posting at or after `to_us`, else `before`: recorded time only grows, so it is found by halving.
fn first_after(tx: &mut PostgresTx<'_>, id: AccountId, before: i64, to_us: i64) -> Result<i64, StoreError> {
    let (mut low, mut high) = (1, before);
    while low < high {
        let middle = low + (high - low) / 2;
        match time_at(tx, id, middle)? {
            Some(at_us) if at_us < to_us => low = middle + 1,
            _ => high = middle,
        }
    }
    Ok(low)
}

fn time_at(tx: &mut PostgresTx<'_>, id: AccountId, version: i64) -> Result<Option<i64>, StoreError> {
    let client = tx.client();
    let rows = tx.run(select(client, sql::FIND_POSTING_TIME, &[&small(id.bucket()), &id.0, &version]))?;
    rows.first().map(|row| row_of(row)?.get_time(0)).transpose()
}

fn list_stripe_postings(
    tx: &mut PostgresTx<'_>,
    id: AccountId,
    before: i64,
    filter: &PostingFilter,
) -> Result<PostingPage, StoreError> {
    let low = before.saturating_sub(POSTINGS_LOOKED_AT_MAX);
    let client = tx.client();
    let limit = POSTINGS_LOOKED_AT_MAX;
    let rows = tx.run(select(client, sql::LIST_STRIPE_POSTINGS, &[&id.0, &before, &low, &limit]))?;
    let transactions = transactions_of(&rows)?;
    let postings: Vec<_> = transactions
        .iter()
        .flat_map(|(_, transaction)| transaction.postings())
        .filter(|posting| posting.account_id == id)
        .filter(|posting| filter.admits(posting.kind, posting.amount_minor, posting.recorded_at_us))
        .take(filter.limit)
        .collect();
    let ends_here = low <= 1 || postings.len() >= filter.limit;
    Ok(PostingPage { postings, next_before_version: if ends_here { None } else { Some(low) } })
}
