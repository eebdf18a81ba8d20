//! Connections that only read: a small pool, waited for without polling.

use std::sync::Arc;

use florin_store::{StoreError, Work};
use parking_lot::{Condvar, Mutex};

use crate::{connection::Db, ledger::memory::Memory};

pub(crate) struct Readers {
    idle: Mutex<Vec<Db>>,
    returned: Condvar,
}

impl Readers {
    pub(crate) fn new(connections: Vec<Db>) -> Self {
        Self { idle: Mutex::new(connections), returned: Condvar::new() }
    }

    /// Runs `work` on one snapshot, on the connection that is free first.
    pub(crate) fn read(&self, memory: Option<&Arc<Memory>>, work: Work<'_>) -> Result<(), StoreError> {
        self.with(|db| db.read(memory, work))
    }

    /// Lends the connection that is free first.
    pub(crate) fn with<T>(&self, run: impl FnOnce(&mut Db) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut borrowed = self.take();
        match &mut borrowed.db {
            Some(db) => run(db),
            None => Err(StoreError::Internal("a borrowed connection is missing".to_owned())),
        }
    }

    fn take(&self) -> Borrowed<'_> {
        let mut idle = self.idle.lock();
        loop {
            if let Some(db) = idle.pop() {
                return Borrowed { readers: self, db: Some(db) };
            }
            self.returned.wait(&mut idle);
        }
    }
}

/// Gives its connection back when dropped, also when the work panics.
struct Borrowed<'r> {
    readers: &'r Readers,
    db: Option<Db>,
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        if let Some(db) = self.db.take() {
            self.readers.idle.lock().push(db);
            self.readers.returned.notify_one();
        }
    }
}
