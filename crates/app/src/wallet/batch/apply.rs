//! Applying a prepared batch, once for each idempotency key.

use std::sync::Arc;

use florin_ledger::{Command, IdempotencyKey, Verdict};
use florin_store::{StoreError, Tx, request_answer};
use parking_lot::Mutex;
use uuid::Uuid;

use super::{BatchError, BatchOutcome, ItemRefusal, PreparedBatch};
use crate::{
    App, Bulk, Caller, Companion, Failure,
    wallet::{RequestKey, scope_of},
};

/// The resource that a batch's idempotency key is scoped to, besides its caller.
const BATCHES: Uuid = Uuid::from_u128(0x0ba7_c4e5);

/// An answer as it is sent and, with a key, kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchAnswer {
    /// The HTTP status that the answer was written for.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
    /// Whether this is the first answer again.
    pub replayed: bool,
}

/// What a keyed batch came to, as its companion saw it last.
enum Seen {
    Answer(BatchAnswer),
    KeyReused,
}

impl App {
    /// Runs what reads a batch or writes its answer. It may block.
    ///
    /// # Errors
    /// [`Failure::Unavailable`] when too much waits already; then `work` did not run.
    pub async fn on_batch_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        self.batch_threads.run(work).await
    }

    /// Applies a batch: all of it or nothing (`atomic`), or each item on its own. `write` makes the answer; with a key
    /// it is kept in the same commit and given again to whoever repeats the request.
    ///
    /// # Errors
    /// [`BatchError::KeyReused`], and [`BatchError::Failure`]: nothing was applied, or the same key tells what was.
    pub async fn apply_batch(
        &self,
        caller: &Caller,
        batch: PreparedBatch,
        atomic: bool,
        key: Option<RequestKey>,
        mut write: impl FnMut(BatchOutcome<'_>) -> (u16, Vec<u8>) + Send + 'static,
    ) -> Result<BatchAnswer, BatchError> {
        let PreparedBatch { items, mut commands, refused } = batch;
        if atomic && !refused.is_empty() {
            commands.clear();
        }
        let Some(key) = key else {
            let answer = if commands.is_empty() {
                crate::BulkAnswer::nothing()
            } else {
                self.queue.submit_bulk(Bulk { commands, atomic, companion: None })?.verdict().await?
            };
            let written = self.on_batch_thread(move || {
                let (commands, verdicts) = (answer.commands(), answer.verdicts());
                write(BatchOutcome { items, atomic, refused: &refused, commands, verdicts })
            });
            let (status, body) = written.await?;
            return Ok(BatchAnswer { status, body, replayed: false });
        };
        let key = IdempotencyKey {
            scope: scope_of(caller.user_id, BATCHES),
            resource: BATCHES,
            key: key.key,
            fingerprint: key.fingerprint,
        };
        let seen = Arc::new(Mutex::new(None));
        let now_us = self.clock.now_us();
        let companion = Keyed { key, now_us, items, atomic, refused, write, seen: seen.clone() };
        let bulk = Bulk { commands, atomic, companion: Some(Box::new(companion)) };
        self.queue.submit_bulk(bulk)?.verdict().await?;
        let seen = seen.lock().take();
        match seen {
            Some(Seen::Answer(answer)) => Ok(answer),
            Some(Seen::KeyReused) => Err(BatchError::KeyReused),
            None => Err(Failure::Internal("a keyed batch ended without an answer".to_owned()).into()),
        }
    }
}

/// Keeps the answer of a batch beside its key.
struct Keyed<W> {
    key: IdempotencyKey,
    now_us: i64,
    items: usize,
    atomic: bool,
    refused: Vec<(usize, ItemRefusal)>,
    write: W,
    seen: Arc<Mutex<Option<Seen>>>,
}

impl<W: FnMut(BatchOutcome<'_>) -> (u16, Vec<u8>) + Send> Companion for Keyed<W> {
    fn begin(&mut self, tx: &mut dyn Tx) -> Result<bool, StoreError> {
        let Some(earlier) = request_answer::claim_key(tx, &self.key, self.now_us)? else { return Ok(true) };
        *self.seen.lock() = Some(if earlier.fingerprint == self.key.fingerprint {
            Seen::Answer(BatchAnswer { status: earlier.status, body: earlier.body, replayed: true })
        } else {
            Seen::KeyReused
        });
        Ok(false)
    }

    fn finish(&mut self, tx: &mut dyn Tx, commands: &[Command], verdicts: &[Verdict]) -> Result<(), StoreError> {
        let (items, atomic, refused) = (self.items, self.atomic, &self.refused[..]);
        let (status, body) = (self.write)(BatchOutcome { items, atomic, refused, commands, verdicts });
        request_answer::set_answer(tx, &self.key, status, &body)?;
        *self.seen.lock() = Some(Seen::Answer(BatchAnswer { status, body, replayed: false }));
        Ok(())
    }

    fn subject(&self) -> String {
        format!("{} {}", self.key.scope, self.key.key)
    }
}
