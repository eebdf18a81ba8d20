//! A database transaction that is held open while a test goes on: whoever needs what it has waits.

#![expect(clippy::unwrap_used, reason = "what cannot be held has failed the test")]

use std::{
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
};

use florin_store::{Engine, StoreError, Tx};

/// It is on a thread of its own.
pub struct Held {
    release: mpsc::Sender<()>,
    holder: JoinHandle<Result<(), StoreError>>,
}

impl Held {
    /// Does `work` in a transaction and keeps that open. Blocks until the work is done.
    ///
    /// # Panics
    /// The work fails: a test cannot go on.
    #[must_use]
    pub fn open(
        engine: Arc<dyn Engine>,
        work: impl Fn(&mut dyn Tx) -> Result<(), StoreError> + Send + 'static,
    ) -> Self {
        let (holds, held) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let holder = thread::spawn(move || {
            engine.write(&mut |tx| {
                work(tx)?;
                // What was only sent until now is done when a question is answered.
                tx.query("SELECT 1", &[])?;
                holds.send(()).unwrap();
                released.recv().unwrap();
                Ok(())
            })
        });
        held.recv().unwrap();
        Self { release, holder }
    }

    /// Lets it commit.
    ///
    /// # Errors
    /// Those of the commit.
    ///
    /// # Panics
    /// The thread has panicked.
    pub fn release(self) -> Result<(), StoreError> {
        self.release.send(()).unwrap();
        self.holder.join().unwrap()
    }
}
