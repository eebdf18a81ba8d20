//! What takes the queue's commands to the ledger: one batch, one database transaction, one answer each.
//!
//! While a batch is on its way to a database that is far away, the next one is decided behind it, if enough waits for
//! it: two at the most. Where the first comes to nothing, both are decided anew, in their order.

use std::{
    collections::{HashSet, VecDeque},
    num::NonZero,
    pin::pin,
    sync::{Arc, atomic::Ordering},
    thread,
};

use florin_ledger::{Command, Outcome, Verdict};
use florin_store::{Begun, Engine, NotDone, StoreError, Ticket};
use rayon::{ThreadPool, ThreadPoolBuilder};
use tokio::sync::{mpsc, oneshot};

use crate::{
    Failure,
    commit_queue::{Depth, QueueSettings, Waiting, WaitingBulk},
    ledger_batch::{BatchWriter, NotWritten, Together, Written},
    ledger_bulks::Bulks,
    port::Clock,
};

/// The ledger's writer. One a queue, on a thread of its own.
pub struct LedgerWriter {
    batches: BatchWriter,
    clock: Arc<dyn Clock>,
    settings: QueueSettings,
    depth: Arc<Depth>,
    receiver: mpsc::UnboundedReceiver<Waiting>,
    /// Bulks that are not in a batch yet; bounded as the queue is.
    bulks: VecDeque<WaitingBulk>,
    under_way: VecDeque<UnderWay>,
}

/// Single commands that are taken together, and who waits for their verdicts.
struct Singles {
    started_us: i64,
    commands: Vec<Command>,
    answers: Vec<oneshot::Sender<Result<Verdict, Failure>>>,
}

/// A batch of them that is decided and sent.
struct UnderWay {
    ticket: Ticket,
    singles: Singles,
    written: Written,
}

impl LedgerWriter {
    pub(crate) fn new(
        engine: Arc<dyn Engine>,
        clock: Arc<dyn Clock>,
        writer: u16,
        settings: QueueSettings,
        depth: Arc<Depth>,
        receiver: mpsc::UnboundedReceiver<Waiting>,
    ) -> Self {
        let batches = BatchWriter::new(engine, Arc::clone(&clock), writer);
        Self { batches, clock, settings, depth, receiver, bulks: VecDeque::new(), under_way: VecDeque::new() }
    }

    pub(crate) fn run(mut self) {
        let _hashing = share_hashing();
        while self.turn(true) {}
    }

    /// Does one thing of what there is to do: writes what waits as one batch, or waits for one that is on its way.
    /// False when there is nothing to do.
    pub fn step(&mut self) -> bool {
        self.turn(false)
    }

    fn turn(&mut self, waits: bool) -> bool {
        if !self.under_way.is_empty() && !self.is_next_due() {
            self.end_oldest(true);
            return true;
        }
        let is_idle = self.bulks.is_empty() && self.under_way.is_empty();
        let first = if waits && is_idle { self.receiver.blocking_recv() } else { self.receiver.try_recv().ok() };
        match first {
            None if is_idle => return false,
            // What was counted is not sent yet.
            None if self.bulks.is_empty() => self.end_oldest(false),
            first => self.write_batch(first),
        }
        true
    }

    /// Whether so much waits that the next batch is worth its database transaction before the one before it has ended.
    fn is_next_due(&self) -> bool {
        !self.bulks.is_empty() || self.depth.singles.load(Ordering::Relaxed) >= self.settings.ahead_min
    }

    fn write_batch(&mut self, first: Option<Waiting>) {
        self.depth.is_writing.store(true, Ordering::Relaxed);
        let singles = self.take(first);
        if self.bulks.is_empty() {
            self.begin(singles);
        } else {
            self.end_all();
            let bulks = self.take_bulks(singles.started_us);
            self.commit_with_bulks(bulks, singles);
        }
        self.depth.is_writing.store(!self.under_way.is_empty(), Ordering::Relaxed);
    }

