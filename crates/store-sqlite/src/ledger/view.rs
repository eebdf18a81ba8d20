//! Accounts and keys as one open transaction sees them.

use std::sync::Arc;

use florin_ledger::{Account, AccountId, AccountMap, AccountSet, IdempotencyKey, Outcome, bucket_of};
use florin_store::{StoreError, codes::account_from_row, outcome_from_text};
use rusqlite::{Connection, params};
use uuid::Uuid;

use super::{
    history::RecordReader,
    key_index,
    key_run::name_of,
    memory::{Held, Memory, Moment},
    record::{Place, RecordedKey},
    tail::Tail,
};
use crate::{error::store_error, tx::row_of};

/// The columns that `account_from_row` reads, and the place.
macro_rules! select_accounts {
    ($end:literal) => {
        concat!(
            "SELECT id, kind, owner_id, asset, exponent, normal_side, floor, ceiling, posted_debits, posted_credits, \
             pending_debits, pending_credits, version, created_at, updated_at, closed_at, last_place FROM accounts ",
            $end
        )
    };
}

pub(crate) const SELECT_ACCOUNT: &str = select_accounts!("WHERE bucket = ?1 AND id = ?2");

pub(crate) const PAGE_ACCOUNTS: &str = select_accounts!("WHERE (bucket, id) > (?1, ?2) ORDER BY bucket, id LIMIT ?3");

pub(crate) const SELECT_LAST_SEQUENCE: &str = "SELECT coalesce(max(sequence), 0) FROM batches";

pub(crate) const SELECT_ANSWER: &str =
    "SELECT fingerprint, outcome FROM idempotency_keys WHERE bucket = ?1 AND scope = ?2 AND key = ?3";

/// A reader's snapshot: memory where it is valid for the snapshot, rows and the tail behind them where it is not.
#[derive(Default)]
pub(crate) struct Snapshot {
    /// None where another process writes.
    memory: Option<Arc<Memory>>,
    /// Of memory, before the snapshot was taken.
    moment: Moment,
    last_sequence: Option<i64>,
    tail: Option<Tail>,
}

impl Snapshot {
    /// To be made before the transaction begins.
    pub(crate) fn before_begin(memory: Option<&Arc<Memory>>) -> Self {
        let moment = memory.map_or_else(Moment::default, |memory| memory.moment());
        Self { memory: memory.cloned(), moment, ..Self::default() }
    }

    pub(crate) fn find_accounts(
        &mut self,
        connection: &Connection,
        ids: &[AccountId],
    ) -> Result<AccountMap<Held>, StoreError> {
        // The snapshot is taken by the first statement, before memory is looked at, and waits for memory: so that is
        // never older.
        let last_sequence = self.last_sequence(connection)?;
        let (mut remembered, moment) = match &self.memory {
            Some(memory) => memory.find_accounts(ids),
            None => (AccountMap::default(), Moment::default()),
        };
        // What is newer than the snapshot is no answer. Asked once more, memory may have forgotten it.
        let newer: AccountSet =
            remembered.extract_if(|_, held| held.place.sequence() > last_sequence).map(|(id, _)| id).collect();
        let is_missing_settled = self.is_all_else_in_tables(moment);
        for id in ids {
            if remembered.contains_key(id) {
                continue;
            }
            let Some(row) = read_account(connection, *id)? else { continue };
            let may_lag = !is_missing_settled || newer.contains(id);
            let held = if may_lag { self.tail(connection)?.complete(row) } else { row };
            remembered.insert(*id, held);
        }
        Ok(remembered)
    }

    /// The answer to a key that was applied.
    pub(crate) fn find_applied(
        &mut self,
        connection: &Connection,
        records: &mut RecordReader<'_>,
        key: &IdempotencyKey,
    ) -> Result<Option<(IdempotencyKey, Outcome)>, StoreError> {
        let (digest, last_sequence) = (key.digest(), self.last_sequence(connection)?);
        let (remembered, moment) = match &self.memory {
            Some(memory) => memory.find_key_and_moment(&digest),
            None => (None, Moment::default()),
        };
        if let Some(place) = remembered.filter(|place| place.sequence() <= last_sequence) {
            return read_applied(records, key, place);
        }
        if let Some(found) =
            key_index::find_key(connection, name_of(&digest), |place| read_applied(records, key, place))?
        {
            return Ok(Some(found));
        }
        if remembered.is_none() && self.is_all_else_in_tables(moment) {
            return Ok(None);
        }
        match self.tail(connection)?.keys.get(&digest) {
            Some(place) => read_applied(records, key, *place),
            None => Ok(None),
        }
    }

