//! What takes the queue's commands to the ledger: one batch, one database transaction, one answer each.

use std::{
    collections::VecDeque,
    ops::Range,
    sync::{Arc, atomic::Ordering},
};

use florin_ledger::{Batch, BatchHeader, Command, Outcome, Rejection, Verdict};
use florin_store::{Engine, StoreError, Tx, ledger};
use tokio::sync::{mpsc, oneshot};

use crate::{
    Failure,
    commit_queue::{BulkAnswer, Companion, Depth, Waiting, WaitingBulk},
    port::Clock,
};

/// How often an unknown outcome is looked up before the callers are told to ask again.
const LOOKUPS_MAX: u32 = 30;
/// How long to wait between two of them, microseconds.
const LOOKUP_PAUSE_US: u64 = 500_000;

/// The ledger's writer. One a queue, on a thread of its own.
pub struct LedgerWriter {
    engine: Arc<dyn Engine>,
    clock: Arc<dyn Clock>,
    writer: u16,
    batch_max: usize,
    depth: Arc<Depth>,
    receiver: mpsc::UnboundedReceiver<Waiting>,
    /// Bulks that came while another one was first; bounded as the queue is.
    bulks: VecDeque<WaitingBulk>,
    commands: Vec<Command>,
    answers: Vec<oneshot::Sender<Result<Verdict, Failure>>>,
}

/// The commands of one batch: a bulk's, then the single ones.
struct Together<'a> {
    commands: &'a [Command],
    /// How many of them are the bulk's.
    bulk_len: usize,
    atomic: bool,
    companion: Option<&'a mut dyn Companion>,
}

/// What came of a batch.
struct Written {
    /// From [`Written::first`] on.
    verdicts: Vec<Verdict>,
    /// The chain's new header, if anything was applied.
    header: Option<BatchHeader>,
    /// The first command that was folded: past the bulk when its companion left it out.
    first: usize,
}

/// Why a batch was not written.
struct NotWritten {
    error: StoreError,
    /// It was the companion's doing.
    by_companion: bool,
}

impl LedgerWriter {
    pub(crate) fn new(
        engine: Arc<dyn Engine>,
        clock: Arc<dyn Clock>,
        writer: u16,
        batch_max: usize,
        depth: Arc<Depth>,
        receiver: mpsc::UnboundedReceiver<Waiting>,
    ) -> Self {
        Self {
            engine,
            clock,
            writer,
            batch_max: batch_max.max(1),
            depth,
            receiver,
            bulks: VecDeque::new(),
            commands: Vec::new(),
            answers: Vec::new(),
        }
    }

    pub(crate) fn run(mut self) {
        loop {
            let first =
                if self.bulks.is_empty() { self.receiver.blocking_recv() } else { self.receiver.try_recv().ok() };
            if first.is_none() && self.bulks.is_empty() {
                return;
            }
            self.write_batch(first);
        }
    }

    /// Writes what waits as one batch and answers it. False when nothing waits.
    pub fn step(&mut self) -> bool {
        let first = self.receiver.try_recv().ok();
        if first.is_none() && self.bulks.is_empty() {
            return false;
        }
        self.write_batch(first);
        true
    }

