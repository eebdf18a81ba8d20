//! One bounded queue in front of one writer: whatever waits becomes one batch, one database transaction, one flush.
//!
//! There is no timer. An idle writer commits a lone command at once; under load the commands that arrive during one
//! commit are the next batch. A command is answered after its commit, and the answer is final.
//!
//! A *bulk* is many commands of one caller, with one place in the queue and one answer. Small ones that wait are in one
//! batch, a large one is in a batch without others, both beside whatever single commands wait.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use florin_ledger::{Command, IdempotencyKey, Verdict};
use florin_store::{Engine, StoreError, Tx, request_answer::RequestAnswer};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::{Failure, ledger_writer::LedgerWriter, port::Clock};

/// Bounds of the queue.
#[derive(Debug, Clone, Copy)]
pub struct QueueSettings {
    /// Single commands that may wait; past it, 503.
    pub capacity: usize,
    /// Single commands in one batch.
    pub batch_max: usize,
    /// Single commands, or commands of bulks, that are worth a batch while another one is on its way. Fewer wait for
    /// its end: what a batch costs besides its commands would be more than what is won.
    pub ahead_min: usize,
    /// Commands of several bulks in one batch. A bulk that is larger than this is in a batch without others.
    pub bulk_max: usize,
    /// Commands of bulks that may wait; past it, 503. They have a bound of their own, so that bulks never keep single
    /// commands out. A bulk that is larger than this waits alone.
    pub bulk_capacity: usize,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self { capacity: 4096, batch_max: 512, ahead_min: 64, bulk_max: 1024, bulk_capacity: 50_000 }
    }
}

/// What is done in the same database transaction as a bulk's commands.
///
/// Both steps may run more than once (a database transaction is repeated whole), so neither keeps results of an
/// earlier run.
pub trait Companion: Send {
    /// Before anything else. False leaves the bulk's commands out: they were applied before.
    ///
    /// # Errors
    /// Those of the engine; then nothing of the bulk is done.
    fn begin(&mut self, tx: &mut dyn Tx) -> Result<bool, StoreError>;

    /// After the commands, before the commit, unless they were left out.
    ///
    /// # Errors
    /// As [`Companion::begin`].
    fn finish(&mut self, tx: &mut dyn Tx, commands: &[Command], verdicts: &[Verdict]) -> Result<(), StoreError>;

    /// A name for what its bulk is about. Of two with one subject, the second begins when the first is committed.
    fn subject(&self) -> String;
}

/// The answer of a bulk that has an idempotency key: kept beside the key in the bulk's own commit, so that the commands
/// are applied once, however often they come.
pub trait KeyedAnswer: Send {
    /// The key, with the fingerprint of the request.
    fn key(&self) -> &IdempotencyKey;

    /// What is to be kept, now that the commands are decided. May run more than once, as the steps of a [`Companion`].
    ///
    /// # Errors
    /// It cannot be kept; then nothing of the bulk is done.
    fn keep(&mut self, commands: &[Command], verdicts: &[Verdict]) -> Result<RequestAnswer, StoreError>;

    /// What was kept under the key before the commands were decided. If anything was, they are left out. Told once,
    /// when that is final: of several attempts, what the one found that counts.
    fn found(&mut self, earlier: Option<RequestAnswer>);
}

/// Commands that are applied in one database transaction: what others pay once a command, they pay once.
pub struct Bulk {
    /// In order.
    pub commands: Vec<Command>,
    /// Whether all are applied or none.
    pub atomic: bool,
    /// What is committed with them.
    pub companion: Option<Box<dyn Companion>>,
    /// What becomes of their idempotency key.
    pub keyed: Option<Box<dyn KeyedAnswer>>,
}

impl Bulk {
    /// Without companion or key.
    #[must_use]
    pub fn of(commands: Vec<Command>, atomic: bool) -> Self {
        Self { commands, atomic, companion: None, keyed: None }
    }

    /// What no two bulks of one batch may both be about.
    pub(crate) fn subjects(&self) -> impl Iterator<Item = String> {
        let key = self.keyed.as_ref().map(|keyed| format!("{} {}", keyed.key().scope, keyed.key().key));
        self.companion.as_ref().map(|companion| companion.subject()).into_iter().chain(key)
    }
}

/// What came of a bulk: its part of what came of its batch.
#[derive(Debug)]
pub struct BulkAnswer {
    decided: Arc<(Vec<Command>, Vec<Verdict>)>,
    commands: Range<usize>,
    verdicts: Range<usize>,
}

impl BulkAnswer {
    pub(crate) fn part(
        decided: Arc<(Vec<Command>, Vec<Verdict>)>,
        commands: Range<usize>,
        verdicts: Range<usize>,
    ) -> Self {
        Self { decided, commands, verdicts }
    }

    /// Of a bulk without commands.
    pub(crate) fn nothing() -> Self {
        Self::part(Arc::default(), 0..0, 0..0)
    }

    /// The commands, handed back.
    #[must_use]
    pub fn commands(&self) -> &[Command] {
        self.decided.0.get(self.commands.clone()).unwrap_or_default()
    }

    /// One verdict a command, in order; none when they were applied before and left out.
    #[must_use]
    pub fn verdicts(&self) -> &[Verdict] {
        self.decided.1.get(self.verdicts.clone()).unwrap_or_default()
    }
}

