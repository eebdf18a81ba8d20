//! Threads for password hashes: few of them, behind requests in priority, and no more waiting than agreed.
//!
//! A hash takes a core for tens of milliseconds. A storm of sign-ins must not take the processor from the ledger, so
//! these threads run at a lower priority where the system has one for threads.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};

use crate::Failure;

/// Added to the niceness: a third of the weight of an ordinary thread on a busy Linux.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 5;

type Job = Box<dyn FnOnce() + Send>;

/// The threads. They end when this is dropped, after what they are at.
pub(crate) struct HashThreads {
    places: Arc<Semaphore>,
    jobs: Sender<Job>,
}

impl HashThreads {
    /// So many threads, and so many pieces of work that may wait for them.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub(crate) fn start(at_once: usize, waiting: usize) -> Result<Self, Failure> {
        let at_once = at_once.max(1);
        let (jobs, receiver) = channel();
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..at_once {
            let receiver = receiver.clone();
            thread::Builder::new()
                .name("florin-password".to_owned())
                .spawn(move || work_off(&receiver))
                .map_err(|error| Failure::Internal(format!("a thread for passwords cannot start: {error}")))?;
        }
        let places = at_once.saturating_add(waiting).min(Semaphore::MAX_PERMITS);
        Ok(Self { places: Arc::new(Semaphore::new(places)), jobs })
    }

    /// Runs `work` on one of the threads; what nobody waits for any more is not begun.
    ///
    /// # Errors
    /// [`Failure::Unavailable`] at once when too much waits.
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
        let place = self.places.clone().try_acquire_owned().map_err(|_| {
            metrics::counter!("florin_pool_refused_total", "pool" => "password hashes").increment(1);
            Failure::Unavailable("too much waits for password hashes".to_owned())
        })?;
        let (answer, result) = oneshot::channel();
        let job = move || {
            if !answer.is_closed() {
                let _ = answer.send(work());
            }
            drop(place);
        };
        let ended = || Failure::Internal("a password could not be hashed".to_owned());
        self.jobs.send(Box::new(job)).map_err(|_| ended())?;
        result.await.map_err(|_| ended())
    }
}

fn work_off(receiver: &Mutex<Receiver<Job>>) {
    stand_back();
    loop {
        let job = receiver.lock().recv();
        let Ok(job) = job else { return };
        // Its caller sees that no answer came; the next one must find the thread alive.
        if catch_unwind(AssertUnwindSafe(job)).is_err() {
            tracing::error!("hashing a password panicked");
        }
    }
}

/// Lowers the priority of this thread alone. Where that is refused, the hashes run as ordinary work.
#[cfg(target_os = "linux")]
fn stand_back() {
    let own = rustix::process::getpriority_process(None);
    let lowered = own.and_then(|own| rustix::process::setpriority_process(None, own + NICENESS));
    if let Err(error) = lowered {
        tracing::debug!(%error, "password hashes run at ordinary priority");
    }
}

#[cfg(not(target_os = "linux"))]
fn stand_back() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_does_not_fit_is_refused_at_once_and_fits_again_later() {
        let threads = Arc::new(HashThreads::start(1, 1).unwrap());
        let (release, blocked) = channel::<()>();
        let (started, running) = oneshot::channel();
        let first = tokio::spawn({
            let threads = threads.clone();
            async move {
                let work = move || {
                    started.send(()).unwrap();
                    blocked.recv().unwrap();
                    1
                };
                threads.run(work).await
            }
        });
        running.await.unwrap();
        let mut second = Box::pin(threads.run(|| 2));
        let waits = std::future::poll_fn(|context| std::task::Poll::Ready(second.as_mut().poll(context).is_pending()));
        assert!(waits.await);
        assert!(matches!(threads.run(|| 3).await, Err(Failure::Unavailable(_))));
        release.send(()).unwrap();
        assert_eq!(first.await.unwrap().unwrap(), 1);
        assert_eq!(second.await.unwrap(), 2);
        assert_eq!(threads.run(|| 4).await.unwrap(), 4);
    }

    #[tokio::test]
    async fn a_panic_costs_its_caller_alone() {
        let threads = HashThreads::start(1, 1).unwrap();
        let failed = threads.run(|| std::panic::resume_unwind(Box::new(()))).await;
        assert!(matches!(failed, Err::<(), _>(Failure::Internal(_))));
        assert_eq!(threads.run(|| 4).await.unwrap(), 4);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_threads_stand_back_and_nobody_else_does() {
        let own = rustix::process::getpriority_process(None).unwrap();
        let threads = HashThreads::start(1, 1).unwrap();
        let theirs = threads.run(|| rustix::process::getpriority_process(None).unwrap()).await.unwrap();
        assert_eq!(theirs, (own + NICENESS).min(19));
        assert_eq!(rustix::process::getpriority_process(None).unwrap(), own);
    }
}