    /// What waits, up to the size of a batch.
    fn take(&mut self, first: Option<Waiting>) -> Singles {
        let started_us = self.clock.elapsed_us();
        let mut singles = Singles { started_us, commands: Vec::new(), answers: Vec::new() };
        // Looked up once a batch, not once a command.
        let wait = metrics::histogram!("florin_queue_wait_seconds");
        let mut next = first;
        while let Some(waiting) = next {
            match waiting {
                Waiting::Command(waiting) => {
                    wait.record(seconds(started_us - waiting.enqueued_us));
                    singles.commands.push(waiting.command);
                    singles.answers.push(waiting.answer);
                }
                Waiting::Bulk(bulk) => self.bulks.push_back(bulk),
            }
            let has_room = singles.commands.len() < self.settings.batch_max.max(1);
            next = if has_room { self.receiver.try_recv().ok() } else { None };
        }
        let count = singles.commands.len();
        let left = self.depth.singles.fetch_sub(count, Ordering::Relaxed).saturating_sub(count);
        metrics::gauge!("florin_queue_depth").set(u32::try_from(left).unwrap_or(u32::MAX));
        singles
    }

    /// The single commands alone.
    fn begin(&mut self, singles: Singles) {
        let behind = self.under_way.back().map(|before| before.ticket);
        let (written, begun) = self.batches.begin(behind, &singles.commands);
        match begun {
            Ok(Begun::UnderWay(ticket)) => self.under_way.push_back(UnderWay { ticket, singles, written }),
            Ok(Begun::Done) => {
                self.end_all();
                self.answer(singles, written.verdicts);
            }
            Err(not_done) => {
                self.end_all();
                self.settle(singles, written, Err(not_done));
            }
        }
        while self.under_way.len() > 1 {
            self.end_oldest(false);
        }
    }

    fn end_all(&mut self) {
        while !self.under_way.is_empty() {
            self.end_oldest(false);
        }
    }

    /// Waits for the end of the batch that was begun first, if need be only until enough waits for the next one.
    fn end_oldest(&mut self, may_be_interrupted: bool) {
        let Some(oldest) = self.under_way.front() else { return };
        let end = if may_be_interrupted {
            self.batches.end_unless(oldest.ticket, pin!(self.depth.is_worth_a_batch.notified()))
        } else {
            Some(self.batches.end(oldest.ticket))
        };
        let Some(end) = end else { return };
        let Some(oldest) = self.under_way.pop_front() else { return };
        // What was decided behind one that came to nothing has come to nothing, too: no other write may pass it.
        let next = if end.is_ok() { None } else { self.under_way.pop_front() };
        let next = next.map(|next| (self.batches.end(next.ticket), next));
        self.settle(oldest.singles, oldest.written, end);
        if let Some((end, next)) = next {
            self.settle(next.singles, next.written, end);
        }
        self.depth.is_writing.store(!self.under_way.is_empty(), Ordering::Relaxed);
    }

    fn settle(&self, singles: Singles, written: Written, end: Result<(), NotDone>) {
        match self.batches.settle(&singles.commands, written, end) {
            Ok(written) => self.answer(singles, written.verdicts),
            Err(refused) => self.refuse(singles, &refused.error),
        }
    }

    /// Bulks that waited longest, up to the size of a batch, but one at least. Of those with one subject only the
    /// first: the next must find what that one leaves behind.
    fn take_bulks(&mut self, started_us: i64) -> Vec<WaitingBulk> {
        let wait = metrics::histogram!("florin_queue_wait_seconds");
        let (mut taken, mut count, mut subjects): (Vec<WaitingBulk>, _, _) = (Vec::new(), 0, HashSet::new());
        while let Some(next) = self.bulks.front() {
            // As it was counted when it came: one without commands is work, too.
            let places = next.bulk.commands.len().max(1);
            let has_room = taken.is_empty() || count + places <= self.settings.bulk_max;
            let is_alone = next.bulk.subjects().all(|subject| subjects.insert(subject));
            if !has_room || !is_alone {
                break;
            }
            wait.record(seconds(started_us - next.enqueued_us));
            count += places;
            self.depth.bulks.fetch_sub(places, Ordering::Relaxed);
            taken.extend(self.bulks.pop_front());
        }
        taken
    }

