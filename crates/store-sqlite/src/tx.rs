//! Statements, parameters and rows over one connection.

use std::sync::Arc;

use florin_ledger::{Account, AccountId, AccountMap, IdempotencyKey, Outcome};
use florin_money::Asset;
use florin_store::{
    BatchRows, ChainHead, PostingFilter, PostingPage, Row, StoreError, StoredBatch, Tx, Value, minor_to_bytes,
};
use rusqlite::{
    Connection, ToSql, params_from_iter,
    types::{ToSqlOutput, ValueRef},
};

use crate::{
    connection::Texts,
    error::store_error,
    ledger::{
        batch::{LedgerWriter, read_chain_head},
        history::{self, RecordReader},
        journal::JournalRows,
        memory::Held,
        replay,
        staged::Staged,
        view::{Snapshot, page_accounts, read_refused},
    },
};

/// How the open transaction sees the ledger.
pub(crate) enum Ledger<'c> {
    /// As the one who writes it.
    Writer(&'c mut LedgerWriter),
    /// As of a snapshot.
    Reader(Snapshot),
}

/// An open transaction.
pub(crate) struct SqliteTx<'c> {
    connection: &'c Connection,
    texts: &'c mut Texts,
    ledger: Ledger<'c>,
    /// A statement failed: as on a server, this transaction cannot be committed any more.
    has_failed: bool,
}

impl<'c> SqliteTx<'c> {
    pub(crate) fn new(connection: &'c Connection, texts: &'c mut Texts, ledger: Ledger<'c>) -> Self {
        Self { connection, texts, ledger, has_failed: false }
    }

    fn find_held(&mut self, id: AccountId) -> Result<Option<Held>, StoreError> {
        match &mut self.ledger {
            Ledger::Writer(writer) => Ok(writer.find_held(self.connection, id)?.cloned()),
            Ledger::Reader(snapshot) => Ok(snapshot.find_accounts(self.connection, &[id])?.remove(&id)),
        }
    }

    /// Whether everything asked for has been done, so that it can be committed.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        if self.has_failed {
            return Err(StoreError::Internal(
                "a statement of this transaction failed, so it cannot be committed".to_owned(),
            ));
        }
        Ok(())
    }

    /// Writes a batch that was decided before this transaction began.
    pub(crate) fn write_decided(&mut self, staged: &Arc<Staged>, rows: Option<&JournalRows>) -> Result<(), StoreError> {
        self.run(|tx| match &mut tx.ledger {
            Ledger::Writer(writer) => writer.write_decided(tx.connection, staged, rows),
            Ledger::Reader(_) => Err(read_only()),
        })
    }

    fn run<T>(&mut self, statements: impl FnOnce(&mut Self) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let result = statements(self);
        self.has_failed |= result.is_err();
        result
    }
}

