//! The engine: a gate for what writes, a pool for what reads.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, mpsc::Sender},
};

use florin_ledger::{Account, AccountId};
use florin_store::{Begun, Engine, EngineKind, EngineStatus, Interruption, NotDone, StoreError, Ticket, Work};
use parking_lot::{FairMutex, Mutex};
use tracing::warn;

use crate::{
    ahead::WriteLane,
    checkpoint::{Checkpointer, Gate},
    connection::{Access, Db},
    ledger::{
        batch::LedgerWriter,
        key_filter::{KeyFilter, KeyReader},
        memory::Memory,
    },
    lock_file::LockFile,
    migrate,
    orphaned_log::refuse_orphaned_log,
    readers::Readers,
};

/// How a database file is opened.
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    /// Connections that read at the same time; at least 1.
    pub read_connections: usize,
    /// How long to wait for another process that writes, milliseconds.
    pub busy_timeout_ms: u64,
    /// Page cache of the connection that writes, KiB.
    pub cache_size_kib: i64,
    /// Page cache of each other connection, KiB: most of what they read is mapped.
    pub read_cache_size_kib: i64,
    /// How much of the file is read through the address space, bytes.
    pub mmap_size_bytes: i64,
    /// Operations whose accounts and keys follow the journal together: also what a start after a crash has to read
    /// again, twice at most. At least 1; fewer write the same rows and merge the same keys more often.
    pub generation_operations: usize,
    /// Accounts that are remembered with their figures, about 300 bytes each; beyond it, those are forgotten whose rows
    /// are up to date.
    pub accounts_max: usize,
    /// Operations from which on a batch that is begun is written by a thread of its own while the next one is decided.
    pub ahead_min: usize,
    /// Whether there is such a thread. Without it, what is left on its way is written when its end is asked for: for
    /// simulations.
    pub journal_thread: bool,
    /// Whether this process serves the file: it takes `<file>.lock`, and may create and write. Without it the file
    /// must exist and can only be read, also while another process serves it.
    pub exclusive: bool,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            read_connections: 4,
            busy_timeout_ms: 5_000,
            cache_size_kib: 32 * 1024,
            read_cache_size_kib: 4 * 1024,
            mmap_size_bytes: 1024 * 1024 * 1024,
            generation_operations: 131_072,
            accounts_max: 500_000,
            ahead_min: 64,
            journal_thread: true,
            exclusive: true,
        }
    }
}

/// Where a database is.
#[derive(Debug, Clone)]
pub(crate) enum Location {
    File(PathBuf),
    Memory,
}

impl fmt::Display for Location {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(formatter, "{}", path.display()),
            Self::Memory => formatter.write_str("the database in memory"),
        }
    }
}

/// SQLite: one file, one process that writes.
pub struct SqliteEngine {
    // Fields are dropped in this order: the threads first, the lock last.
    _checkpointer: Option<Checkpointer>,
    _key_reader: Option<KeyReader>,
    /// None in memory, and when the file was opened to be read.
    lane: Option<Mutex<WriteLane>>,
    /// None in memory: the writer's connection reads too.
    readers: Option<Readers>,
    /// None when the file was opened to be read.
    writer: Option<Arc<FairMutex<Writer>>>,
    /// What the writer knows, for readers; none when the file was opened to be read.
    memory: Option<Arc<Memory>>,
    _lock: Option<LockFile>,
    location: Location,
}

/// The one connection that writes, and what it knows of the ledger.
pub(crate) struct Writer {
    pub(crate) db: Db,
    pub(crate) ledger: LedgerWriter,
}

impl Writer {
    fn new(db: Db, options: &SqliteOptions) -> Self {
        let memory = Arc::new(Memory::new(options.accounts_max));
        Self { db, ledger: LedgerWriter::new(memory, options.generation_operations) }
    }

    /// Reads what the tables lack, if the schema is there. Whoever gets a sender shall read the keys, too.
    fn start(&mut self) -> Result<Option<Sender<KeyFilter>>, StoreError> {
        let is_there = migrate::status(&self.db.connection)?.pending.is_empty();
        if is_there { self.ledger.start(&self.db.connection) } else { Ok(None) }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Only spares the next start some work: the journal has everything.
        if let Err(error) = self.ledger.settle_all(&self.db.connection) {
            warn!(%error, "accounts and keys could not be written behind the journal; the next start reads it");
        }
    }
}

impl fmt::Debug for SqliteEngine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SqliteEngine").field("location", &self.location).finish_non_exhaustive()
    }
}

