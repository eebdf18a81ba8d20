//! A batch is decided before its transaction begins, on what memory says and the batch before it leaves behind.
//!
//! What neither knows is read from a snapshot, in which the batch before may be missing: it is asked first. Nothing is
//! written here.

use std::sync::Arc;

use florin_ledger::{Account, AccountId, IdempotencyKey, KeyDigest, Outcome};
use florin_money::Asset;
use florin_store::{
    BatchRows, ChainHead, PostingFilter, PostingPage, Row, StoreError, StoredBatch, Tx, Value,
    request_answer::{COLUMNS, RequestAnswer, row_of},
};

use crate::{
    connection::Db,
    ledger::{
        journal::JournalRows,
        key_run::name_of,
        memory::{Memory, Tip, WriteId},
        staged::Staged,
    },
    tx::SqliteTx,
};

/// A batch that is decided, and fits only behind the write it was decided on.
#[derive(Debug)]
pub(crate) struct Decided {
    pub(crate) behind: WriteId,
    /// Where the ledger stands after it.
    pub(crate) tip: Tip,
    pub(crate) staged: Arc<Staged>,
    rows: Option<JournalRows>,
    request_answers: Vec<Vec<Value>>,
}

impl Decided {
    /// Whether there is nothing to write: everything was answered before, or refused without a key.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_none() && self.request_answers.is_empty()
    }

    /// How many operations it has.
    pub(crate) fn operations(&self) -> usize {
        self.rows.as_ref().map_or(0, JournalRows::operations)
    }

    /// Writes it, in the transaction that is open.
    pub(crate) fn write(&self, tx: &mut SqliteTx<'_>) -> Result<(), StoreError> {
        // First what may be there already.
        if !self.request_answers.is_empty() {
            tx.insert_rows("request_answers", COLUMNS, &self.request_answers)?;
        }
        tx.write_decided(&self.staged, self.rows.as_ref())
    }
}

/// The unit of work that decides it.
pub(crate) struct AheadTx<'a> {
    memory: &'a Arc<Memory>,
    /// For what memory does not know.
    reader: &'a mut Db,
    /// What is being written meanwhile.
    before: Option<&'a Staged>,
    tip: Tip,
    staged: Staged,
    rows: Option<JournalRows>,
    request_answers: Vec<Vec<Value>>,
    /// It asked for what only the transaction itself can say or do.
    needs_transaction: bool,
    has_failed: bool,
}

impl<'a> AheadTx<'a> {
    pub(crate) fn new(memory: &'a Arc<Memory>, reader: &'a mut Db, before: Option<&'a Staged>, tip: Tip) -> Self {
        let (staged, request_answers) = (Staged::default(), Vec::new());
        Self {
            memory,
            reader,
            before,
            tip,
            staged,
            rows: None,
            request_answers,
            needs_transaction: false,
            has_failed: false,
        }
    }

    /// What was decided; none when that has to be done in the transaction itself.
    pub(crate) fn end(mut self, result: Result<(), StoreError>) -> Result<Option<Decided>, StoreError> {
        if self.needs_transaction {
            return Ok(None);
        }
        result?;
        if self.has_failed {
            return Err(StoreError::Internal("a step of this batch failed, so it cannot be committed".to_owned()));
        }
        if self.rows.is_some() || !self.request_answers.is_empty() {
            self.staged.write = Some(self.memory.name_write());
        }
        Ok(Some(Decided {
            behind: self.tip.write,
            tip: Tip {
                write: self.staged.write.unwrap_or(self.tip.write),
                last_sequence: self.staged.last_sequence.or(self.tip.last_sequence),
            },
            staged: Arc::new(self.staged),
            rows: self.rows,
            request_answers: self.request_answers,
        }))
    }

    fn needs_transaction<T>(&mut self) -> Result<T, StoreError> {
        self.needs_transaction = true;
        Err(StoreError::Internal("a batch cannot be decided before its transaction begins".to_owned()))
    }

    fn run<T>(&mut self, step: impl FnOnce(&mut Self) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let result = step(self);
        self.has_failed |= result.is_err();
        result
    }

    /// What a snapshot says.
    fn read<T>(&mut self, work: impl FnMut(&mut dyn Tx) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let (memory, mut work, mut result) = (self.memory, work, None);
        self.run(|tx| {
            tx.reader.read(Some(memory), &mut |tx| {
                result = Some(work(tx)?);
                Ok(())
            })?;
            result.ok_or_else(|| StoreError::Internal("a snapshot was not read".to_owned()))
        })
    }

    /// Whether what is being written answers this key: what it says is not in any snapshot yet.
    fn is_answered_before(&self, digest: &KeyDigest) -> bool {
        self.before.is_some_and(|before| before.answers(digest))
    }
}