impl Tx for SqliteTx<'_> {
    fn query(&mut self, sql: &'static str, params: &[Value]) -> Result<Vec<Row>, StoreError> {
        self.run(|tx| {
            let mut statement = tx.connection.prepare_cached(&tx.texts.of(sql)).map_err(store_error)?;
            let columns = statement.column_count();
            let mut found = statement.query(params_from_iter(params.iter().map(Param))).map_err(store_error)?;
            let mut rows = Vec::new();
            while let Some(row) = found.next().map_err(store_error)? {
                rows.push(row_of(row, columns)?);
            }
            Ok(rows)
        })
    }

    fn execute(&mut self, sql: &'static str, params: &[Value]) -> Result<u64, StoreError> {
        self.run(|tx| {
            let mut statement = tx.connection.prepare_cached(&tx.texts.of(sql)).map_err(store_error)?;
            let changed = statement.execute(params_from_iter(params.iter().map(Param))).map_err(store_error)?;
            Ok(u64::try_from(changed).unwrap_or(u64::MAX))
        })
    }

    fn insert_rows(
        &mut self,
        table: &'static str,
        columns: &'static str,
        rows: &[Vec<Value>],
    ) -> Result<(), StoreError> {
        let places = vec!["?"; columns.split(',').count()].join(", ");
        self.run(|tx| {
            let text = format!("INSERT INTO {table} ({columns}) VALUES ({places})");
            let mut insert = tx.connection.prepare_cached(&text).map_err(store_error)?;
            for row in rows {
                insert.execute(params_from_iter(row.iter().map(Param))).map_err(store_error)?;
            }
            Ok(())
        })
    }

    fn lock_accounts(&mut self, ids: &[AccountId]) -> Result<AccountMap<Account>, StoreError> {
        self.run(|tx| match &mut tx.ledger {
            Ledger::Writer(writer) => writer.read_accounts(tx.connection, ids),
            Ledger::Reader(snapshot) => {
                let found = snapshot.find_accounts(tx.connection, ids)?;
                Ok(found.into_iter().map(|(id, held)| (id, held.account)).collect())
            }
        })
    }

    fn confirm_accounts(&mut self, _: &[AccountId]) -> Result<(), StoreError> {
        // There is one writer.
        Ok(())
    }

    fn page_accounts(&mut self, after: Option<AccountId>, limit: usize) -> Result<Vec<Account>, StoreError> {
        self.run(|tx| {
            let mut unremembered = Snapshot::default();
            let snapshot = match &mut tx.ledger {
                Ledger::Writer(_) => &mut unremembered,
                Ledger::Reader(snapshot) => snapshot,
            };
            page_accounts(tx.connection, snapshot, after, limit)
        })
    }

    fn find_answers(&mut self, keys: &[&IdempotencyKey]) -> Result<Vec<(IdempotencyKey, Outcome)>, StoreError> {
        self.run(|tx| match &mut tx.ledger {
            Ledger::Writer(writer) => writer.find_answers(tx.connection, keys),
            Ledger::Reader(snapshot) => {
                let mut records = RecordReader::new(tx.connection);
                let mut answers = Vec::new();
                for key in keys {
                    match snapshot.find_applied(tx.connection, &mut records, key)? {
                        Some(applied) => answers.push(applied),
                        None => answers.extend(read_refused(tx.connection, key)?),
                    }
                }
                Ok(answers)
            }
        })
    }

    fn list_chain_heads(&mut self) -> Result<Vec<Row>, StoreError> {
        self.query(crate::ledger::batch::LIST_HEADS, &[])
    }

    fn find_chain_head(&mut self, writer: u16) -> Result<Option<ChainHead>, StoreError> {
        self.run(|tx| match &mut tx.ledger {
            Ledger::Writer(ledger) => ledger.chain_head(tx.connection, writer),
            Ledger::Reader(_) => read_chain_head(tx.connection, writer),
        })
    }

    fn write_batch(&mut self, rows: &BatchRows<'_>) -> Result<(), StoreError> {
        self.run(|tx| match &mut tx.ledger {
            Ledger::Writer(writer) => writer.write(tx.connection, rows),
            Ledger::Reader(_) => Err(read_only()),
        })
    }

    fn list_postings(&mut self, account_id: AccountId, filter: &PostingFilter) -> Result<PostingPage, StoreError> {
        self.run(|tx| match tx.find_held(account_id)? {
            Some(held) => history::list_postings(tx.connection, &held, filter),
            None => Ok(PostingPage::default()),
        })
    }

    fn list_batches(
        &mut self,
        writer: u16,
        after_number: i64,
        _: &dyn Fn(AccountId) -> Option<Asset>,
    ) -> Result<Vec<StoredBatch>, StoreError> {
        self.run(|tx| replay::list_batches(tx.connection, writer, after_number))
    }

    fn count_postings(&mut self) -> Result<u64, StoreError> {
        self.run(|tx| replay::count_postings(tx.connection))
    }
}

fn read_only() -> StoreError {
    StoreError::Internal("a batch was written while reading".to_owned())
}

/// A row as this database has it: integers, texts, bytes and NULL.
pub(crate) fn row_of(row: &rusqlite::Row<'_>, columns: usize) -> Result<Row, StoreError> {
    let mut values = Vec::with_capacity(columns);
    for column in 0..columns {
        values.push(match row.get_ref(column).map_err(store_error)? {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(value) => Value::Int(value),
            ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
            ValueRef::Text(bytes) => Value::Text(
                str::from_utf8(bytes)
                    .map_err(|_| StoreError::Inconsistent(format!("column {column} is not UTF-8")))?
                    .to_owned(),
            ),
            ValueRef::Real(_) => return Err(StoreError::Inconsistent(format!("column {column} is a float"))),
        });
    }
    Ok(Row(values))
}

struct Param<'v>(&'v Value);

impl ToSql for Param<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self.0 {
            Value::Null => ToSqlOutput::Borrowed(ValueRef::Null),
            Value::Bool(value) => ToSqlOutput::Borrowed(ValueRef::Integer(i64::from(*value))),
            Value::Int(value) | Value::Time(value) => ToSqlOutput::Borrowed(ValueRef::Integer(*value)),
            Value::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Value::Bytes(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
            Value::Uuid(id) => ToSqlOutput::Borrowed(ValueRef::Blob(id.as_bytes())),
            Value::Minor(minor) => ToSqlOutput::Owned(rusqlite::types::Value::Blob(minor_to_bytes(*minor).to_vec())),
        })
    }
}
