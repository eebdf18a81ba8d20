//! Applying a prepared batch, once for each idempotency key.

use std::sync::Arc;

use florin_ledger::{Command, IdempotencyKey, Verdict};
use florin_store::{
    StoreError,
    request_answer::{MADE_AGAIN, RequestAnswer},
};
use parking_lot::Mutex;
use uuid::Uuid;

use super::{
    BatchError, BatchOutcome, ItemRefusal, PreparedBatch, Source,
    kept::{KeptAnswer, keep, recall},
};
use crate::{
    App, Bulk, Caller, Failure, KeyedAnswer,
    wallet::{RequestKey, scope_of},
};

/// The resource that a batch's idempotency key is scoped to, besides its caller.
const BATCHES: Uuid = Uuid::from_u128(0x0ba7_c4e5);

/// An answer as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchAnswer {
    /// The HTTP status that the answer was written for.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
    /// Whether this is the first answer again.
    pub replayed: bool,
}

/// What a batch's answer is written from: what came of it, and the id of the request that it came of.
pub trait WriteAnswer: Fn(BatchOutcome<'_>, &str) -> (u16, Vec<u8>) + Send + 'static {}

impl<W: Fn(BatchOutcome<'_>, &str) -> (u16, Vec<u8>) + Send + 'static> WriteAnswer for W {}

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

    /// Applies a batch: all of it or nothing (`atomic`), or each item on its own. `write` makes the answer; with a key,
    /// what it is made of is kept in the same commit, and it is made again for whoever repeats the request.
    ///
    /// # Errors
    /// [`BatchError::KeyReused`], and [`BatchError::Failure`]: nothing was applied, or the same key tells what was.
    pub async fn apply_batch(
        &self,
        caller: &Caller,
        batch: PreparedBatch,
        atomic: bool,
        key: Option<RequestKey>,
        request_id: &str,
        write: impl WriteAnswer,
    ) -> Result<BatchAnswer, BatchError> {
        let PreparedBatch { items, mut commands, refused } = batch;
        if atomic && !refused.is_empty() {
            commands.clear();
        }
        let (refused, request_id) = (Arc::new(refused), request_id.to_owned());
        let earlier = Arc::new(Mutex::new(None));
        let keyed = key.map(|RequestKey { key, fingerprint }| {
            let scope = scope_of(caller.user_id, BATCHES);
            let key = IdempotencyKey { scope, resource: BATCHES, key, fingerprint };
            let (request_id, refused, earlier) = (request_id.clone(), Arc::clone(&refused), Arc::clone(&earlier));
            Box::new(Keyed { key, request_id, items, atomic, refused, earlier }) as Box<dyn KeyedAnswer>
        });
        let answer = if commands.is_empty() && keyed.is_none() {
            crate::BulkAnswer::nothing()
        } else {
            self.queue.submit_bulk(Bulk { keyed, ..Bulk::of(commands, atomic) })?.verdict().await?
        };
        let earlier = earlier.lock().take();
        if let Some(earlier) = earlier {
            return self.answer_again(earlier, write).await;
        }
        let written = self.batch_threads.run_accepted(move || {
            let (commands, verdicts) = (answer.commands(), answer.verdicts());
            let source = Source::Decided { items, refused: &refused, commands, verdicts };
            write(BatchOutcome { atomic, source }, &request_id)
        });
        let (status, body) = written.await?;
        Ok(BatchAnswer { status, body, replayed: false })
    }

    async fn answer_again(&self, earlier: Earlier, write: impl WriteAnswer) -> Result<BatchAnswer, BatchError> {
        let RequestAnswer { status, kept, .. } = match earlier {
            Earlier::Answer(answer) => answer,
            Earlier::KeyReused => return Err(BatchError::KeyReused),
        };
        // The text of older ones was kept.
        if status != MADE_AGAIN {
            return Ok(BatchAnswer { status, body: kept, replayed: true });
        }
        let written = self.batch_threads.run_accepted(move || {
            let KeptAnswer { atomic, request_id, outcomes } = recall(&kept)?;
            Ok::<_, StoreError>(write(BatchOutcome { atomic, source: Source::Kept(&outcomes) }, &request_id))
        });
        let (status, body) = written.await?.map_err(Failure::from)?;
        Ok(BatchAnswer { status, body, replayed: true })
    }
}

/// What is known of a key that came before.
enum Earlier {
    Answer(RequestAnswer),
    KeyReused,
}

/// A batch's key, and what its answer is made of.
struct Keyed {
    key: IdempotencyKey,
    request_id: String,
    items: usize,
    atomic: bool,
    refused: Arc<Vec<(usize, ItemRefusal)>>,
    earlier: Arc<Mutex<Option<Earlier>>>,
}

impl KeyedAnswer for Keyed {
    fn key(&self) -> &IdempotencyKey {
        &self.key
    }

    fn found(&mut self, earlier: Option<RequestAnswer>) {
        let is_same = |earlier: &RequestAnswer| earlier.fingerprint == self.key.fingerprint;
        let seen = earlier.map(|earlier| if is_same(&earlier) { Earlier::Answer(earlier) } else { Earlier::KeyReused });
        *self.earlier.lock() = seen;
    }

    fn keep(&mut self, commands: &[Command], verdicts: &[Verdict]) -> Result<RequestAnswer, StoreError> {
        let source = Source::Decided { items: self.items, refused: &self.refused, commands, verdicts };
        let kept = keep(&BatchOutcome { atomic: self.atomic, source }, &self.request_id)?;
        Ok(RequestAnswer { fingerprint: self.key.fingerprint, status: MADE_AGAIN, kept })
    }
}
