//! The writer's side of a batch: facts out of memory, one row into the journal.

use std::{
    collections::HashMap,
    sync::{Arc, mpsc::Sender},
};

use florin_ledger::{Account, AccountId, AccountMap, BatchHeader, IdempotencyKey, KeyDigest, Outcome, bucket_of};
use florin_store::{
    BatchRows, ChainHead, StoreError,
    codes::{account_kind_code, side_code},
    minor_to_bytes, outcome_to_text,
};
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    history::{MARK_EVERY, RecordReader},
    key_filter::{KeyFilter, KnownKeys},
    key_index::KeyIndex,
    key_run::name_of,
    memory::{Held, Memory},
    record::{BodyWriter, Place},
    settle::Settling,
    tail::Tail,
    view::{read_account, read_applied, read_refused},
};
use crate::{error::store_error, minor::Minor};

pub(crate) const LIST_HEADS: &str = "SELECT writer, number, hash FROM chain_heads ORDER BY writer";
pub(crate) const SELECT_HEAD: &str = "SELECT number, hash, recorded_at FROM chain_heads WHERE writer = ?1";

pub(crate) const INSERT_BATCH: &str = "INSERT INTO batches (sequence, writer, number, previous_hash, merkle_root, \
    transactions, recorded_at, hash, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";

pub(crate) const UPSERT_HEAD: &str = "INSERT INTO chain_heads (writer, number, hash, recorded_at) \
    VALUES (?1, ?2, ?3, ?4) ON CONFLICT (writer) DO UPDATE SET number = excluded.number, hash = excluded.hash, \
    recorded_at = excluded.recorded_at";

pub(crate) const INSERT_MARK: &str =
    "INSERT INTO posting_marks (account_id, version, place, recorded_at) VALUES (?1, ?2, ?3, ?4)";

pub(crate) const INSERT_ACCOUNT: &str = "INSERT INTO accounts (bucket, id, kind, owner_id, asset, exponent, \
    normal_side, floor, ceiling, posted_debits, posted_credits, pending_debits, pending_credits, version, created_at, \
    updated_at, closed_at, last_place) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)";

pub(crate) const INSERT_ANSWER: &str = "INSERT INTO idempotency_keys (bucket, scope, key, fingerprint, outcome, \
    created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

/// What the one writer knows. Nothing that a transaction adds counts before its commit: see [`LedgerWriter::publish`].
#[derive(Debug)]
pub(crate) struct LedgerWriter {
    pub(crate) memory: Arc<Memory>,
    /// The journal's last row; none until the tail has been read.
    last_sequence: Option<i64>,
    heads: HashMap<u16, ChainHead>,
    settling: Settling,
    pub(crate) known_keys: KnownKeys,
    staged: Staged,
}

/// What the open transaction has loaded and changed.
#[derive(Debug, Default)]
struct Staged {
    accounts: AccountMap<Held>,
    changed: Vec<AccountId>,
    keys: Vec<(KeyDigest, Place)>,
    head: Option<(u16, ChainHead)>,
    last_sequence: Option<i64>,
    operations: usize,
}

impl LedgerWriter {
    pub(crate) fn new(memory: Arc<Memory>, generation_operations: usize) -> Self {
        Self {
            memory,
            last_sequence: None,
            heads: HashMap::new(),
            settling: Settling::new(generation_operations),
            known_keys: KnownKeys::default(),
            staged: Staged::default(),
        }
    }

