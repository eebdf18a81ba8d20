//! One bounded queue in front of one writer: whatever waits becomes one batch, one database transaction, one flush.
//!
//! There is no timer. An idle writer commits a lone command at once; under load the commands that arrive during one
//! commit are the next batch. A command is answered after its commit, and the answer is final.

use std::{
    sync::{Arc, atomic::AtomicUsize, atomic::Ordering},
    thread,
};

use florin_ledger::{Batch, Command, Outcome, Rejection, Verdict};
use florin_store::{Engine, StoreError, Tx, ledger};
use tokio::sync::{mpsc, oneshot};

use crate::{Failure, port::Clock};

/// How often an unknown outcome is looked up before the callers are told to ask again.
const LOOKUPS_MAX: u32 = 30;
/// How long to wait between two of them, microseconds.
const LOOKUP_PAUSE_US: u64 = 500_000;

/// Bounds of the queue.
#[derive(Debug, Clone, Copy)]
pub struct QueueSettings {
    /// Commands that may wait; past it, 503.
    pub capacity: usize,
    /// Commands in one batch.
    pub batch_max: usize,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self { capacity: 4096, batch_max: 512 }
    }
}

struct Waiting {
    command: Command,
    enqueued_us: i64,
    answer: oneshot::Sender<Result<Verdict, Failure>>,
}

/// An answer on its way.
pub struct Submitted(oneshot::Receiver<Result<Verdict, Failure>>);

impl Submitted {
    /// The final answer.
    ///
    /// # Errors
    /// [`Failure::Unavailable`] when the batch could not be committed; nothing was changed, or the same idempotency key
    /// tells what was.
    pub async fn verdict(self) -> Result<Verdict, Failure> {
        self.0.await.unwrap_or_else(|_| Err(Failure::Unavailable("the server is stopping".to_owned())))
    }
}

/// The way to the ledger. Dropping it lets the writer finish what waits, and waits for that.
pub struct CommitQueue {
    sender: Option<mpsc::Sender<Waiting>>,
    clock: Arc<dyn Clock>,
    depth: Arc<AtomicUsize>,
    writer: Option<thread::JoinHandle<()>>,
}

impl CommitQueue {
    /// Starts the writer. `writer` is this node's chain and stripe.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(
        engine: Arc<dyn Engine>,
        clock: Arc<dyn Clock>,
        writer: u16,
        settings: QueueSettings,
    ) -> Result<Self, Failure> {
        let (mut queue, ledger_writer) = Self::stepped(engine, clock, writer, settings);
        let handle = thread::Builder::new()
            .name("ledger-writer".to_owned())
            .spawn(move || ledger_writer.run())
            .map_err(|error| Failure::Internal(format!("the ledger's writer cannot start: {error}")))?;
        queue.writer = Some(handle);
        Ok(queue)
    }

    /// The queue, and its writer without a thread: whoever holds it says when a batch is written. For simulations.
    #[must_use]
    pub fn stepped(
        engine: Arc<dyn Engine>,
        clock: Arc<dyn Clock>,
        writer: u16,
        settings: QueueSettings,
    ) -> (Self, LedgerWriter) {
        let (sender, receiver) = mpsc::channel(settings.capacity.max(1));
        let depth = Arc::new(AtomicUsize::new(0));
        let ledger_writer = LedgerWriter {
            engine,
            clock: clock.clone(),
            writer,
            batch_max: settings.batch_max.max(1),
            depth: depth.clone(),
            receiver,
            commands: Vec::new(),
            answers: Vec::new(),
        };
        (Self { sender: Some(sender), clock, depth, writer: None }, ledger_writer)
    }

    /// Hands a command to the writer.
    ///
    /// # Errors
    /// [`Failure::Unavailable`] at once when the queue is full; nothing was changed.
    pub fn submit(&self, command: Command) -> Result<Submitted, Failure> {
        let (answer, receiver) = oneshot::channel();
        let waiting = Waiting { command, enqueued_us: self.clock.elapsed_us(), answer };
        let sender = self.sender.as_ref().ok_or_else(|| Failure::Unavailable("the server is stopping".to_owned()))?;
        self.depth.fetch_add(1, Ordering::Relaxed);
        if sender.try_send(waiting).is_err() {
            self.depth.fetch_sub(1, Ordering::Relaxed);
            metrics::counter!("florin_queue_full_total").increment(1);
            return Err(Failure::Unavailable("the commit queue is full".to_owned()));
        }
        Ok(Submitted(receiver))
    }
}

impl Drop for CommitQueue {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

/// What takes the queue's commands to the ledger. One a queue, on a thread of its own.
pub struct LedgerWriter {
    engine: Arc<dyn Engine>,
    clock: Arc<dyn Clock>,
    writer: u16,
    batch_max: usize,
    depth: Arc<AtomicUsize>,
    receiver: mpsc::Receiver<Waiting>,
    commands: Vec<Command>,
    answers: Vec<oneshot::Sender<Result<Verdict, Failure>>>,
}

impl LedgerWriter {
    fn run(mut self) {
        while let Some(first) = self.receiver.blocking_recv() {
            self.write_batch(first);
        }
    }

