//! A batch that is being written while the next one is decided.
//!
//! Rules, hashes and the form of the journal need no transaction: they are done on the caller's thread, on what memory
//! says and the batch before leaves behind. A thread of its own writes what is decided, one database transaction a
//! batch, in order. What is decided behind one that comes to nothing finds another write where that should be, and
//! comes to nothing, too.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        mpsc::{Sender, channel},
    },
    thread::{self, JoinHandle},
};

use florin_store::{Begun, Interruption, NotDone, StoreError, Ticket, Work};
use futures_executor::block_on;
use futures_util::future::{Either, select};
use parking_lot::FairMutex;
use tokio::sync::oneshot;
use tracing::warn;

use crate::{
    ahead_tx::{AheadTx, Decided},
    connection::Db,
    engine::{SqliteOptions, Writer},
    ledger::{memory::Memory, staged::Staged},
};

/// What is on its way, and where the next one is decided.
pub(crate) struct WriteLane {
    memory: Arc<Memory>,
    /// Its own, so that no other reader keeps a batch waiting.
    reader: Db,
    writer: Arc<FairMutex<Writer>>,
    under_way: VecDeque<UnderWay>,
    tickets: u64,
    /// Operations from which on a batch is worth the way to another thread.
    ahead_min: usize,
    /// Without one, a batch is written when its end is asked for.
    thread: Option<WriterThread>,
}

struct UnderWay {
    ticket: Ticket,
    decided: Arc<Decided>,
    /// From the thread that writes it.
    end: Option<oneshot::Receiver<Result<(), NotDone>>>,
}

impl WriteLane {
    pub(crate) fn start(
        memory: Arc<Memory>,
        reader: Db,
        writer: Arc<FairMutex<Writer>>,
        options: &SqliteOptions,
    ) -> Result<Self, StoreError> {
        let thread = options.journal_thread.then(|| WriterThread::start(Arc::clone(&writer))).transpose()?;
        let (under_way, tickets, ahead_min) = (VecDeque::new(), 0, options.ahead_min);
        Ok(Self { memory, reader, writer, under_way, tickets, ahead_min, thread })
    }

    /// See [`florin_store::Engine::begin_write`].
    pub(crate) fn begin(&mut self, behind: Option<Ticket>, work: Work<'_>) -> Result<Begun, NotDone> {
        match self.decide(behind, work) {
            Ok(Some(decided)) if behind.is_none() && decided.operations() < self.ahead_min => {
                write(&self.writer, &decided).map(|()| Begun::Done)
            }
            Ok(Some(decided)) => Ok(Begun::UnderWay(self.send(decided))),
            // After the end of what is on its way.
            Ok(None) => Err(NotDone::Again(StoreError::Unavailable("it needs a transaction of its own".to_owned()))),
            Err(error) if behind.is_some() => Err(NotDone::Again(error)),
            Err(error) => Err(NotDone::Failed(error)),
        }
    }

    /// See [`florin_store::Engine::end_write`].
    pub(crate) fn end(&mut self, ticket: Ticket, interruption: Interruption<'_>) -> Option<Result<(), NotDone>> {
        let Some(place) = self.under_way.iter().position(|under_way| under_way.ticket == ticket) else {
            return Some(Err(NotDone::unknown(ticket)));
        };
        // Nobody asks for the ends of those before: if they are written, that is known from the ledger.
        self.under_way.drain(..place);
        let Some(oldest) = self.under_way.front_mut() else { return Some(Err(NotDone::unknown(ticket))) };
        let end = match &mut oldest.end {
            Some(end) => match block_on(select(end, interruption)) {
                Either::Left((end, _)) => end.unwrap_or_else(|_| Err(NotDone::Failed(gone()))),
                Either::Right(_) => return None,
            },
            None => write(&self.writer, &oldest.decided),
        };
        self.under_way.pop_front();
        Some(end)
    }

    /// Decides a batch behind this one; none when that has to be done in its own transaction.
    fn decide(&mut self, behind: Option<Ticket>, work: Work<'_>) -> Result<Option<Decided>, StoreError> {
        if behind.is_none() {
            // As in `end`.
            self.under_way.clear();
        }
        let last = self.under_way.back();
        let tip = last.map_or_else(|| self.memory.tip(), |last| last.decided.tip);
        if last.map(|last| last.ticket) != behind || tip.last_sequence.is_none() {
            return Ok(None);
        }
        let nothing = Staged::default();
        let before = last.map_or(&nothing, |last| &*last.decided.staged);
        let mut tx = AheadTx::new(&self.memory, &mut self.reader, before, tip);
        let result = work(&mut tx);
        tx.end(result)
    }

    fn send(&mut self, decided: Decided) -> Ticket {
        let decided = Arc::new(decided);
        let end = self.thread.as_ref().map(|thread| thread.send(Arc::clone(&decided)));
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.under_way.push_back(UnderWay { ticket, decided, end });
        ticket
    }
}

fn gone() -> StoreError {
    StoreError::OutcomeUnknown("the thread of the journal has gone".to_owned())
}

/// Writes a batch if the ledger still stands where it was decided.
fn write(writer: &FairMutex<Writer>, decided: &Decided) -> Result<(), NotDone> {
    let mut writer = writer.lock();
    if writer.ledger.memory.tip().write != decided.behind {
        return Err(NotDone::Again(StoreError::Unavailable("it was decided on what did not come".to_owned())));
    }
    if decided.is_empty() {
        return Ok(());
    }
    let Writer { db, ledger } = &mut *writer;
    db.write(ledger, |tx| decided.write(tx)).map_err(|error| match error {
        // Somebody has answered one of its keys meanwhile.
        StoreError::Duplicate(_) => NotDone::Again(error),
        error => NotDone::Failed(error),
    })
}

type Job = (Arc<Decided>, oneshot::Sender<Result<(), NotDone>>);

/// Writes what is decided, in order; ends when dropped, after what it has.
struct WriterThread {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl WriterThread {
    fn start(writer: Arc<FairMutex<Writer>>) -> Result<Self, StoreError> {
        let (sender, jobs) = channel::<Job>();
        let run = move || {
            for (decided, end) in jobs {
                // Who does not wait any more finds it as any other batch.
                let _ = end.send(write(&writer, &decided));
            }
        };
        let thread = thread::Builder::new()
            .name("florin-journal".to_owned())
            .spawn(run)
            .map_err(|error| StoreError::Unavailable(format!("no thread for the journal: {error}")))?;
        Ok(Self { jobs: Some(sender), thread: Some(thread) })
    }

    fn send(&self, decided: Arc<Decided>) -> oneshot::Receiver<Result<(), NotDone>> {
        let (sender, end) = oneshot::channel();
        // If the thread has gone, so has the sender, which tells it.
        let _ = self.jobs.as_ref().map(|jobs| jobs.send((decided, sender)));
        end
    }
}

impl Drop for WriterThread {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            warn!("the thread of the journal had panicked");
        }
    }
}
