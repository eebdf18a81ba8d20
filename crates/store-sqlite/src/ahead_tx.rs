//! A batch is decided before its transaction begins, on what memory says and the batch before it leaves behind.
//!
//! What neither knows is read from a snapshot, in which the batch before may be missing: it is asked first. Whoever
//! asks or writes more than a batch does has its transaction first. Nothing is written here.

use std::sync::Arc;

use florin_ledger::{Account, AccountId, AccountMap, IdempotencyKey, KeyDigest, Outcome};
use florin_money::Asset;
use florin_store::{
    BatchRows, ChainHead, PostingFilter, PostingPage, Row, StoreError, StoredBatch, Tx, Value,
    request_answer::RequestAnswer,
};

use crate::{
    connection::Db,
    ledger::{
        journal::JournalRows,
        key_run::name_of,
        memory::{Memory, Tip, WriteId},
        record::Place,
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
    kept: Kept,
}

/// Answers to whole requests.
#[derive(Debug, Default)]
struct Kept {
    answers: Vec<(IdempotencyKey, RequestAnswer)>,
    at_us: i64,
}

impl Decided {
    /// Whether there is nothing to write: everything was answered before, or refused without a key.
    pub(crate) fn is_empty(&self) -> bool {
        self.staged.write.is_none()
    }

    /// How many operations it has.
    pub(crate) fn operations(&self) -> usize {
        self.rows.as_ref().map_or(0, JournalRows::operations)
    }

    /// Writes it, in the transaction that is open.
    pub(crate) fn write(&self, tx: &mut SqliteTx<'_>) -> Result<(), StoreError> {
        // First what may be there already.
        let answers: Vec<_> = self.kept.answers.iter().map(|(key, answer)| (key, answer.clone())).collect();
        tx.keep_request_answers(&answers, self.kept.at_us)?;
        tx.write_decided(&self.staged, self.rows.as_ref())
    }
}

/// The unit of work that decides it.
pub(crate) struct AheadTx<'a> {
    memory: &'a Arc<Memory>,
    /// For what memory does not know.
    reader: &'a mut Db,
    /// What is being written meanwhile; empty if nothing is.
    before: &'a Staged,
    tip: Tip,
    staged: Staged,
    /// Where the last postings stand of the accounts that were given: memory may forget one before the batch is formed,
    /// because the one before it is committed meanwhile.
    places: AccountMap<Place>,
    rows: Option<JournalRows>,
    kept: Kept,
    /// It asked for what only the transaction itself can say or do.
    needs_transaction: bool,
    has_failed: bool,
}

impl<'a> AheadTx<'a> {
    pub(crate) fn new(memory: &'a Arc<Memory>, reader: &'a mut Db, before: &'a Staged, tip: Tip) -> Self {
        let (staged, places, kept) = (Staged::default(), AccountMap::default(), Kept::default());
        let (needs_transaction, has_failed) = (false, false);
        Self { memory, reader, before, tip, staged, places, rows: None, kept, needs_transaction, has_failed }
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
        if self.rows.is_some() || !self.kept.answers.is_empty() {
            self.staged.write = Some(self.memory.name_write());
        }
        let tip = Tip {
            write: self.staged.write.unwrap_or(self.tip.write),
            last_sequence: self.staged.last_sequence.or(self.tip.last_sequence),
        };
        let staged = Arc::new(self.staged);
        Ok(Some(Decided { behind: self.tip.write, tip, staged, rows: self.rows, kept: self.kept }))
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
    fn read<T>(&mut self, mut work: impl FnMut(&mut dyn Tx) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.run(|tx| {
            let mut result = None;
            tx.reader.read(Some(tx.memory), &mut |tx| {
                result = Some(work(tx)?);
                Ok(())
            })?;
            result.ok_or_else(|| StoreError::Internal("a snapshot was not read".to_owned()))
        })
    }
}

impl Tx for AheadTx<'_> {
    fn lock_accounts(&mut self, ids: &[AccountId]) -> Result<AccountMap<Account>, StoreError> {
        let places = &mut self.places;
        places.reserve(ids.len());
        let picked = |id, place| _ = places.insert(id, place);
        let (mut accounts, missing) = self.memory.pick_accounts(ids, &self.before.accounts, picked);
        if missing.is_empty() {
            return Ok(accounts);
        }
        let found = self.run(|tx| tx.reader.find_accounts(tx.memory, &missing))?;
        accounts.extend(found.iter().map(|(id, held)| (*id, held.account.clone())));
        // Remembered from the commit on.
        self.staged.accounts.extend(found);
        Ok(accounts)
    }

