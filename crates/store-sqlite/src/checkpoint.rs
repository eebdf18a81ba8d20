//! Moves the write-ahead log into the database file, on a thread and a connection of its own.
//!
//! Commits only tell how long the log has become; none of them ever waits for a checkpoint to run inside it. Most of
//! the log is moved while commits go on. For the little that is left the checkpoint takes a turn among the writers, so
//! that the log starts over: a log that is written again in place is flushed faster than one that grows, and stays
//! short.

use std::{
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use florin_store::StoreError;
use parking_lot::{Condvar, Mutex};
use rusqlite::hooks::Wal;
use tracing::warn;

use crate::{connection::Db, error::store_error};

/// Pages (4 KiB each) after which the log is moved: 64 MiB.
const LONG_PAGES: i32 = 16_384;
/// Pages after which the log is emptied, and writers wait for those who read it, [`PATIENCE`] at most: 512 MiB.
const TOO_LONG_PAGES: i32 = 131_072;
/// How long writers wait for readers of a log that is too long. Who comes to read meanwhile reads the database alone,
/// so this is enough for readers that overlap without end; one that reads for minutes, as a backup, is not waited for.
const PATIENCE: Duration = Duration::from_millis(250);
/// How much a log that is too long grows before writers wait again: 64 MiB.
const WAIT_STEP_PAGES: i32 = 16_384;
/// How much the log grows before it is moved again, when readers kept it from starting over.
const STEP_PAGES: i32 = 4_096;

#[derive(Debug)]
struct State {
    /// The log's length after the last commit, pages.
    pages: i32,
    /// The length at which the next checkpoint is due, pages.
    due_at: i32,
    stop: bool,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    told: Condvar,
}

/// Runs something while nobody writes.
pub(crate) type Gate = Box<dyn Fn(&mut dyn FnMut()) + Send>;

/// The thread; stops when dropped.
#[derive(Debug)]
pub(crate) struct Checkpointer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    /// Starts the thread on `own` and lets the commits of `writer` tell it the log's length.
    pub(crate) fn start(own: Db, writer: &mut Db, gate: Gate) -> Result<Self, StoreError> {
        // Whoever has a turn among the writers does not wait for readers, unless the log is too long.
        own.connection.busy_timeout(Duration::ZERO).map_err(store_error)?;
        let state = State { pages: 0, due_at: LONG_PAGES, stop: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), told: Condvar::new() });
        let told = Arc::clone(&shared);
        writer
            .connection
            .wal_hook(Some(move |_: &mut Wal, pages: i32| {
                told.committed(pages);
                Ok(())
            }))
            .map_err(store_error)?;
        let run = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("florin-checkpoint".to_owned())
            .spawn(move || run.run(&own, &gate))
            .map_err(|error| StoreError::Unavailable(format!("no thread for checkpoints: {error}")))?;
        Ok(Self { shared, thread: Some(thread) })
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.shared.state.lock().stop = true;
        self.shared.told.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            warn!("the checkpoint thread had panicked");
        }
    }
}

impl Shared {
    fn committed(&self, pages: i32) {
        let mut state = self.state.lock();
        if pages < state.pages {
            // The log started over.
            state.due_at = LONG_PAGES;
        }
        state.pages = pages;
        if pages >= state.due_at {
            self.told.notify_one();
        }
    }

    fn run(&self, own: &Db, gate: &Gate) {
        let mut limits = Limits::default();
        loop {
            let pages = {
                let mut state = self.state.lock();
                while !state.stop && state.pages < state.due_at {
                    self.told.wait(&mut state);
                }
                if state.stop {
                    return;
                }
                state.due_at = state.pages.saturating_add(STEP_PAGES);
                state.pages
            };
            if let Err(error) = checkpoint(own, gate, pages, &mut limits) {
                warn!(%error, pages, "the write-ahead log could not be moved; it will be tried again");
            }
        }
    }
}

/// The lengths at which something is done about a log that is too long, pages.
#[derive(Debug)]
struct Limits {
    /// How long writers wait for readers.
    patience: Duration,
    /// Writers wait for readers.
    wait_at: i32,
    /// The log says that it cannot be emptied.
    warn_at: i32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { patience: PATIENCE, wait_at: TOO_LONG_PAGES, warn_at: TOO_LONG_PAGES }
    }
}

impl Limits {
    /// The log is short, or starts over.
    fn reset(&mut self) {
        (self.wait_at, self.warn_at) = (TOO_LONG_PAGES, TOO_LONG_PAGES);
    }
}

fn checkpoint(own: &Db, gate: &Gate, pages: i32, limits: &mut Limits) -> rusqlite::Result<()> {
    move_log(own, "PASSIVE")?;
    // What was written meanwhile; then there is little left to do in the turn.
    move_log(own, "PASSIVE")?;
    if pages < TOO_LONG_PAGES {
        limits.reset();
    }
    let mode = if pages >= TOO_LONG_PAGES { "TRUNCATE" } else { "RESTART" };
    let patience = if pages >= limits.wait_at { limits.patience } else { Duration::ZERO };
    own.connection.busy_timeout(patience)?;
    let mut moved = Ok(Moved::Whole);
    gate(&mut || moved = move_log(own, mode));
    own.connection.busy_timeout(Duration::ZERO)?;
    if moved? == Moved::Whole {
        limits.reset();
    } else if !patience.is_zero() {
        limits.wait_at = pages.saturating_add(WAIT_STEP_PAGES);
        warn_once_doubled(limits, pages);
    }
    Ok(())
}