    /// Everything that the snapshot has beside its rows.
    pub(crate) fn tail(&mut self, connection: &Connection) -> Result<&Tail, StoreError> {
        let tail = match self.tail.take() {
            Some(tail) => tail,
            None => Tail::read(connection)?,
        };
        Ok(self.tail.insert(tail))
    }

    /// Whether what memory did not have, at this moment, is in its table as the snapshot has it.
    fn is_all_else_in_tables(&self, moment: Moment) -> bool {
        moment.is_complete && moment == self.moment
    }

    /// The last batch that the snapshot has. From here on memory has it, too, or is not looked at.
    fn last_sequence(&mut self, connection: &Connection) -> Result<i64, StoreError> {
        if let Some(sequence) = self.last_sequence {
            return Ok(sequence);
        }
        let sequence = read_last_sequence(connection)?;
        // Else one answer would mix what the file says with an earlier moment.
        self.memory.take_if(|memory| !memory.wait_for(sequence));
        self.last_sequence = Some(sequence);
        Ok(sequence)
    }
}

pub(crate) fn read_last_sequence(connection: &Connection) -> Result<i64, StoreError> {
    let mut select = connection.prepare_cached(SELECT_LAST_SEQUENCE).map_err(store_error)?;
    select.query_row([], |row| row.get(0)).map_err(store_error)
}

/// The account's row: its figures as of its last place.
pub(crate) fn read_account(connection: &Connection, id: AccountId) -> Result<Option<Held>, StoreError> {
    let mut select = connection.prepare_cached(SELECT_ACCOUNT).map_err(store_error)?;
    let mut rows = select.query(params![id.bucket(), id.0.as_bytes()]).map_err(store_error)?;
    let Some(row) = rows.next().map_err(store_error)? else { return Ok(None) };
    held_of(row).map(Some)
}

fn held_of(row: &rusqlite::Row<'_>) -> Result<Held, StoreError> {
    let row = row_of(row, 17)?;
    Ok(Held { account: account_from_row(&row)?, place: Place(row.get_int(16)?) })
}

/// Accounts in the order of their rows, out of the rows and what is behind them, whatever memory says.
pub(crate) fn page_accounts(
    connection: &Connection,
    snapshot: &mut Snapshot,
    after: Option<AccountId>,
    limit: usize,
) -> Result<Vec<Account>, StoreError> {
    let tail = snapshot.tail(connection)?;
    let (bucket, id) = after.map_or((-1, Uuid::nil()), |id| (i64::from(id.bucket()), id.0));
    let mut select = connection.prepare_cached(PAGE_ACCOUNTS).map_err(store_error)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = select.query(params![bucket, id.as_bytes(), limit]).map_err(store_error)?;
    let mut accounts = Vec::new();
    while let Some(row) = rows.next().map_err(store_error)? {
        accounts.push(tail.complete(held_of(row)?).account);
    }
    Ok(accounts)
}

/// The answer to a key that was applied, if this is the place: another key may have led here.
pub(crate) fn read_applied(
    records: &mut RecordReader<'_>,
    key: &IdempotencyKey,
    place: Place,
) -> Result<Option<(IdempotencyKey, Outcome)>, StoreError> {
    let record = records.read(place)?;
    let is_it = |found: &RecordedKey| found.scope == key.scope && found.key == key.key;
    let Some(found) = record.key.filter(is_it) else { return Ok(None) };
    let transaction = record.transaction;
    let outcome = Outcome::Applied(florin_ledger::Applied {
        transaction_id: transaction.transaction_id,
        recorded_at_us: transaction.recorded_at_us,
        hash: transaction.hash(record.form),
        legs: transaction.legs,
    });
    Ok(Some((IdempotencyKey { fingerprint: found.fingerprint, ..key.clone() }, outcome)))
}

