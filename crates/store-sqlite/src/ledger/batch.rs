//! The writer's side of the ledger: what a batch is decided on, and what its commit changes.

use std::sync::{Arc, mpsc::Sender};

use florin_ledger::{Account, AccountId, AccountMap, IdempotencyKey, Outcome};
use florin_store::{BatchRows, ChainHead, StoreError};
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    history::RecordReader,
    journal::JournalRows,
    key_filter::KeyFilter,
    key_index::KeyIndex,
    key_run::name_of,
    memory::{Held, Memory, Tip},
    settle::Settling,
    staged::Staged,
    tail::Tail,
    view::{read_account, read_applied, read_refused},
};
use crate::error::store_error;

pub(crate) const LIST_HEADS: &str = "SELECT writer, number, hash FROM chain_heads ORDER BY writer";
pub(crate) const SELECT_HEAD: &str = "SELECT number, hash, recorded_at FROM chain_heads WHERE writer = ?1";

/// What the one writer knows. Nothing that a transaction adds counts before its commit: see [`LedgerWriter::publish`].
#[derive(Debug)]
pub(crate) struct LedgerWriter {
    pub(crate) memory: Arc<Memory>,
    settling: Settling,
    /// Of the open transaction. Shared where it was decided before that began.
    staged: Arc<Staged>,
}

impl LedgerWriter {
    pub(crate) fn new(memory: Arc<Memory>, generation_operations: usize) -> Self {
        Self { memory, settling: Settling::new(generation_operations), staged: Arc::default() }
    }

    /// The accounts that exist. Nothing is locked: there is one writer, and it is us.
    pub(crate) fn read_accounts(
        &mut self,
        connection: &Connection,
        ids: &[AccountId],
    ) -> Result<AccountMap<Account>, StoreError> {
        self.load_tail(connection)?;
        let (mut accounts, missing) = self.memory.pick_accounts(ids, &self.staged.accounts, |_, _| ());
        for id in missing {
            accounts.extend(self.find_held(connection, id)?.map(|held| (id, held.account.clone())));
        }
        Ok(accounts)
    }

    /// An account with its place, out of this transaction, memory or its row.
    pub(crate) fn find_held(&mut self, connection: &Connection, id: AccountId) -> Result<Option<&Held>, StoreError> {
        self.load_tail(connection)?;
        if !self.staged.accounts.contains_key(&id) {
            let held = match self.memory.find_account(id) {
                Some(held) => Some(held),
                None => read_account(connection, id)?,
            };
            let Some(held) = held else { return Ok(None) };
            self.stage().accounts.insert(id, held);
        }
        Ok(self.staged.accounts.get(&id))
    }

    /// The answers that exist.
    pub(crate) fn find_answers(
        &mut self,
        connection: &Connection,
        keys: &[&IdempotencyKey],
    ) -> Result<Vec<(IdempotencyKey, Outcome)>, StoreError> {
        self.load_tail(connection)?;
        let mut records = RecordReader::new(connection);
        let mut known_keys = self.memory.known_keys.lock();
        let mut answers = Vec::new();
        for key in keys {
            let digest = key.digest();
            let staged = self.staged.keys.get(&digest).copied();
            let name = name_of(&digest);
            let mut look = |place| read_applied(&mut records, key, place);
            let answer = match staged.or_else(|| self.memory.find_key(&digest)) {
                Some(place) => look(place)?,
                None if !known_keys.may_have_answer(name) => None,
                None => match self.settling.key_index.find(connection, name, look)? {
                    Some(applied) => Some(applied),
                    None => read_refused(connection, key)?,
                },
            };
            answers.extend(answer);
        }
        Ok(answers)
    }

    /// The end of the writer's chain.
    pub(crate) fn chain_head(&mut self, connection: &Connection, writer: u16) -> Result<Option<ChainHead>, StoreError> {
        let staged = self.staged.head.filter(|(staged, _)| *staged == writer).map(|(_, head)| head);
        if let Some(head) = staged.or_else(|| self.memory.find_head(writer)) {
            return Ok(Some(head));
        }
        read_chain_head(connection, writer)
    }

    /// Everything that a batch came to.
    pub(crate) fn write(&mut self, connection: &Connection, rows: &BatchRows<'_>) -> Result<(), StoreError> {
        self.load_tail(connection)?;
        let sequence = self.staged.last_sequence.or(self.memory.tip().last_sequence).unwrap_or_default() + 1;
        // Nothing is forgotten before the end of this transaction.
        let memory = Arc::clone(&self.memory);
        let rows = self.stage().take_in(|id| memory.find_place(id), sequence, rows)?;
        self.insert(connection, &rows)
    }