    fn write_batch(&mut self, first: Option<Waiting>) {
        let started_us = self.clock.elapsed_us();
        self.depth.is_writing.store(true, Ordering::Relaxed);
        // Looked up once a batch, not once a command.
        let wait = metrics::histogram!("florin_queue_wait_seconds");
        let waited = |enqueued_us| wait.record(seconds(started_us - enqueued_us));
        let mut next = first;
        while let Some(waiting) = next {
            match waiting {
                Waiting::Command(waiting) => {
                    waited(waiting.enqueued_us);
                    self.commands.push(waiting.command);
                    self.answers.push(waiting.answer);
                }
                Waiting::Bulk(bulk) => self.bulks.push_back(bulk),
            }
            next = if self.commands.len() < self.batch_max { self.receiver.try_recv().ok() } else { None };
        }
        let singles = self.commands.len();
        let left = self.depth.singles.fetch_sub(singles, Ordering::Relaxed).saturating_sub(singles);
        metrics::gauge!("florin_queue_depth").set(u32::try_from(left).unwrap_or(u32::MAX));
        let mut taken = singles;
        if let Some(waiting) = self.bulks.pop_front() {
            waited(waiting.enqueued_us);
            taken += waiting.bulk.commands.len();
            let places = waiting.bulk.commands.len().max(1);
            self.depth.bulks.fetch_sub(places, Ordering::Relaxed);
            self.commit_with_bulk(waiting);
        } else {
            self.commit();
        }
        metrics::histogram!("florin_commit_seconds").record(seconds(self.clock.elapsed_us() - started_us));
        metrics::histogram!("florin_batch_commands").record(u32::try_from(taken).unwrap_or(u32::MAX));
        self.commands.clear();
        self.depth.is_writing.store(false, Ordering::Relaxed);
    }

    /// The single commands alone.
    fn commit(&mut self) {
        let together = Together { commands: &self.commands, bulk_len: 0, atomic: false, companion: None };
        match self.apply(together) {
            Ok(written) => self.answer(written.verdicts),
            Err(refused) => self.refuse(&refused.error),
        }
    }

    /// A bulk and the single commands, in one database transaction.
    fn commit_with_bulk(&mut self, waiting: WaitingBulk) {
        let WaitingBulk { mut bulk, answer, .. } = waiting;
        let bulk_len = bulk.commands.len();
        bulk.commands.append(&mut self.commands);
        let companion: Option<&mut dyn Companion> = match &mut bulk.companion {
            Some(companion) => Some(companion.as_mut()),
            None => None,
        };
        let result = self.apply(Together { commands: &bulk.commands, bulk_len, atomic: bulk.atomic, companion });
        self.commands = bulk.commands.split_off(bulk_len);
        match result {
            Ok(Written { mut verdicts, first, .. }) => {
                let singles = verdicts.split_off(bulk_len - first);
                count_rejections(&verdicts);
                let _ = answer.send(Ok(BulkAnswer { commands: bulk.commands, verdicts }));
                self.answer(singles);
            }
            Err(NotWritten { error, by_companion }) => {
                tracing::error!(error = %error, commands = bulk_len, "a bulk was not committed");
                let _ = answer.send(Err(failure(&error)));
                // The others have nothing to do with what was to be written beside the bulk.
                if by_companion && !self.commands.is_empty() { self.commit() } else { self.refuse(&error) }
            }
        }
    }

    fn answer(&mut self, verdicts: Vec<Verdict>) {
        count_rejections(&verdicts);
        for (answer, verdict) in self.answers.drain(..).zip(verdicts) {
            // A caller that went away loses its answer, not its effect.
            let _ = answer.send(Ok(verdict));
        }
    }

    fn refuse(&mut self, error: &StoreError) {
        if !self.answers.is_empty() {
            tracing::error!(error = %error, commands = self.answers.len(), "a batch was not committed");
        }
        for answer in self.answers.drain(..) {
            let _ = answer.send(Err(failure(error)));
        }
    }

