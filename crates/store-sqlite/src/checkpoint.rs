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
/// Pages after which the log is emptied, and writers wait for those who read it: 512 MiB.
const TOO_LONG_PAGES: i32 = 131_072;
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
        // Whoever has a turn among the writers does not wait for readers.
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
            if let Err(error) = checkpoint(own, gate, pages) {
                warn!(%error, pages, "the write-ahead log could not be moved; it will be tried again");
            }
        }
    }
}

fn checkpoint(own: &Db, gate: &Gate, pages: i32) -> rusqlite::Result<()> {
    move_log(own, "PASSIVE")?;
    // What was written meanwhile; then there is little left to do in the turn.
    move_log(own, "PASSIVE")?;
    let mode = if pages >= TOO_LONG_PAGES { "TRUNCATE" } else { "RESTART" };
    let mut moved = Ok(());
    gate(&mut || moved = move_log(own, mode));
    moved
}

/// Readers of an older snapshot can keep it from being done to the end: that is no error, the next one will.
fn move_log(own: &Db, mode: &str) -> rusqlite::Result<()> {
    own.connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(()))
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
        checkpoint(&own, &gate, LONG_PAGES).unwrap();
        assert!(std::fs::metadata(&path).unwrap().len() > 1_000_000, "its pages are in the database");
        assert!(log() > 1_000_000);
        checkpoint(&own, &gate, TOO_LONG_PAGES).unwrap();
        assert_eq!(log(), 0);
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
