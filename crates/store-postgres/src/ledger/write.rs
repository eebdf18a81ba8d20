//! What a batch writes, as one statement that needs nothing any more but a connection.

use deadpool_postgres::Object as Client;
use florin_ledger::{Account, AccountId, AccountSet, BatchHeader};
use florin_store::{
    BatchRows, StoreError,
    codes::{account_kind_code, hash_form_code, side_code},
};
use futures_util::future::join;
use tokio_postgres::{
    Error,
    types::{ToSql, Type},
};

use super::{
    change, is_stripe,
    posting_rows::{POSTING_COLUMNS, posting_rows},
    request_answers::AnswerRows,
    row_array::RowArray,
    small, writer_code,
};
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
    postings: RowArray<POSTING_COLUMNS>,
    header: Option<Header>,
    /// To whole requests.
    answers: Option<AnswerRows>,
}

#[derive(Debug)]
struct Header {
    form: i16,
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
            header: rows.header.map(Header::of).transpose()?,
            answers: None,
        })
    }

    /// With answers to whole requests beside it.
    pub(crate) fn keep(&mut self, answers: AnswerRows) {
        self.answers = Some(answers);
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
        client.prepare_cached(self.statement()).await?;
        if self.header.is_none() && self.answers.is_some() {
            client.prepare_cached(sql::INSERT_REQUEST_ANSWERS).await?;
        }
        Ok(())
    }

    fn statement(&self) -> &'static str {
        match (&self.header, &self.answers) {
            (Some(_), None) => sql::WRITE_BATCH,
            (Some(_), Some(_)) => sql::WRITE_KEYED_BATCH,
            (None, _) => sql::INSERT_ANSWERS,
        }
    }

    /// Writes it, in as many statements as it needs, which are all sent before the first answer is awaited.
    pub(crate) async fn run(&self, client: &Client) -> Result<(), Error> {
        self.prepare(client).await?;
        both(self.open(client), self.write(client)).await.map(|_| ())
    }

    async fn open(&self, client: &Client) -> Result<u64, Error> {
        match &self.opened {
            Some(opened) => change(client, sql::INSERT_ACCOUNTS, &[opened]).await,
            None => Ok(0),
        }
    }

    async fn write(&self, client: &Client) -> Result<u64, Error> {
        let Some(header) = &self.header else {
            let rows: super::Params<'_> = &[&self.postings];
            let written = change(client, self.statement(), rows);
            let Some(answers) = &self.answers else { return written.await };
            let answers: super::Params<'_> = &[answers];
            return both(written, change(client, sql::INSERT_REQUEST_ANSWERS, answers)).await;
        };
        let (previous_hash, merkle_root, hash) =
            (header.previous_hash.as_slice(), header.merkle_root.as_slice(), header.hash.as_slice());
        let count = i64::try_from(self.versions_before.len()).unwrap_or(i64::MAX);
        let mut params: Vec<&(dyn ToSql + Sync)> = vec![
            &self.changed,
            &self.versions_before,
            &count,
            &header.writer,
            &header.number,
            &previous_hash,
            &merkle_root,
            &header.transactions,
            &header.recorded_at,
            &hash,
            &header.form,
            &self.postings,
        ];
        params.extend(self.answers.as_ref().map(|answers| answers as &(dyn ToSql + Sync)));
        change(client, self.statement(), &params).await
    }
}

impl Header {
    fn of(header: &BatchHeader) -> Result<Self, StoreError> {
        Ok(Self {
            form: hash_form_code(header.form),
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

/// Two statements, both sent before the first answer is awaited. The second only echoes what made the first one fail.
async fn both(
    first: impl Future<Output = Result<u64, Error>>,
    second: impl Future<Output = Result<u64, Error>>,
) -> Result<u64, Error> {
    match join(first, second).await {
        (Err(error), _) if !is_echo(&error) => Err(error),
        (first, second) => second.and(first),
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