    fn apply(&self, mut together: Together<'_>) -> Result<Written, NotWritten> {
        let recorded_at_us = self.clock.now_us();
        let (mut written, mut by_companion) = (Written { verdicts: Vec::new(), header: None, first: 0 }, false);
        let (commands, bulk_len) = (together.commands, together.bulk_len);
        let whole: Range<usize> = 0..bulk_len;
        let result = self.engine.write(&mut |tx| {
            by_companion = true;
            let is_in = match &mut together.companion {
                Some(companion) => companion.begin(tx)?,
                None => true,
            };
            by_companion = false;
            written.first = if is_in { 0 } else { bulk_len };
            let atomic = if is_in && together.atomic { std::slice::from_ref(&whole) } else { &[] };
            let batch = Batch { commands: &commands[written.first..], atomic };
            (written.verdicts, written.header) = (Vec::new(), None);
            // A companion alone: the chain has nothing to do with it.
            if !batch.commands.is_empty() {
                let applied = ledger::apply_batch_in_tx(tx, self.writer, batch, recorded_at_us)?;
                (written.verdicts, written.header) = (applied.verdicts, applied.header);
            }
            if is_in && let Some(companion) = &mut together.companion {
                by_companion = true;
                companion.finish(tx, &commands[..bulk_len], &written.verdicts[..bulk_len])?;
                by_companion = false;
            }
            Ok(())
        });
        match result {
            Ok(()) => Ok(written),
            Err(StoreError::OutcomeUnknown(cause)) => {
                let companion_wrote = together.companion.is_some() && written.first == 0;
                let found = self.look_up(&commands[written.first..], &written, companion_wrote, cause);
                found.map(|()| written).map_err(|error| NotWritten { error, by_companion: false })
            }
            Err(error) => Err(NotWritten { error, by_companion }),
        }
    }

    /// A batch is one database transaction, so its header tells of all. A batch that applied nothing is known by its
    /// refusals: a refusal that was told and not kept could turn into something else under the same key.
    fn look_up(
        &self,
        commands: &[Command],
        written: &Written,
        companion_wrote: bool,
        cause: String,
    ) -> Result<(), StoreError> {
        // What a companion wrote beside nothing else, only the companion's owner can look up.
        if companion_wrote && written.header.is_none() {
            return Err(StoreError::OutcomeUnknown(cause));
        }
        for _ in 0..LOOKUPS_MAX {
            match florin_store::write(&*self.engine, |tx| self.is_there(tx, commands, written)) {
                Ok(true) => return Ok(()),
                Ok(false) => return Err(StoreError::Unavailable(format!("the batch was not committed: {cause}"))),
                Err(error) => tracing::warn!(error = %error, "looking up a commit whose outcome is unknown"),
            }
            self.clock.pause_us(LOOKUP_PAUSE_US);
        }
        Err(StoreError::OutcomeUnknown(cause))
    }

    fn is_there(&self, tx: &mut dyn Tx, commands: &[Command], written: &Written) -> Result<bool, StoreError> {
        if let Some(header) = &written.header {
            return ledger::has_header_in_tx(tx, header);
        }
        let is_kept = |outcome: &Outcome| match outcome {
            // This one is never kept: the key has its answer.
            Outcome::Rejected(Rejection::IdempotencyKeyReused) | Outcome::Applied(_) => false,
            Outcome::Rejected(_) => true,
        };
        let refused: Vec<_> = commands
            .iter()
            .zip(&written.verdicts)
            .filter(|(_, verdict)| !verdict.replayed && is_kept(&verdict.outcome))
            .filter_map(|(command, verdict)| Some((command.idempotency.as_ref()?, &verdict.outcome)))
            .collect();
        ledger::has_answers_in_tx(tx, self.writer, &refused)
    }
}

fn count_rejections(verdicts: &[Verdict]) {
    for verdict in verdicts {
        if let Outcome::Rejected(rejection) = &verdict.outcome {
            metrics::counter!("florin_rejections_total", "code" => rejection.code()).increment(1);
        }
    }
}

fn failure(error: &StoreError) -> Failure {
    match error {
        StoreError::Unavailable(_) | StoreError::OutcomeUnknown(_) => Failure::Unavailable(error.to_string()),
        _ => Failure::Internal(error.to_string()),
    }
}

#[expect(clippy::float_arithmetic, reason = "durations for metrics, not money")]
fn seconds(micros: i64) -> f64 {
    f64::from(u32::try_from(micros.max(0)).unwrap_or(u32::MAX)) / 1e6
}
