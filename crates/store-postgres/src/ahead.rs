//! A batch that is on its way while the next one is decided and sent behind it, on the same connection.
//!
//! PostgreSQL begins the second when it has committed the first, without waiting for this node in between. The second
//! is decided on what the first leaves behind, and fits only behind its place in the hash chain: if the first comes to
//! nothing, the server refuses the second, too. What cannot be sent in one piece, such as a batch with a refusal, for
//! which the server is asked, waits for the end of the one before it.

use std::{
    collections::VecDeque,
    future::{self, Future},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use deadpool_postgres::Object;
use florin_store::{Begun, Interruption, NotDone, StoreError, Ticket, Work};
use futures_util::future::{MaybeDone, maybe_done};
use tokio_postgres::Error;

use crate::{
    batch::{Batch, Ending, conclude},
    driver::{Driver, OwnLane},
    engine::{Kind, Loan, PostgresEngine, lost_client},
    ledger::cache::LedgerCache,
    tx::PostgresTx,
};

/// The writer's connection, and what is on its way there.
pub(crate) struct WriteLane {
    own: Arc<OwnLane>,
    /// While something is on its way.
    connection: Option<Connection>,
    sent: VecDeque<Sent>,
    /// Ends that nobody asked for yet, in order.
    ended: VecDeque<(Ticket, Result<(), NotDone>)>,
    tickets: u64,
    /// The connection must not be used again.
    is_broken: bool,
}

#[derive(Clone)]
struct Connection {
    client: Arc<Held>,
    /// That of the process before the connection was there.
    name: u32,
}

impl Connection {
    fn of(loan: Loan<'_>) -> Result<Self, StoreError> {
        let (client, name) = loan.into_parts()?;
        Ok(Self { client: Arc::new(Held(Some(client))), name })
    }

    fn client(&self) -> Result<&Object, StoreError> {
        self.client.0.as_ref().ok_or_else(lost_client)
    }
}

struct Sent {
    ticket: Ticket,
    answer: Answer,
    batch: Batch,
}

type Answer = Pin<Box<MaybeDone<Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>>>>;

impl WriteLane {
    pub(crate) fn new(own: OwnLane) -> Self {
        let (sent, ended) = (VecDeque::new(), VecDeque::new());
        Self { own: Arc::new(own), connection: None, sent, ended, tickets: 0, is_broken: false }
    }

    /// The lane for any other transaction, while nothing is on its way.
    pub(crate) fn idle(&self) -> Option<&OwnLane> {
        self.sent.is_empty().then_some(&*self.own)
    }

    /// Sends the transaction's batch and comes back without its answer, where it is all there is to it.
    fn send(
        &mut self,
        driver: Driver<'_>,
        connection: &Connection,
        tx: &mut PostgresTx<'_>,
        (cache, timeout): (&LedgerCache, Duration),
    ) -> Option<Ticket> {
        let (client, own) = (Arc::clone(&connection.client), connection.client().ok()?);
        let (write, batch) = tx.take_single()?;
        cache.sent(&batch.changed, batch.head);
        // What must be prepared first would be sent after what is sent behind it. If it fails, so does what follows.
        drop(driver.block_on(async { tokio::time::timeout(timeout, write.prepare(own)).await }));
        let work: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(async move {
            match &client.0 {
                Some(client) => write.run(client).await,
                // It is there until it is given back; without it nothing is known.
                None => future::pending().await,
            }
        });
        let mut answer: Answer = Box::pin(maybe_done(work));
        driver.block_on(async {
            future::poll_fn(|context| Poll::Ready(answer.as_mut().poll(context).is_ready())).await;
            // The task of the connection has its turn, and sends it.
            tokio::task::yield_now().await;
        });
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.sent.push_back(Sent { ticket, answer, batch });
        self.connection = Some(connection.clone());
        Some(ticket)
    }

    /// Waits for the oldest answer, but not for ever; false when `interruption` is over before.
    fn wait(&mut self, timeout: Duration, interruption: Interruption<'_>) -> bool {
        let own = Arc::clone(&self.own);
        let (Some((driver, _)), Some(oldest)) = (own.parts(), self.sent.front_mut()) else { return true };
        let answer = oldest.answer.as_mut();
        driver.block_on(async {
            tokio::select! {
                biased;
                _ = tokio::time::timeout(timeout, answer) => true,
                () = interruption => false,
            }
        })
    }
}

impl PostgresEngine {
    /// See [`florin_store::Engine::begin_write`].
    pub(crate) fn begin(&self, behind: Option<Ticket>, work: Work<'_>) -> Result<Begun, NotDone> {
        // Whoever left something on the lane waits for it: others give way while something is.
        let lane = if behind.is_some() { Some(self.write_lane.lock()) } else { self.write_lane.try_lock() };
        let Some(mut lane) = lane.filter(|lane| lane.sent.back().map(|sent| sent.ticket) == behind) else {
            return self.transact(Kind::Write, work).map(|()| Begun::Done).map_err(NotDone::Failed);
        };
        let own = Arc::clone(&lane.own);
        let (driver, pool) = own.parts().ok_or_else(lost_client).map_err(NotDone::Failed)?;
        let connection = match &lane.connection {
            Some(connection) => connection.clone(),
            None => self.borrow(driver, pool, Kind::Write).and_then(Connection::of).map_err(NotDone::Failed)?,
        };
        let client = connection.client().map_err(NotDone::Failed)?;
        let tx = PostgresTx::new(driver, client, Kind::Write, self.answer_timeout, &self.cache, true);
        let mut tx = if behind.is_some() { tx.behind() } else { tx };
        let result = work(&mut tx);
        if result.is_ok()
            && let Some(ticket) = lane.send(driver, &connection, &mut tx, (&self.cache, self.answer_timeout))
        {
            return Ok(Begun::UnderWay(ticket));
        }
        // It needs the end of the one before.
        let before = self.end_all(&mut lane);
        let came_to_nothing = before.is_err();
        let (ending, is_reusable) = tx.end(before.and(result));
        lane.is_broken |= !is_reusable;
        lane.connection = None;
        self.give_back(&mut lane, connection);
        match ended(ending) {
            Err(NotDone::Failed(error)) if came_to_nothing => Err(NotDone::Again(error)),
            end => end.map(|()| Begun::Done),
        }
    }

    /// See [`florin_store::Engine::end_write`].
    pub(crate) fn end(&self, ticket: Ticket, interruption: Interruption<'_>) -> Option<Result<(), NotDone>> {
        let mut lane = self.write_lane.lock();
        if let Some((_, end)) = lane.ended.pop_front_if(|(ended, _)| *ended == ticket) {
            return Some(end);
        }
        if lane.sent.front().is_none_or(|sent| sent.ticket != ticket) {
            let missing = StoreError::Internal(format!("no write {} is the next to end", ticket.0));
            return Some(Err(NotDone::Failed(missing)));
        }
        if !lane.wait(self.answer_timeout, interruption) {
            return None;
        }
        let end = self.take_end(&mut lane);
        if lane.sent.is_empty()
            && let Some(connection) = lane.connection.take()
        {
            self.give_back(&mut lane, connection);
        }
        end.map(|(_, end)| end)
    }

    /// Waits for all that is on its way; an error when any of it came to nothing.
    fn end_all(&self, lane: &mut WriteLane) -> Result<(), StoreError> {
        let mut all = Ok(());
        while !lane.sent.is_empty() {
            lane.wait(self.answer_timeout, pin!(future::pending()));
            let Some((ticket, end)) = self.take_end(lane) else { break };
            if end.is_err() {
                all = Err(StoreError::Unavailable("the batch before it came to nothing".to_owned()));
            }
            lane.ended.push_back((ticket, end));
        }
        all
    }

    /// The end of the oldest by its answer, which is there or came too late.
    fn take_end(&self, lane: &mut WriteLane) -> Option<(Ticket, Result<(), NotDone>)> {
        let Sent { ticket, mut answer, mut batch } = lane.sent.pop_front()?;
        let (ending, is_broken) = conclude(answer.as_mut().take_output(), &mut batch);
        batch.remember(&self.cache, &ending, is_broken);
        lane.is_broken |= is_broken;
        Some((ticket, ended(ending)))
    }

    fn give_back(&self, lane: &mut WriteLane, connection: Connection) {
        let is_reusable = !std::mem::take(&mut lane.is_broken);
        let client = Arc::into_inner(connection.client).and_then(|mut held| held.0.take());
        Loan::of(self, client, connection.name).give_back(is_reusable);
    }
}

fn ended(ending: Ending) -> Result<(), NotDone> {
    match ending {
        Ending::Done => Ok(()),
        Ending::Failed(error) => Err(NotDone::Failed(error)),
        Ending::Retry(error) | Ending::Conflict(error) => Err(NotDone::Again(error)),
    }
}

/// A connection that is closed, not pooled, unless it is taken out.
struct Held(Option<Object>);

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.0.take().map(Object::take));
    }
}