    /// Bulks and the single commands, in one database transaction.
    fn commit_with_bulks(&mut self, bulks: Vec<WaitingBulk>, mut singles: Singles) {
        let mut together = Bulks::of(bulks);
        let count = together.commands.len();
        together.commands.append(&mut singles.commands);
        let Bulks { commands, parts, .. } = &mut together;
        let result = self.batches.apply(Together { commands, bulks: parts });
        singles.commands = together.commands.split_off(count);
        match result {
            Ok(mut written) => {
                let rest = written.verdicts.split_off(written.verdicts.len() - singles.commands.len());
                self.count(singles.started_us, count + singles.commands.len());
                together.answer(written);
                self.answer_all(singles, rest);
            }
            Err(NotWritten { error, by_bulk }) => {
                tracing::error!(error = %error, commands = count, "bulks were not committed");
                let others = together.refuse(by_bulk, &error);
                // They have nothing to do with what was to be written beside the one that is refused.
                if !others.is_empty() {
                    self.commit_with_bulks(others, singles);
                } else if by_bulk.is_some() && !singles.commands.is_empty() {
                    self.begin(singles);
                } else {
                    self.refuse(singles, &error);
                }
            }
        }
    }

    fn answer(&self, singles: Singles, verdicts: Vec<Verdict>) {
        self.count(singles.started_us, singles.commands.len());
        self.answer_all(singles, verdicts);
    }

    fn answer_all(&self, singles: Singles, verdicts: Vec<Verdict>) {
        count_rejections(&verdicts);
        for (answer, verdict) in singles.answers.into_iter().zip(verdicts) {
            // A caller that went away loses its answer, not its effect.
            let _ = answer.send(Ok(verdict));
        }
    }

    fn refuse(&self, singles: Singles, error: &StoreError) {
        self.count(singles.started_us, singles.commands.len());
        if !singles.answers.is_empty() {
            tracing::error!(error = %error, commands = singles.answers.len(), "a batch was not committed");
        }
        for answer in singles.answers {
            let _ = answer.send(Err(failure(error)));
        }
    }

    fn count(&self, started_us: i64, commands: usize) {
        metrics::histogram!("florin_commit_seconds").record(seconds(self.clock.elapsed_us() - started_us));
        metrics::histogram!("florin_batch_commands").record(u32::try_from(commands).unwrap_or(u32::MAX));
    }
}

/// A second thread for the hashes of large batches: it takes what this thread has not come to.
fn share_hashing() -> Option<ThreadPool> {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let pool = |threads| {
        ThreadPoolBuilder::new().num_threads(threads).use_current_thread().thread_name(|_| "ledger-hash".to_owned())
    };
    // This thread alone needs nothing that could be missing.
    match pool(processors.min(2)).build().or_else(|_| pool(1).build()) {
        Ok(pool) => Some(pool),
        Err(error) => {
            tracing::warn!(%error, "the ledger's writer has no second thread for hashes");
            None
        }
    }
}

pub(crate) fn count_rejections(verdicts: &[Verdict]) {
    for verdict in verdicts {
        if let Outcome::Rejected(rejection) = &verdict.outcome {
            metrics::counter!("florin_rejections_total", "code" => rejection.code()).increment(1);
        }
    }
}

pub(crate) fn failure(error: &StoreError) -> Failure {
    match error {
        StoreError::Unavailable(_) | StoreError::OutcomeUnknown(_) => Failure::Unavailable(error.to_string()),
        _ => Failure::Internal(error.to_string()),
    }
}

#[expect(clippy::float_arithmetic, reason = "durations for metrics, not money")]
fn seconds(micros: i64) -> f64 {
    f64::from(u32::try_from(micros.max(0)).unwrap_or(u32::MAX)) / 1e6
}
