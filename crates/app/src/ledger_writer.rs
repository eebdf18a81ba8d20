//! What takes the queue's commands to the ledger: one batch, one database transaction, one answer each.
//!
//! While a batch is on its way to the database, the next one is decided behind it, if enough waits for it: two at the
//! most. Where the first comes to nothing, both are decided anew, in their order.

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

/// What is written as one batch, and who waits for it.
struct Taken {
    started_us: i64,
    /// With the single commands behind theirs.
    bulks: Bulks,
    /// Who waits for the single commands, in their order.
    singles: Vec<SingleAnswer>,
}

impl Taken {
    fn of(started_us: i64, bulks: Vec<WaitingBulk>, commands: Vec<Command>, singles: Vec<SingleAnswer>) -> Self {
        let mut bulks = Bulks::of(bulks);
        bulks.add(commands);
        Self { started_us, bulks, singles }
    }

    fn together(&mut self) -> Together<'_> {
        Together { commands: &self.bulks.commands, bulks: &mut self.bulks.parts }
    }
}

type SingleAnswer = oneshot::Sender<Result<Verdict, Failure>>;

/// A batch that is decided and sent.
struct UnderWay {
    ticket: Ticket,
    taken: Taken,
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
            first => {
                if waits {
                    self.give_way();
                }
                self.write_batch(first);
            }
        }
        true
    }

    /// Where processors are few, whoever waits for one may be about to send a command: let into this batch, it needs
    /// no other one soon after. It costs nothing where a processor is free, and waits for nobody who sleeps.
    fn give_way(&self) {
        if self.under_way.is_empty() && !self.is_next_due() {
            thread::yield_now();
        }
    }

    /// Whether so much waits that the next batch is worth its database transaction before the one before it has ended.
    fn is_next_due(&self) -> bool {
        [&self.depth.singles, &self.depth.bulks]
            .iter()
            .any(|depth| depth.load(Ordering::Relaxed) >= self.settings.ahead_min)
    }

    fn write_batch(&mut self, first: Option<Waiting>) {
        self.depth.is_writing.store(true, Ordering::Relaxed);
        let taken = self.take(first);
        if taken.bulks.has_companion() {
            // It has more to say to the database than can be left on its way.
            self.end_all();
            self.commit(taken);
        } else {
            self.begin(taken);
        }
        self.depth.is_writing.store(!self.under_way.is_empty(), Ordering::Relaxed);
    }

    /// What waits, up to the size of a batch.
    fn take(&mut self, first: Option<Waiting>) -> Taken {
        let started_us = self.clock.elapsed_us();
        let (mut commands, mut singles) = (Vec::new(), Vec::new());
        // Looked up once a batch, not once a command.
        let wait = metrics::histogram!("florin_queue_wait_seconds");
        let mut next = first;
        while let Some(waiting) = next {
            match waiting {
                Waiting::Command(waiting) => {
                    wait.record(seconds(started_us - waiting.enqueued_us));
                    commands.push(waiting.command);
                    singles.push(waiting.answer);
                }
                Waiting::Bulk(bulk) => self.bulks.push_back(bulk),
            }
            let has_room = commands.len() < self.settings.batch_max.max(1);
            next = if has_room { self.receiver.try_recv().ok() } else { None };
        }
        let count = commands.len();
        let left = self.depth.singles.fetch_sub(count, Ordering::Relaxed).saturating_sub(count);
        metrics::gauge!("florin_queue_depth").set(u32::try_from(left).unwrap_or(u32::MAX));
        Taken::of(started_us, self.take_bulks(started_us), commands, singles)
    }

    /// Decides it, and leaves it on its way where the engine can.
    fn begin(&mut self, mut taken: Taken) {
        let behind = self.under_way.back().map(|before| before.ticket);
        let (written, begun) = self.batches.begin(behind, taken.together());
        match begun {
            Ok(Begun::UnderWay(ticket)) => self.under_way.push_back(UnderWay { ticket, taken, written }),
            Ok(Begun::Done) => {
                self.end_all();
                self.answer(taken, written);
            }
            Err(not_done) => {
                self.end_all();
                self.settle(taken, written, Err(not_done));
            }
        }
        while self.under_way.len() > 1 {
            self.end_oldest(false);
        }
    }

    /// Writes it while nothing is on its way.
    fn commit(&mut self, mut taken: Taken) {
        let result = self.batches.apply(taken.together());
        self.conclude(taken, result);
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
        self.settle(oldest.taken, oldest.written, end);
        if let Some((end, next)) = next {
            self.settle(next.taken, next.written, end);
        }
        self.depth.is_writing.store(!self.under_way.is_empty(), Ordering::Relaxed);
    }

    fn settle(&mut self, mut taken: Taken, written: Written, end: Result<(), NotDone>) {
        let result = self.batches.settle(taken.together(), written, end);
        self.conclude(taken, result);
    }

    fn conclude(&mut self, taken: Taken, result: Result<Written, NotWritten>) {
        match result {
            Ok(written) => self.answer(taken, written),
            Err(refused) => self.refuse(taken, &refused),
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

    fn answer(&self, taken: Taken, mut written: Written) {
        self.count(&taken);
        let rest = written.verdicts.split_off(written.verdicts.len() - taken.singles.len());
        taken.bulks.answer(written);
        count_rejections(&rest);
        for (answer, verdict) in taken.singles.into_iter().zip(rest) {
            // A caller that went away loses its answer, not its effect.
            let _ = answer.send(Ok(verdict));
        }
    }

    fn refuse(&mut self, taken: Taken, refused: &NotWritten) {
        let NotWritten { error, by_bulk } = refused;
        tracing::error!(%error, commands = taken.bulks.commands.len(), "a batch was not committed");
        self.count(&taken);
        let Taken { started_us, bulks, singles } = taken;
        let (others, commands) = bulks.refuse(*by_bulk, error);
        // They have nothing to do with what was to be written beside the one that is refused.
        if by_bulk.is_some() && !(others.is_empty() && singles.is_empty()) {
            return self.commit(Taken::of(started_us, others, commands, singles));
        }
        for answer in singles {
            let _ = answer.send(Err(failure(error)));
        }
    }

    fn count(&self, taken: &Taken) {
        metrics::histogram!("florin_commit_seconds").record(seconds(self.clock.elapsed_us() - taken.started_us));
        let commands = u32::try_from(taken.bulks.commands.len()).unwrap_or(u32::MAX);
        metrics::histogram!("florin_batch_commands").record(commands);
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