    /// The same for one that was decided before the transaction began.
    pub(crate) fn write_decided(
        &mut self,
        connection: &Connection,
        staged: &Arc<Staged>,
        rows: Option<&JournalRows>,
    ) -> Result<(), StoreError> {
        self.staged = Arc::clone(staged);
        rows.map_or(Ok(()), |rows| self.insert(connection, rows))
    }

    fn insert(&mut self, connection: &Connection, rows: &JournalRows) -> Result<(), StoreError> {
        for (key, _) in &rows.refused {
            self.memory.known_keys.lock().insert(name_of(&key.digest()));
        }
        rows.insert(connection)?;
        if rows.batch.is_none() {
            return Ok(());
        }
        let staged = |id| self.staged.accounts.get(&id).cloned();
        self.settling.step(connection, rows.operations(), staged, &self.memory)?;
        self.settling.key_index.maintain(connection, rows.operations())
    }

    fn stage(&mut self) -> &mut Staged {
        Arc::make_mut(&mut self.staged)
    }

    /// Brings what the tables lack into memory, once.
    fn load_tail(&mut self, connection: &Connection) -> Result<(), StoreError> {
        if self.memory.tip().last_sequence.is_some() || self.staged.last_sequence.is_some() {
            return Ok(());
        }
        let tail = Tail::read(connection)?;
        let staged = Arc::make_mut(&mut self.staged);
        for id in tail.accounts() {
            let missing = || StoreError::Inconsistent(format!("account {} has postings and no row", id.0));
            let row = read_account(connection, id)?.ok_or_else(missing)?;
            staged.accounts.insert(id, tail.complete(row));
            staged.changed.push(id);
        }
        staged.keys.extend(tail.keys.iter().map(|(digest, place)| (*digest, *place)));
        staged.operations += tail.operations;
        staged.last_sequence = Some(tail.last_sequence);
        self.settling.key_index = KeyIndex::load(connection)?;
        Ok(())
    }

    /// The commit is done: what was staged counts.
    pub(crate) fn publish(&mut self) {
        let staged = std::mem::take(&mut self.staged);
        if !staged.changes_something() {
            // Nothing of the ledger's, or only accounts that were looked at.
            return;
        }
        let write = staged.write.unwrap_or_else(|| self.memory.name_write());
        let Some(last_sequence) = staged.last_sequence else { return self.memory.set_write(write) };
        self.settling.committed(&staged, last_sequence, &self.memory);
        self.memory.publish(&staged, Tip { write, last_sequence: Some(last_sequence) });
        self.memory.make_room(|id| !self.settling.holds(id));
    }

    /// The transaction was rolled back: nothing of it counts.
    pub(crate) fn discard(&mut self) {
        self.staged = Arc::default();
        self.settling.rolled_back();
    }

    /// It is not known whether the commit is there: the database will say, at the next batch.
    pub(crate) fn forget(&mut self) {
        self.memory.clear();
        *self = Self::new(Arc::clone(&self.memory), self.settling.generation_operations);
    }

    /// Brings the tables up to date, as before the end of the process.
    pub(crate) fn settle_all(&mut self, connection: &Connection) -> Result<(), StoreError> {
        self.settling.all(connection, &self.memory)
    }

    /// Reads the tail at the start, so that the first batch need not. Whoever gets a sender shall read the keys, too.
    ///
    /// A generation that one process did not come to the end of, the next one writes first: else the tail would grow
    /// with each process that ends early.
    pub(crate) fn start(&mut self, connection: &Connection) -> Result<Option<Sender<KeyFilter>>, StoreError> {
        self.load_tail(connection)?;
        let is_full = self.staged.operations >= self.settling.generation_operations;
        self.publish();
        if is_full {
            self.settle_all(connection)?;
        }
        self.memory.known_keys.lock().start(connection)
    }
}

pub(crate) fn read_chain_head(connection: &Connection, writer: u16) -> Result<Option<ChainHead>, StoreError> {
    let mut select = connection.prepare_cached(SELECT_HEAD).map_err(store_error)?;
    let head = select.query_row(params![writer], |row| {
        Ok(ChainHead { number: row.get(0)?, hash: row.get(1)?, recorded_at_us: row.get(2)? })
    });
    head.optional().map_err(store_error)
}