    fn confirm_accounts(&mut self, _: &[AccountId]) -> Result<(), StoreError> {
        // Nothing else changes them, or this comes to nothing.
        Ok(())
    }

    fn find_answers(&mut self, keys: &[&IdempotencyKey]) -> Result<Vec<(IdempotencyKey, Outcome)>, StoreError> {
        let digests: Vec<KeyDigest> = keys.iter().map(|key| key.digest()).collect();
        if digests.iter().any(|digest| self.before.answers(digest)) {
            return self.needs_transaction();
        }
        let mut possible = Vec::new();
        let mut known_keys = self.memory.known_keys.lock();
        for (key, digest) in keys.iter().zip(&digests) {
            // In this order: a key is known before it is forgotten here.
            let is_possible = self.memory.find_key(digest).is_some() || known_keys.may_have_answer(name_of(digest));
            possible.extend(is_possible.then_some(*key));
        }
        drop(known_keys);
        if possible.is_empty() { Ok(Vec::new()) } else { self.read(|tx| tx.find_answers(&possible)) }
    }

    fn find_chain_head(&mut self, writer: u16) -> Result<Option<ChainHead>, StoreError> {
        let before = self.before.head.filter(|(before, _)| *before == writer);
        match before.map(|(_, head)| head).or_else(|| self.memory.find_head(writer)) {
            Some(head) => Ok(Some(head)),
            None => self.read(|tx| tx.find_chain_head(writer)),
        }
    }

    fn write_batch(&mut self, rows: &BatchRows<'_>) -> Result<(), StoreError> {
        // A second batch would have to be decided on the first.
        let (Some(last_sequence), None) = (self.tip.last_sequence, &self.rows) else { return self.needs_transaction() };
        self.run(|tx| {
            tx.rows = Some(tx.staged.take_in(|id| tx.places.get(&id).copied(), last_sequence + 1, rows)?);
            Ok(())
        })
    }

    fn find_request_answers(&mut self, keys: &[&IdempotencyKey]) -> Result<Vec<Option<RequestAnswer>>, StoreError> {
        // Nearly always they are new, and each would cost a page: the commit finds out, which needs that page anyway.
        let is_known = keys.iter().any(|key| self.before.answers(&key.digest()));
        if is_known { self.needs_transaction() } else { Ok(vec![None; keys.len()]) }
    }

    fn keep_request_answers(
        &mut self,
        answers: &[(&IdempotencyKey, RequestAnswer)],
        now_us: i64,
    ) -> Result<(), StoreError> {
        self.staged.other_keys.extend(answers.iter().map(|(key, _)| key.digest()));
        self.kept.answers.extend(answers.iter().map(|(key, answer)| ((*key).clone(), answer.clone())));
        self.kept.at_us = now_us;
        Ok(())
    }

    fn query(&mut self, _: &'static str, _: &[Value]) -> Result<Vec<Row>, StoreError> {
        self.needs_transaction()
    }

    fn execute(&mut self, _: &'static str, _: &[Value]) -> Result<u64, StoreError> {
        self.needs_transaction()
    }

    fn insert_rows(&mut self, _: &'static str, _: &'static str, _: &[Vec<Value>]) -> Result<(), StoreError> {
        self.needs_transaction()
    }

    fn page_accounts(&mut self, _: Option<AccountId>, _: usize) -> Result<Vec<Account>, StoreError> {
        self.needs_transaction()
    }

    fn list_chain_heads(&mut self) -> Result<Vec<Row>, StoreError> {
        self.needs_transaction()
    }

    fn list_postings(&mut self, _: AccountId, _: &PostingFilter) -> Result<PostingPage, StoreError> {
        self.needs_transaction()
    }

    fn list_batches(
        &mut self,
        _: u16,
        _: i64,
        _: &dyn Fn(AccountId) -> Option<Asset>,
    ) -> Result<Vec<StoredBatch>, StoreError> {
        self.needs_transaction()
    }

    fn count_postings(&mut self) -> Result<u64, StoreError> {
        self.needs_transaction()
    }
}