/// A command and who waits for its verdict.
pub(crate) struct WaitingCommand {
    pub(crate) command: Command,
    pub(crate) enqueued_us: i64,
    pub(crate) answer: oneshot::Sender<Result<Verdict, Failure>>,
}

/// A bulk and who waits for its verdicts.
pub(crate) struct WaitingBulk {
    pub(crate) bulk: Bulk,
    pub(crate) enqueued_us: i64,
    pub(crate) answer: oneshot::Sender<Result<BulkAnswer, Failure>>,
}

pub(crate) enum Waiting {
    Command(WaitingCommand),
    Bulk(WaitingBulk),
}

/// How many commands wait. Counted here and not by the channel, whose items may be many commands.
#[derive(Debug, Default)]
pub(crate) struct Depth {
    pub(crate) singles: AtomicUsize,
    pub(crate) bulks: AtomicUsize,
    /// A batch is being written.
    pub(crate) is_writing: AtomicBool,
    /// Tells the writer that [`QueueSettings::ahead_min`] commands wait.
    pub(crate) is_worth_a_batch: Notify,
}

impl Depth {
    fn is_busy(&self) -> bool {
        self.is_writing.load(Ordering::Relaxed)
            || self.singles.load(Ordering::Relaxed) > 0
            || self.bulks.load(Ordering::Relaxed) > 0
    }
}

/// Takes `count` places of `capacity`, or all of them when nobody has one. How many were taken before.
fn take_places(depth: &AtomicUsize, count: usize, capacity: usize) -> Option<usize> {
    let take = |depth: usize| {
        let after = depth.saturating_add(count);
        (after <= capacity || depth == 0).then_some(after)
    };
    depth.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()
}

/// An answer on its way.
pub struct Submitted<T = Verdict>(oneshot::Receiver<Result<T, Failure>>);

impl<T> Submitted<T> {
    /// The final answer.
    ///
    /// # Errors
    /// [`Failure::Unavailable`] when the batch could not be committed; nothing was changed, or the same idempotency key
    /// tells what was.
    pub async fn verdict(self) -> Result<T, Failure> {
        self.0.await.unwrap_or_else(|_| Err(stopping()))
    }
}

/// One more was refused because the queue is full.
pub(crate) fn count_refused() {
    metrics::counter!("florin_queue_full_total").increment(1);
}

fn stopping() -> Failure {
    Failure::Unavailable("the server is stopping".to_owned())
}

/// The way to the ledger. Dropping it lets the writer finish what waits, and waits for that.
pub struct CommitQueue {
    sender: Option<mpsc::UnboundedSender<Waiting>>,
    clock: Arc<dyn Clock>,
    depth: Arc<Depth>,
    settings: QueueSettings,
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
        // The channel has no bound of its own: `Depth` is the bound, taken before and given back by the writer.
        let (sender, receiver) = mpsc::unbounded_channel();
        let depth = Arc::new(Depth::default());
        let ledger_writer = LedgerWriter::new(engine, clock.clone(), writer, settings, depth.clone(), receiver);
        (Self { sender: Some(sender), clock, depth, settings, writer: None }, ledger_writer)
    }

    /// Hands a command to the writer.
    ///
    /// # Errors
    /// [`Failure::Unavailable`] at once when the queue is full; nothing was changed.
    pub fn submit(&self, command: Command) -> Result<Submitted, Failure> {
        let (answer, receiver) = oneshot::channel();
        let enqueued_us = self.clock.elapsed_us();
        let waiting = Waiting::Command(WaitingCommand { command, enqueued_us, answer });
        let before = self.send(&self.depth.singles, 1, self.settings.capacity.max(1), waiting)?;
        if before + 1 == self.settings.ahead_min {
            self.depth.is_worth_a_batch.notify_one();
        }
        Ok(Submitted(receiver))
    }

    /// Whether a single command would be taken now: asked before anything is spent on one.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.depth.singles.load(Ordering::Relaxed) < self.settings.capacity.max(1)
    }

    /// Tells whether the writer is at work or something waits for it.
    pub(crate) fn watch(&self) -> Box<dyn Fn() -> bool + Send + Sync> {
        let depth = Arc::clone(&self.depth);
        Box::new(move || depth.is_busy())
    }

    /// Hands many commands to the writer, to be applied in one database transaction.
    ///
    /// # Errors
    /// As [`CommitQueue::submit`].
    pub fn submit_bulk(&self, bulk: Bulk) -> Result<Submitted<BulkAnswer>, Failure> {
        let (answer, receiver) = oneshot::channel();
        let count = bulk.commands.len().max(1);
        let waiting = Waiting::Bulk(WaitingBulk { bulk, enqueued_us: self.clock.elapsed_us(), answer });
        let before = self.send(&self.depth.bulks, count, self.settings.bulk_capacity, waiting)?;
        if before < self.settings.ahead_min && before.saturating_add(count) >= self.settings.ahead_min {
            self.depth.is_worth_a_batch.notify_one();
        }
        Ok(Submitted(receiver))
    }

    /// How many places were taken before.
    fn send(&self, depth: &AtomicUsize, count: usize, capacity: usize, waiting: Waiting) -> Result<usize, Failure> {
        let sender = self.sender.as_ref().ok_or_else(stopping)?;
        let Some(before) = take_places(depth, count, capacity) else {
            count_refused();
            return Err(Failure::Unavailable("the commit queue is full".to_owned()));
        };
        sender.send(waiting).map_err(|_| stopping())?;
        Ok(before)
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