/// A log that cannot be emptied is said to be that now and then: when it is too long, and whenever it has doubled.
fn warn_once_doubled(limits: &mut Limits, pages: i32) {
    if pages >= limits.warn_at {
        limits.warn_at = pages.saturating_mul(2);
        warn!(
            pages,
            "the write-ahead log cannot be emptied, for something has read it for long, as a backup does; it grows \
             until that has ended: see that the disk has room"
        );
    }
}

/// What a checkpoint came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moved {
    /// All that it was to do.
    Whole,
    /// Readers of an older snapshot kept it from being done to the end: that is no error, the next one will.
    Part,
}

fn move_log(own: &Db, mode: &str) -> rusqlite::Result<Moved> {
    let is_busy = own.connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| row.get(0))?;
    Ok(if is_busy { Moved::Part } else { Moved::Whole })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        connection::Access,
        engine::{Location, SqliteOptions},
    };

    #[test]
    fn a_log_that_grew_too_long_is_emptied() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("florin.db");
        let location = Location::File(path.clone());
        let writer = Db::open(&location, Access::Write, &SqliteOptions::default()).unwrap();
        let own = Db::open(&location, Access::Checkpoint, &SqliteOptions::default()).unwrap();
        writer.connection.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (zeroblob(1000000))").unwrap();
        let log = || std::fs::metadata(folder.path().join("florin.db-wal")).unwrap().len();
        let gate: Gate = Box::new(|run| run());
        let mut limits = Limits::default();
        checkpoint(&own, &gate, LONG_PAGES, &mut limits).unwrap();
        assert!(std::fs::metadata(&path).unwrap().len() > 1_000_000, "its pages are in the database");
        assert!(log() > 1_000_000);
        checkpoint(&own, &gate, TOO_LONG_PAGES, &mut limits).unwrap();
        assert_eq!(log(), 0);
    }

    /// A database in a file, with something in its log: the writer, a connection for checkpoints, and one that reads.
    fn long_log(folder: &std::path::Path) -> (Db, Db, Db) {
        let location = Location::File(folder.join("florin.db"));
        let open = |access| Db::open(&location, access, &SqliteOptions::default()).unwrap();
        let writer = open(Access::Write);
        let own = open(Access::Checkpoint);
        let reader = open(Access::Read);
        own.connection.busy_timeout(Duration::ZERO).unwrap();
        writer.connection.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (zeroblob(1000000))").unwrap();
        (writer, own, reader)
    }

    fn begin_read(reader: &Db) {
        reader.connection.execute_batch("BEGIN; SELECT count(*) FROM t").unwrap();
    }

    #[test]
    fn a_log_that_grew_too_long_is_emptied_when_its_reader_has_ended() {
        let folder = tempfile::TempDir::new().unwrap();
        let (_writer, own, reader) = long_log(folder.path());
        begin_read(&reader);
        // The reader ends while the checkpoint, which has its turn already, waits for it.
        let (turn, begun) = std::sync::mpsc::channel();
        let reads = thread::spawn(move || {
            begun.recv().unwrap();
            let waited_for: i64 = reader
                .connection
                .query_row(
                    "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 100000) \
                            SELECT count(*) FROM n",
                    [],
                    |row| row.get(0),
                )
                .unwrap();
            reader.connection.execute_batch("ROLLBACK").unwrap();
            waited_for
        });
        let gate: Gate = Box::new(move |run| {
            turn.send(()).unwrap();
            run();
        });
        let mut limits = Limits { patience: Duration::from_secs(60), ..Limits::default() };
        checkpoint(&own, &gate, TOO_LONG_PAGES, &mut limits).unwrap();
        assert_eq!(reads.join().unwrap(), 100_000);
        assert_eq!(std::fs::metadata(folder.path().join("florin.db-wal")).unwrap().len(), 0);
    }

    #[test]
    fn readers_who_do_not_end_are_waited_for_now_and_then() {
        let folder = tempfile::TempDir::new().unwrap();
        let (writer, own, reader) = long_log(folder.path());
        begin_read(&reader);
        writer.connection.execute_batch("INSERT INTO t VALUES (1)").unwrap();
        let gate: Gate = Box::new(|run| run());
        let mut limits = Limits { patience: Duration::from_millis(1), ..Limits::default() };
        let mut at = |pages| {
            checkpoint(&own, &gate, pages, &mut limits).unwrap();
            (limits.wait_at - TOO_LONG_PAGES, limits.warn_at - TOO_LONG_PAGES)
        };
        assert_eq!(at(LONG_PAGES), (0, 0));
        let after_waiting = (WAIT_STEP_PAGES, TOO_LONG_PAGES);
        assert_eq!(at(TOO_LONG_PAGES), after_waiting);
        assert_eq!(at(TOO_LONG_PAGES + STEP_PAGES), after_waiting, "not waited for again so soon");
        assert_eq!(at(TOO_LONG_PAGES + WAIT_STEP_PAGES), (2 * WAIT_STEP_PAGES, TOO_LONG_PAGES), "nor warned of");
        reader.connection.execute_batch("ROLLBACK").unwrap();
        assert_eq!(at(TOO_LONG_PAGES + WAIT_STEP_PAGES + STEP_PAGES), (0, 0), "it is empty");
    }

    #[test]
    fn a_log_that_started_over_is_moved_when_it_is_long_again() {
        let state = State { pages: 0, due_at: LONG_PAGES, stop: false };
        let shared = Shared { state: Mutex::new(state), told: Condvar::new() };
        let due_at = || shared.state.lock().due_at;
        shared.committed(LONG_PAGES + 1);
        shared.state.lock().due_at = LONG_PAGES + 1 + STEP_PAGES;
        shared.committed(LONG_PAGES + 2);
        assert_eq!(due_at(), LONG_PAGES + 1 + STEP_PAGES, "not moved again for one more page");
        shared.committed(3);
        assert_eq!(due_at(), LONG_PAGES);
    }
}