impl SqliteEngine {
    /// Opens the database at `path`, and creates it if it is not there. The schema is left as it is: see
    /// [`Engine::migrate`].
    ///
    /// # Errors
    /// [`StoreError::Foreign`] when the file is no database or not Florin's; [`StoreError::Unavailable`] when it cannot
    /// be opened or another process serves it, or when only its log is left.
    pub fn open(path: &Path, options: SqliteOptions) -> Result<Self, StoreError> {
        let location = Location::File(path.to_owned());
        let said = |error| match error {
            StoreError::Foreign(text) => StoreError::Foreign(format!("{}: {text}", path.display())),
            StoreError::Unavailable(text) => StoreError::Unavailable(format!("{}: {text}", path.display())),
            other => other,
        };
        let lock = if options.exclusive { Some(LockFile::take(path)?) } else { None };
        refuse_orphaned_log(path)?;
        let open = |access| Db::open(&location, access, &options).map_err(said);
        let (mut writer, mut checkpointer, mut key_reader, mut lane) = (None, None, None, None);
        if options.exclusive {
            create_private(path)?;
            let mut only = Writer::new(open(Access::Write)?, &options);
            let keys = only.start().map_err(said)?;
            let only = Arc::new(FairMutex::new(only));
            let own = open(Access::Checkpoint)?;
            checkpointer = Some(Checkpointer::start(own, &mut only.lock().db, gate(Arc::clone(&only)))?);
            key_reader = keys.map(|keys| KeyReader::start(open(Access::Read)?, keys)).transpose()?;
            let (memory, reader) = (Arc::clone(&only.lock().ledger.memory), open(Access::Read)?);
            lane = Some(WriteLane::start(memory, reader, Arc::clone(&only), &options)?);
            writer = Some(only);
        }
        let readers =
            (0..options.read_connections.max(1)).map(|_| open(Access::Read)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            _checkpointer: checkpointer,
            _key_reader: key_reader,
            lane: lane.map(Mutex::new),
            readers: Some(Readers::new(readers)),
            memory: writer.as_ref().map(|writer| Arc::clone(&writer.lock().ledger.memory)),
            writer,
            _lock: lock,
            location,
        })
    }

    /// A database in memory, gone with the engine. Reads and writes take turns on its one connection.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when there is no memory.
    pub fn in_memory() -> Result<Self, StoreError> {
        let location = Location::Memory;
        let options = SqliteOptions::default();
        let mut writer = Writer::new(Db::open(&location, Access::Write, &options)?, &options);
        // There is nothing that would have to be read.
        let _ = writer.start()?;
        let memory = Some(Arc::clone(&writer.ledger.memory));
        let writer = Some(Arc::new(FairMutex::new(writer)));
        Ok(Self {
            _checkpointer: None,
            _key_reader: None,
            lane: None,
            readers: None,
            writer,
            memory,
            _lock: None,
            location,
        })
    }

    #[cfg(test)]
    pub(crate) fn memory(&self) -> Option<&Arc<Memory>> {
        self.memory.as_ref()
    }

    fn writer(&self) -> Result<&FairMutex<Writer>, StoreError> {
        self.writer
            .as_deref()
            .ok_or_else(|| StoreError::Unavailable(format!("{} was opened only to be read", self.location)))
    }
}

impl Engine for SqliteEngine {
    fn kind(&self) -> EngineKind {
        EngineKind::Sqlite
    }

    fn peek_account(&self, id: AccountId) -> Option<Account> {
        Some(self.memory.as_ref()?.find_account(id)?.account)
    }

    fn read(&self, work: Work<'_>) -> Result<(), StoreError> {
        let memory = self.memory.as_ref();
        match &self.readers {
            Some(readers) => readers.read(memory, work),
            None => {
                let mut only = self.writer()?.lock();
                only.db.set_query_only(true)?;
                only.db.read(memory, work)
            }
        }
    }

    fn write(&self, work: Work<'_>) -> Result<(), StoreError> {
        let mut writer = self.writer()?.lock();
        if self.readers.is_none() {
            writer.db.set_query_only(false)?;
        }
        let Writer { db, ledger } = &mut *writer;
        db.write(ledger, |tx| work(tx))
    }

    fn begin_write(&self, behind: Option<Ticket>, work: Work<'_>) -> Result<Begun, NotDone> {
        match &self.lane {
            Some(lane) => lane.lock().begin(behind, work),
            None => self.write(work).map(|()| Begun::Done).map_err(NotDone::Failed),
        }
    }

