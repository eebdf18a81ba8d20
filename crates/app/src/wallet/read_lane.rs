//! Balances of single wallets, read together: whatever waits becomes one statement on one snapshot.
//!
//! There is no timer. A thread that is free reads a lone wallet at once; under load the requests that arrive during one
//! read are the next. A read begins after the requests that it answers arrived.

use std::{sync::Arc, thread};

use florin_ledger::{Account, AccountId};
use florin_store::{Engine, StoreError};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::Failure;

/// Threads that read. The second is there for when the first waits for a slow answer.
const THREADS: usize = 2;
/// Requests that may wait.
const WAITING_MAX: usize = 4096;
/// Wallets read at once.
const TOGETHER_MAX: usize = 256;

struct Waiting {
    id: AccountId,
    answer: oneshot::Sender<Result<Option<Account>, Failure>>,
}

/// The way to single balances. Dropping it answers what waits, and waits for that.
pub(crate) struct ReadLane {
    sender: Option<mpsc::Sender<Waiting>>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl ReadLane {
    /// Starts the threads.
    ///
    /// # Errors
    /// They cannot be started.
    pub(crate) fn start(engine: &Arc<dyn Engine>) -> Result<Self, Failure> {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let receiver = Arc::new(Mutex::new(receiver));
        let mut lane = Self { sender: Some(sender), threads: Vec::new() };
        for _ in 0..THREADS {
            let (engine, receiver) = (engine.clone(), receiver.clone());
            let thread = thread::Builder::new()
                .name("wallet-reader".to_owned())
                .spawn(move || serve(&*engine, &receiver))
                .map_err(|error| Failure::Internal(format!("a reader of wallets cannot start: {error}")))?;
            lane.threads.push(thread);
        }
        Ok(lane)
    }

    /// The account as it is at some moment between the call and the answer.
    ///
    /// # Errors
    /// [`Failure::Unavailable`] when too much waits already, and those of the engine.
    pub(crate) async fn find_account(&self, id: AccountId) -> Result<Option<Account>, Failure> {
        let stopping = || Failure::Unavailable("the server is stopping".to_owned());
        let (answer, receiver) = oneshot::channel();
        let sender = self.sender.as_ref().ok_or_else(stopping)?;
        sender.try_send(Waiting { id, answer }).map_err(|_| {
            metrics::counter!("florin_pool_refused_total", "pool" => "wallet reads").increment(1);
            Failure::Unavailable("too much waits for reads of wallets".to_owned())
        })?;
        receiver.await.unwrap_or_else(|_| Err(stopping()))
    }
}

impl Drop for ReadLane {
    fn drop(&mut self) {
        self.sender = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn serve(engine: &dyn Engine, receiver: &Mutex<mpsc::Receiver<Waiting>>) {
    let mut waiting = Vec::new();
    loop {
        {
            let mut receiver = receiver.lock();
            let Some(first) = receiver.blocking_recv() else { return };
            waiting.push(first);
            while waiting.len() < TOGETHER_MAX {
                let Ok(next) = receiver.try_recv() else { break };
                waiting.push(next);
            }
        }
        // Callers that went away need no answer.
        waiting.retain(|one| !one.answer.is_closed());
        if !waiting.is_empty() {
            answer(engine, &mut waiting);
        }
    }
}

fn answer(engine: &dyn Engine, waiting: &mut Vec<Waiting>) {
    let mut ids: Vec<AccountId> = waiting.iter().map(|one| one.id).collect();
    ids.sort_unstable();
    ids.dedup();
    match engine.read_accounts(&ids) {
        Ok(accounts) => {
            for one in waiting.drain(..) {
                let _ = one.answer.send(Ok(accounts.get(&one.id).cloned()));
            }
        }
        // One row that cannot be read is no reason to refuse its neighbours.
        Err(error) if ids.len() > 1 && !matches!(error, StoreError::Unavailable(_)) => {
            for one in waiting.drain(..) {
                let account = engine.read_accounts(&[one.id]).map(|mut accounts| accounts.remove(&one.id));
                let _ = one.answer.send(account.map_err(Failure::from));
            }
        }
        Err(error) => {
            let text = error.to_string();
            for one in waiting.drain(..) {
                let failure = match &error {
                    StoreError::Unavailable(_) => Failure::Unavailable(text.clone()),
                    _ => Failure::Internal(text.clone()),
                };
                let _ = one.answer.send(Err(failure));
            }
        }
    }
}