impl Tx for AheadTx<'_> {
    fn query(&mut self, sql: &'static str, params: &[Value]) -> Result<Vec<Row>, StoreError> {
        self.read(|tx| tx.query(sql, params))
    }

    fn execute(&mut self, _: &'static str, _: &[Value]) -> Result<u64, StoreError> {
        self.needs_transaction()
    }

    fn insert_rows(&mut self, _: &'static str, _: &'static str, _: &[Vec<Value>]) -> Result<(), StoreError> {
        self.needs_transaction()
    }

    fn lock_accounts(&mut self, ids: &[AccountId]) -> Result<Vec<Account>, StoreError> {
        let (mut accounts, mut missing) = (Vec::with_capacity(ids.len()), Vec::new());
        self.memory.look_at_accounts(|remembered| {
            for id in ids {
                let held = self.before.and_then(|before| before.accounts.get(id)).or_else(|| remembered.get(id));
                match held {
                    Some(held) => accounts.push(held.account.clone()),
                    None => missing.push(*id),
                }
            }
        });
        if missing.is_empty() {
            return Ok(accounts);
        }
        let memory = self.memory;
        let found = self.run(|tx| tx.reader.find_accounts(memory, &missing))?;
        accounts.extend(found.values().map(|held| held.account.clone()));
        // Remembered from the commit on.
        self.staged.accounts.extend(found);
        Ok(accounts)
    }

    fn confirm_accounts(&mut self, _: &[AccountId]) -> Result<(), StoreError> {
        // Nothing else changes them, or this comes to nothing.
        Ok(())
    }

    fn page_accounts(&mut self, after: Option<AccountId>, limit: usize) -> Result<Vec<Account>, StoreError> {
        self.read(|tx| tx.page_accounts(after, limit))
    }

    fn find_answers(&mut self, keys: &[&IdempotencyKey]) -> Result<Vec<(IdempotencyKey, Outcome)>, StoreError> {
        let mut possible = Vec::new();
        for key in keys {
            let digest = key.digest();
            if self.is_answered_before(&digest) {
                return self.needs_transaction();
            }
            // In this order: it is known before it is forgotten here.
            let is_possible = self.memory.find_key(&digest).is_some()
                || self.memory.known_keys.lock().may_have_answer(name_of(&digest));
            possible.extend(is_possible.then_some(*key));
        }
        if possible.is_empty() { Ok(Vec::new()) } else { self.read(|tx| tx.find_answers(&possible)) }
    }

    fn find_request_answers(&mut self, keys: &[&IdempotencyKey]) -> Result<Vec<Option<RequestAnswer>>, StoreError> {
        // Nearly always they are new, and each would cost a page: the commit finds out, which needs that page anyway.
        let is_known = keys.iter().any(|key| self.is_answered_before(&key.digest()));
        if is_known { self.needs_transaction() } else { Ok(vec![None; keys.len()]) }
    }

    fn keep_request_answers(
        &mut self,
        answers: &[(&IdempotencyKey, RequestAnswer)],
        now_us: i64,
    ) -> Result<(), StoreError> {
        self.staged.other_keys.extend(answers.iter().map(|(key, _)| key.digest()));
        self.request_answers.extend(answers.iter().map(|(key, answer)| row_of(key, answer, now_us)));
        Ok(())
    }

    fn find_chain_head(&mut self, writer: u16) -> Result<Option<ChainHead>, StoreError> {
        let before = self.before.and_then(|before| before.head).filter(|(before, _)| *before == writer);
        match before.map(|(_, head)| head).or_else(|| self.memory.find_head(writer)) {
            Some(head) => Ok(Some(head)),
            None => self.read(|tx| tx.find_chain_head(writer)),
        }
    }

    fn list_chain_heads(&mut self) -> Result<Vec<Row>, StoreError> {
        self.read(|tx| tx.list_chain_heads())
    }

    fn write_batch(&mut self, rows: &BatchRows<'_>) -> Result<(), StoreError> {
        // A second batch would have to be decided on the first.
        let (Some(last_sequence), None) = (self.tip.last_sequence, &self.rows) else { return self.needs_transaction() };
        self.run(|tx| {
            tx.rows = Some(tx.staged.take_in(tx.before, tx.memory, last_sequence + 1, rows)?);
            Ok(())
        })
    }

    fn list_postings(&mut self, account_id: AccountId, filter: &PostingFilter) -> Result<PostingPage, StoreError> {
        self.read(|tx| tx.list_postings(account_id, filter))
    }

    fn list_batches(
        &mut self,
        writer: u16,
        after_number: i64,
        asset_of: &dyn Fn(AccountId) -> Option<Asset>,
    ) -> Result<Vec<StoredBatch>, StoreError> {
        self.read(|tx| tx.list_batches(writer, after_number, asset_of))
    }

    fn count_postings(&mut self) -> Result<u64, StoreError> {
        self.read(|tx| tx.count_postings())
    }
}