    fn end_write(&self, ticket: Ticket, interruption: Interruption<'_>) -> Option<Result<(), NotDone>> {
        match &self.lane {
            Some(lane) => lane.lock().end(ticket, interruption),
            None => Some(Err(NotDone::unknown(ticket))),
        }
    }

    fn status(&self) -> Result<EngineStatus, StoreError> {
        match &self.readers {
            Some(readers) => readers.with(|db| migrate::status(&db.connection)),
            None => migrate::status(&self.writer()?.lock().db.connection),
        }
    }

    fn migrate(&self) -> Result<Vec<&'static str>, StoreError> {
        let mut writer = self.writer()?.lock();
        if self.readers.is_none() {
            writer.db.set_query_only(false)?;
        }
        let applied = migrate::migrate(&mut writer.db.connection)?;
        if !applied.is_empty() {
            // The keys of a large index that was there before are read ahead by the next process.
            let _ = writer.start()?;
        }
        Ok(applied)
    }
}

/// Lets the checkpoints take a turn among the writers.
fn gate(writer: Arc<FairMutex<Writer>>) -> Gate {
    Box::new(move |run| {
        let _turn = writer.lock();
        run();
    })
}

/// Creates a missing file so that only its owner can read it; SQLite gives its log the same permissions.
pub(crate) fn create_private(path: &Path) -> Result<(), StoreError> {
    let mut options = std::fs::OpenOptions::new();
    options.create(true).truncate(false).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(|_| ()).map_err(|error| StoreError::Unavailable(format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            atomic::{AtomicBool, Ordering},
            mpsc,
        },
        thread,
    };

    use florin_ledger::{
        Batch, Command, IdempotencyKey, Kind, Leg, Precondition, Side, SystemAccount, TransactionId, system_account_id,
    };
    use florin_money::Asset;
    use florin_store::{PostingFilter, ledger::apply_batch_in_tx, wallet, write};
    use uuid::Uuid;

    use super::*;
    use crate::ledger::{batch, history, journal, key_filter, key_run, replay, settle, tail, view};

    const NOW_US: i64 = 1_760_000_000_000_000;
    const OWNER: Uuid = Uuid::from_u128(1);
    const WALLET: AccountId = AccountId(Uuid::from_u128(2));

    fn eur() -> Asset {
        Asset::new("EUR", 2).unwrap()
    }

    fn key_of(id: u128) -> IdempotencyKey {
        IdempotencyKey { scope: OWNER, resource: WALLET.0, key: format!("deposit-{id}"), fingerprint: [7; 32] }
    }

    fn deposit(engine: &SqliteEngine, id: u128) {
        let bank = system_account_id(SystemAccount::BankSettlement, eur().code(), 0);
        let leg = |account_id, side| Leg { account_id, side, amount_minor: 100 };
        let command = Command {
            transaction_id: TransactionId(Uuid::from_u128(id)),
            kind: Kind::Deposit,
            asset: eur(),
            legs: vec![leg(WALLET, Side::Credit), leg(bank, Side::Debit)],
            actor_id: OWNER,
            reason: None,
            effective_at_us: None,
            idempotency: Some(key_of(id)),
            owners: vec![Precondition { account_id: WALLET, owner_id: OWNER }],
        };
        write(engine, |tx| apply_batch_in_tx(tx, 0, Batch::each(std::slice::from_ref(&command)), NOW_US)).unwrap();
    }

    /// A wallet with one deposit, which memory has or has not.
    fn with_a_deposit(path: &Path, is_remembered: bool) -> SqliteEngine {
        let engine = SqliteEngine::open(path, SqliteOptions::default()).unwrap();
        engine.migrate().unwrap();
        let account = Account::wallet(WALLET, OWNER, eur(), NOW_US);
        write(&engine, |tx| wallet::insert_wallet(tx, &account, OWNER, "savings")).unwrap();
        deposit(&engine, 1);
        if is_remembered {
            return engine;
        }
        drop(engine);
        SqliteEngine::open(path, SqliteOptions::default()).unwrap()
    }

    /// Somebody begins to read between a commit and what memory gets of it, and goes on after that. Either memory is
    /// waited for, or it does not come in time.
    fn one_answer_is_as_of_one_batch(is_remembered: bool, comes_in_time: bool) {
        let folder = tempfile::tempdir().unwrap();
        let engine = with_a_deposit(&folder.path().join("florin.db"), is_remembered);
        assert_eq!(engine.peek_account(WALLET).is_some(), is_remembered);
        let memory = Arc::clone(engine.memory.as_ref().unwrap());
        let has_looked = Arc::new(AtomicBool::new(false));
        let (committed, is_committed) = mpsc::channel();
        let (published, is_published) = mpsc::channel();
        let has_looked_there = Arc::clone(&has_looked);
        let hook = move |_: &mut rusqlite::hooks::Wal, _| {
            let _ = committed.send(());
            while !(has_looked_there.load(Ordering::SeqCst) || comes_in_time && memory.is_waited_for()) {
                thread::yield_now();
            }
            Ok(())
        };
        engine.writer().unwrap().lock().db.connection.wal_hook(Some(hook)).unwrap();
        let reader = &engine;
        let (account, answers, page) = thread::scope(|scope| {
            let reading = scope.spawn(move || {
                is_committed.recv().unwrap();
                florin_store::read(reader, |tx| {
                    let answers = tx.find_answers(&[&key_of(2)])?;
                    let account = tx.lock_accounts(&[WALLET])?.remove(&WALLET).unwrap();
                    has_looked.store(true, Ordering::SeqCst);
                    is_published.recv().unwrap();
                    Ok((account, answers, tx.list_postings(WALLET, &PostingFilter::newest(1))?))
                })
                .unwrap()
            });
            deposit(&engine, 2);
            published.send(()).unwrap();
            reading.join().unwrap()
        });
        let newest = &page.postings[0];
        let told = format!("remembered: {is_remembered}, in time: {comes_in_time}");
        assert_eq!((account.version, account.balance().posted_minor), (newest.version, 200), "{told}");
        assert_eq!((newest.version, answers.len()), (2, 1), "{told}");
    }

    #[test]
    fn whoever_reads_just_after_a_commit_has_all_of_it() {
        one_answer_is_as_of_one_batch(true, true);
        one_answer_is_as_of_one_batch(true, false);
    }

    #[test]
    fn whoever_reads_just_after_a_commit_has_all_of_it_for_an_account_that_is_not_remembered() {
        one_answer_is_as_of_one_batch(false, true);
        one_answer_is_as_of_one_batch(false, false);
    }

    /// As a server starts that finds a large database with today's schema.
    #[test]
    fn the_keys_of_a_large_index_are_known_after_a_while() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("florin.db");
        SqliteEngine::open(&file, SqliteOptions::default()).unwrap().migrate().unwrap();
        let blocks = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 1200) \
            INSERT INTO key_blocks SELECT n, randomblob(1600) FROM n";
        rusqlite::Connection::open(&file).unwrap().execute_batch(blocks).unwrap();
        let mut engine = SqliteEngine::open(&file, SqliteOptions::default()).unwrap();
        engine.migrate().unwrap();
        engine._key_reader.take().unwrap().wait();
        let writer = engine.writer().unwrap().lock();
        let new = (0..100).filter(|new| !writer.ledger.memory.known_keys.lock().may_have_answer(*new)).count();
        assert!(new > 50, "{new} of 100");
    }

    #[test]
    fn every_statement_of_the_ledger_can_be_prepared() {
        let engine = SqliteEngine::in_memory().unwrap();
        engine.migrate().unwrap();
        let writer = engine.writer().unwrap().lock();
        let statements = [
            batch::LIST_HEADS,
            batch::SELECT_HEAD,
            journal::INSERT_BATCH,
            journal::UPSERT_HEAD,
            journal::INSERT_MARK,
            journal::INSERT_ACCOUNT,
            journal::INSERT_ANSWER,
            history::SELECT_MARK_FROM,
            history::SELECT_MARK,
            key_filter::SELECT_ANSWERED_KEYS,
            key_run::INSERT_RUN,
            key_run::UPDATE_RUN_STATE,
            key_run::DELETE_RUN,
            key_run::SELECT_RUNS,
            replay::SELECT_BATCHES,
            replay::SELECT_BODIES,
            settle::UPDATE_ACCOUNT,
            settle::UPDATE_SETTLED,
            tail::SELECT_SETTLED,
            tail::SELECT_TAIL,
            view::SELECT_ACCOUNT,
            view::SELECT_LAST_SEQUENCE,
            view::SELECT_ANSWER,
            view::PAGE_ACCOUNTS,
        ];
        let by_table =
            [key_filter::SELECT_ALL_BLOCKS, key_run::INSERT_BLOCK, key_run::SELECT_BLOCKS, key_run::DELETE_BLOCKS];
        for statement in statements.into_iter().chain(by_table.into_iter().flatten()) {
            writer.db.connection.prepare(statement).map_err(|error| format!("{error}\n{statement}")).unwrap();
        }
    }
}