    /// The accounts that exist. Nothing is locked: there is one writer, and it is us.
    pub(crate) fn read_accounts(
        &mut self,
        connection: &Connection,
        ids: &[AccountId],
    ) -> Result<Vec<Account>, StoreError> {
        self.load_tail(connection)?;
        let (mut accounts, mut missing) = (Vec::with_capacity(ids.len()), Vec::new());
        self.memory.look_at_accounts(|remembered| {
            for id in ids {
                match self.staged.accounts.get(id).or_else(|| remembered.get(id)) {
                    Some(held) => accounts.push(held.account.clone()),
                    None => missing.push(*id),
                }
            }
        });
        for id in missing {
            accounts.extend(self.find_held(connection, id)?.map(|held| held.account.clone()));
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
            self.staged.accounts.insert(id, held);
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
        let mut answers = Vec::new();
        for key in keys {
            let digest = key.digest();
            let staged = self.staged.keys.iter().find(|(staged, _)| *staged == digest).map(|(_, place)| *place);
            let name = name_of(&digest);
            let mut look = |place| read_applied(&mut records, key, place);
            let answer = match staged.or_else(|| self.memory.find_key(&digest)) {
                Some(place) => look(place)?,
                None if !self.known_keys.may_have_answer(name) => None,
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
        if let Some(head) = staged.or_else(|| self.heads.get(&writer).copied()) {
            return Ok(Some(head));
        }
        read_chain_head(connection, writer)
    }

    /// Everything that a batch came to.
    pub(crate) fn write(&mut self, connection: &Connection, rows: &BatchRows<'_>) -> Result<(), StoreError> {
        self.load_tail(connection)?;
        for (key, outcome) in rows.answered.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Rejected(_))) {
            self.known_keys.insert(name_of(&key.digest()));
            insert_refusal(connection, key, outcome, rows.recorded_at_us)?;
        }
        let Some(header) = rows.header else { return Ok(()) };
        let sequence = self.staged.last_sequence.or(self.last_sequence).unwrap_or_default() + 1;
        self.stage(&rows.changed);
        let body = self.write_body(connection, sequence, rows, header.recorded_at_us)?;
        for account in &rows.opened {
            let place = self.staged.accounts.get(&account.id).map_or(Place::default(), |held| held.place);
            insert_account(connection, &Held { account: (*account).clone(), place })?;
        }
        let head = insert_batch(connection, sequence, header, &body)?;
        self.staged.changed.extend(rows.changed.iter().map(|account| account.id));
        self.staged.operations += rows.applied.len();
        self.staged.head = Some((header.writer, head));
        self.staged.last_sequence = Some(sequence);
        let staged = |id| self.staged.accounts.get(&id).cloned();
        self.settling.step(connection, rows.applied.len(), staged, &self.memory, &mut self.known_keys)?;
        self.settling.key_index.maintain(connection, rows.applied.len())
    }

    /// Accounts as they are after the batch, each with the place of its last posting before it.
    fn stage(&mut self, changed: &[&Account]) {
        let staged = &mut self.staged.accounts;
        staged.reserve(changed.len());
        self.memory.look_at_accounts(|remembered| {
            for &account in changed {
                let before = staged.get(&account.id).or_else(|| remembered.get(&account.id));
                let place = before.map_or(Place::default(), |held| held.place);
                staged.insert(account.id, Held { account: account.clone(), place });
            }
        });
    }

    /// The batch's body; places, keys and marks on the way.
    fn write_body(
        &mut self,
        connection: &Connection,
        sequence: i64,
        rows: &BatchRows<'_>,
        recorded_at_us: i64,
    ) -> Result<Vec<u8>, StoreError> {
        let mut body = BodyWriter::new(recorded_at_us, rows.applied.len());
        for (command, applied) in &rows.applied {
            let place = Place::new(sequence, body.offset())
                .ok_or_else(|| StoreError::Internal("a batch is larger than 64 MiB".to_owned()))?;
            let accounts = &mut self.staged.accounts;
            body.push(command, &applied.legs, |posted| {
                let held = accounts.get_mut(&posted.leg.account_id);
                held.map_or(Place::default(), |held| std::mem::replace(&mut held.place, place))
            });
            for posted in applied.legs.iter().filter(|posted| posted.version % MARK_EVERY == 0) {
                let mut insert = connection.prepare_cached(INSERT_MARK).map_err(store_error)?;
                let id = posted.leg.account_id.0;
                insert.execute(params![id.as_bytes(), posted.version, place.0, recorded_at_us]).map_err(store_error)?;
            }
            if let Some(key) = &command.idempotency {
                self.staged.keys.push((key.digest(), place));
            }
        }
        Ok(body.finish())
    }

    /// Brings what the tables lack into memory, once.
    fn load_tail(&mut self, connection: &Connection) -> Result<(), StoreError> {
        if self.last_sequence.is_some() || self.staged.last_sequence.is_some() {
            return Ok(());
        }
        let tail = Tail::read(connection)?;
        for id in tail.accounts() {
            let missing = || StoreError::Inconsistent(format!("account {} has postings and no row", id.0));
            let row = read_account(connection, id)?.ok_or_else(missing)?;
            self.staged.accounts.insert(id, tail.complete(row));
            self.staged.changed.push(id);
        }
        self.staged.keys.extend(tail.keys.iter().map(|(digest, place)| (*digest, *place)));
        self.staged.operations += tail.keys.len() + self.staged.changed.len();
        self.staged.last_sequence = Some(tail.last_sequence);
        self.settling.key_index = KeyIndex::load(connection)?;
        Ok(())
    }

    /// The commit is done: what was staged counts.
    pub(crate) fn publish(&mut self) {
        let staged = std::mem::take(&mut self.staged);
        let Some(last_sequence) = staged.last_sequence else {
            // Nothing of the ledger's, or only accounts that were looked at.
            return;
        };
        self.last_sequence = Some(last_sequence);
        self.heads.extend(staged.head);
        self.settling.committed(&staged.changed, &staged.keys, staged.operations, last_sequence, &self.memory);
        self.memory.publish(staged.accounts.into_iter(), staged.keys.into_iter());
        self.memory.make_room(|id| !self.settling.holds(id));
    }

    /// The transaction was rolled back: nothing of it counts.
    pub(crate) fn discard(&mut self) {
        self.staged = Staged::default();
        self.settling.rolled_back();
    }

    /// It is not known whether the commit is there: the database will say, at the next batch.
    pub(crate) fn forget(&mut self) {
        self.memory.clear();
        // What may be in the index is still in it.
        let known_keys = std::mem::take(&mut self.known_keys);
        let generation_operations = self.settling.generation_operations;
        *self = Self { known_keys, ..Self::new(Arc::clone(&self.memory), generation_operations) };
    }

    /// Brings the tables up to date, as before the end of the process.
    pub(crate) fn settle_all(&mut self, connection: &Connection) -> Result<(), StoreError> {
        self.settling.all(connection, &self.memory, &mut self.known_keys)
    }

    /// Reads the tail at the start, so that the first batch need not. Whoever gets a sender shall read the keys, too.
    pub(crate) fn start(&mut self, connection: &Connection) -> Result<Option<Sender<KeyFilter>>, StoreError> {
        self.load_tail(connection)?;
        self.publish();
        self.known_keys.start(connection)
    }
}

pub(crate) fn read_chain_head(connection: &Connection, writer: u16) -> Result<Option<ChainHead>, StoreError> {
    let mut select = connection.prepare_cached(SELECT_HEAD).map_err(store_error)?;
    let head = select.query_row(params![writer], |row| {
        Ok(ChainHead { number: row.get(0)?, hash: row.get(1)?, recorded_at_us: row.get(2)? })
    });
    head.optional().map_err(store_error)
}

fn insert_batch(
    connection: &Connection,
    sequence: i64,
    header: &BatchHeader,
    body: &[u8],
) -> Result<ChainHead, StoreError> {
    let head = ChainHead { number: header.number, hash: header.hash(), recorded_at_us: header.recorded_at_us };
    let mut insert = connection.prepare_cached(INSERT_BATCH).map_err(store_error)?;
    insert
        .execute(params![
            sequence,
            header.writer,
            header.number,
            header.previous_hash,
            header.merkle_root,
            header.transactions,
            header.recorded_at_us,
            head.hash,
            body,
        ])
        .map_err(store_error)?;
    let mut upsert = connection.prepare_cached(UPSERT_HEAD).map_err(store_error)?;
    upsert.execute(params![header.writer, head.number, head.hash, head.recorded_at_us]).map_err(store_error)?;
    Ok(head)
}

fn insert_account(connection: &Connection, held: &Held) -> Result<(), StoreError> {
    let account = &held.account;
    let mut insert = connection.prepare_cached(INSERT_ACCOUNT).map_err(store_error)?;
    insert
        .execute(params![
            account.id.bucket(),
            account.id.0.as_bytes(),
            account_kind_code(account.kind),
            account.owner_id.as_ref().map(|owner| owner.as_bytes()),
            account.asset.code().as_str(),
            account.asset.exponent(),
            side_code(account.normal_side),
            account.limits.floor_minor.map(minor_to_bytes),
            account.limits.ceiling_minor.map(minor_to_bytes),
            Minor(account.posted_debits_minor),
            Minor(account.posted_credits_minor),
            Minor(account.pending_debits_minor),
            Minor(account.pending_credits_minor),
            account.version,
            account.created_at_us,
            account.updated_at_us,
            account.closed_at_us,
            held.place.0,
        ])
        .map_err(store_error)?;
    Ok(())
}

/// Refusals are answers too; what was applied is found through the journal.
fn insert_refusal(
    connection: &Connection,
    key: &IdempotencyKey,
    outcome: &Outcome,
    recorded_at_us: i64,
) -> Result<(), StoreError> {
    let mut insert = connection.prepare_cached(INSERT_ANSWER).map_err(store_error)?;
    insert
        .execute(params![
            bucket_of(key.scope),
            key.scope.as_bytes(),
            key.key,
            key.fingerprint,
            outcome_to_text(outcome)?,
            recorded_at_us,
        ])
        .map_err(store_error)?;
    Ok(())
}