    /// Writes what waits as one batch and answers it. False when nothing waits.
    pub fn step(&mut self) -> bool {
        let Ok(first) = self.receiver.try_recv() else { return false };
        self.write_batch(first);
        true
    }

    fn write_batch(&mut self, first: Waiting) {
        let mut next = Some(first);
        let started_us = self.clock.elapsed_us();
        while let Some(waiting) = next {
            metrics::histogram!("florin_queue_wait_seconds").record(seconds(started_us - waiting.enqueued_us));
            self.commands.push(waiting.command);
            self.answers.push(waiting.answer);
            next = if self.commands.len() < self.batch_max { self.receiver.try_recv().ok() } else { None };
        }
        let taken = self.commands.len();
        let left = self.depth.fetch_sub(taken, Ordering::Relaxed).saturating_sub(taken);
        metrics::gauge!("florin_queue_depth").set(u32::try_from(left).unwrap_or(u32::MAX));
        self.commit();
        metrics::histogram!("florin_commit_seconds").record(seconds(self.clock.elapsed_us() - started_us));
        metrics::histogram!("florin_batch_commands").record(u32::try_from(taken).unwrap_or(u32::MAX));
        self.commands.clear();
    }

    fn commit(&mut self) {
        match self.apply(&self.commands) {
            Ok(verdicts) => {
                for (answer, verdict) in self.answers.drain(..).zip(verdicts) {
                    if let Outcome::Rejected(rejection) = &verdict.outcome {
                        metrics::counter!("florin_rejections_total", "code" => rejection.code()).increment(1);
                    }
                    // A caller that went away loses its answer, not its effect.
                    let _ = answer.send(Ok(verdict));
                }
            }
            Err(error) => {
                tracing::error!(error = %error, commands = self.commands.len(), "a batch was not committed");
                let text = error.to_string();
                for answer in self.answers.drain(..) {
                    let failure = match &error {
                        StoreError::Unavailable(_) | StoreError::OutcomeUnknown(_) => {
                            Failure::Unavailable(text.clone())
                        }
                        _ => Failure::Internal(text.clone()),
                    };
                    let _ = answer.send(Err(failure));
                }
            }
        }
    }

    fn apply(&self, commands: &[Command]) -> Result<Vec<Verdict>, StoreError> {
        let recorded_at_us = self.clock.now_us();
        let mut verdicts = Vec::new();
        let written = self.engine.write(&mut |tx| {
            verdicts = ledger::apply_batch_in_tx(tx, self.writer, Batch::each(commands), recorded_at_us)?;
            Ok(())
        });
        match written {
            Ok(()) => Ok(verdicts),
            Err(StoreError::OutcomeUnknown(cause)) => self.look_up(commands, verdicts, cause),
            Err(error) => Err(error),
        }
    }

    /// A batch is one database transaction, so one of its transactions tells of all. A batch that applied nothing is
    /// known by its refusals: a refusal that was told and not kept could turn into something else under the same key.
    fn look_up(&self, commands: &[Command], verdicts: Vec<Verdict>, cause: String) -> Result<Vec<Verdict>, StoreError> {
        for _ in 0..LOOKUPS_MAX {
            match florin_store::write(&*self.engine, |tx| self.is_there(tx, commands, &verdicts)) {
                Ok(true) => return Ok(verdicts),
                Ok(false) => return Err(StoreError::Unavailable(format!("the batch was not committed: {cause}"))),
                Err(error) => tracing::warn!(error = %error, "looking up a commit whose outcome is unknown"),
            }
            self.clock.pause_us(LOOKUP_PAUSE_US);
        }
        Err(StoreError::OutcomeUnknown(cause))
    }

    fn is_there(&self, tx: &mut dyn Tx, commands: &[Command], verdicts: &[Verdict]) -> Result<bool, StoreError> {
        let mut refused = Vec::new();
        for (command, verdict) in commands.iter().zip(verdicts).filter(|(_, verdict)| !verdict.replayed) {
            match (&verdict.outcome, &command.idempotency) {
                (Outcome::Applied(_), _) => {
                    let (bucket, id) = (ledger::transaction_bucket(command), command.transaction_id);
                    return ledger::has_transaction_in_tx(tx, self.writer, bucket, id);
                }
                // This one is never kept: the key has its answer.
                (Outcome::Rejected(Rejection::IdempotencyKeyReused), _) | (_, None) => {}
                (outcome, Some(key)) => refused.push((key, outcome)),
            }
        }
        ledger::has_answers_in_tx(tx, self.writer, &refused)
    }
}

#[expect(clippy::float_arithmetic, reason = "durations for metrics, not money")]
fn seconds(micros: i64) -> f64 {
    f64::from(u32::try_from(micros.max(0)).unwrap_or(u32::MAX)) / 1e6
}