/// The answer to a key that was refused.
pub(crate) fn read_refused(
    connection: &Connection,
    key: &IdempotencyKey,
) -> Result<Option<(IdempotencyKey, Outcome)>, StoreError> {
    let mut select = connection.prepare_cached(SELECT_ANSWER).map_err(store_error)?;
    let place = params![bucket_of(key.scope), key.scope.as_bytes(), key.key];
    let mut rows = select.query(place).map_err(store_error)?;
    let Some(row) = rows.next().map_err(store_error)? else { return Ok(None) };
    let row = row_of(row, 2)?;
    let outcome = outcome_from_text(&row.get_text(1)?)?;
    Ok(Some((IdempotencyKey { fingerprint: row.get_array(0)?, ..key.clone() }, outcome)))
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use florin_ledger::{Batch, Command, Kind, Leg, Side, SystemAccount, TransactionId, system_account_id};
    use florin_money::Asset;
    use florin_store::{
        Engine as _,
        ledger::apply_batch_in_tx,
        wallet::{WalletRow, insert_wallets},
        write,
    };

    use super::*;
    use crate::{
        connection::{Access, Db},
        engine::{Location, SqliteEngine, SqliteOptions},
    };

    fn wallet(id: u128) -> AccountId {
        AccountId(Uuid::from_u128(id))
    }

    /// To each of these wallets, in one batch.
    fn deposit(engine: &SqliteEngine, wallets: Range<u128>) {
        let asset = Asset::new("EUR", 2).unwrap();
        let bank = system_account_id(SystemAccount::BankSettlement, asset.code(), 0);
        let leg = |account_id, side| Leg { account_id, side, amount_minor: 5 };
        let to = |id| Command {
            transaction_id: TransactionId(Uuid::nil()),
            kind: Kind::Deposit,
            asset,
            legs: vec![leg(wallet(id), Side::Credit), leg(bank, Side::Debit)],
            actor_id: Uuid::nil(),
            reason: None,
            effective_at_us: None,
            idempotency: None,
            owners: Vec::new(),
        };
        let batch: Vec<Command> = wallets.map(to).collect();
        write(engine, |tx| apply_batch_in_tx(tx, 0, Batch::each(&batch), 1)).unwrap();
    }

    /// Memory has it, newer than the snapshot; then it is written to its row and forgotten. The snapshot's row lacks
    /// what it lacked before.
    #[test]
    fn an_account_that_is_forgotten_while_a_snapshot_is_read_is_brought_up_to_date() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("florin.db");
        let options = SqliteOptions { generation_operations: 40, accounts_max: 41, ..SqliteOptions::default() };
        let engine = SqliteEngine::open(&path, options.clone()).unwrap();
        engine.migrate().unwrap();
        let accounts = (0..80).map(|id| Account::wallet(wallet(id), Uuid::nil(), Asset::new("EUR", 2).unwrap(), 1));
        let rows: Vec<_> = accounts.map(|account| (WalletRow { account, label: String::new() }, Uuid::nil())).collect();
        write(&engine, |tx| insert_wallets(tx, &rows)).unwrap();
        // A generation, of which no row is written yet, and the last one will not be by the commit that follows.
        deposit(&engine, 0..40);

        let mut db = Db::open(&Location::File(path), Access::Read, &options).unwrap();
        let mut snapshot = Snapshot::before_begin(engine.memory());
        db.connection.execute_batch("BEGIN").unwrap();
        snapshot.last_sequence(&db.connection).unwrap();
        deposit(&engine, 39..40);
        let mut rounds = 0..20;
        let forget = move || {
            rounds.by_ref().for_each(|_| deposit(&engine, 40..80));
            assert_eq!(engine.peek_account(wallet(39)), None, "it is forgotten");
            false
        };
        // At the first step of the statement that reads the row.
        db.connection.progress_handler(1, Some(forget)).unwrap();
        let found = snapshot.find_accounts(&db.connection, &[wallet(39)]).unwrap();
        let account = &found[&wallet(39)].account;
        assert_eq!((account.version, account.posted_credits_minor), (1, 5));
    }
}
