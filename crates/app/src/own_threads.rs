//! Threads of their own for work that takes a processor for long: few of them, and no more waiting than agreed.
//!
//! Few also because each keeps the memory that it worked with: on many threads that take turns, a load of batches kept
//! gigabytes.
//!
//! A password's hash takes a core for tens of milliseconds. A storm of sign-ins must not take the processor from the
//! ledger, so the threads for hashes have a small share where others want the same processor. Even on a processor that
//! nobody else wants they slow the ledger down: who is woken on an idle one begins sooner than who must drive a hash
//! away. So while the ledger is at work, each hash is followed by a rest. Neither can keep a hash from ever being done.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
};

use parking_lot::{Condvar, Mutex};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::{Failure, port::Clock, priority};

/// How often the time that a piece of work took is rested after it while the ledger is at work.
const RESTS: i64 = 4;
/// The longest rest, microseconds.
const REST_MAX_US: i64 = 250_000;

type Job = Box<dyn FnOnce() + Send>;

/// What threads are for.
pub(crate) struct Duty {
    /// Their name.
    pub(crate) name: &'static str,
    /// The work, for measurements and for people.
    pub(crate) work: &'static str,
    /// How much they stand back behind others.
    pub(crate) niceness: i32,
    /// When they rest, if they do.
    pub(crate) pace: Option<Pace>,
}

/// The threads. They end when this is dropped, after what waits.
pub(crate) struct OwnThreads {
    work: &'static str,
    places: Arc<Semaphore>,
    line: Arc<Line>,
}

/// Says when to rest.
pub(crate) struct Pace {
    pub(crate) clock: Arc<dyn Clock>,
    /// Whether the ledger is at work.
    pub(crate) is_ledger_busy: Box<dyn Fn() -> bool + Send + Sync>,
}

impl Pace {
    fn rest_after(&self, begun_us: i64) {
        if (self.is_ledger_busy)() {
            let took_us = self.clock.elapsed_us() - begun_us;
            let rest_us = took_us.saturating_mul(RESTS).clamp(0, REST_MAX_US);
            self.clock.pause_us(rest_us.unsigned_abs());
        }
    }
}

/// What waits for the threads.
#[derive(Default)]
struct Line {
    state: Mutex<State>,
    told: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    is_closed: bool,
}

impl OwnThreads {
    /// So many threads, and so many pieces of work that may wait for them.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub(crate) fn start(duty: Duty, at_once: usize, waiting: usize) -> Result<Self, Failure> {
        let (at_once, work) = (at_once.max(1), duty.work);
        let places = at_once.saturating_add(waiting).min(Semaphore::MAX_PERMITS);
        let threads = Self { work, places: Arc::new(Semaphore::new(places)), line: Arc::default() };
        let duty = Arc::new(duty);
        for _ in 0..at_once {
            let (line, duty) = (Arc::clone(&threads.line), Arc::clone(&duty));
            thread::Builder::new()
                .name(duty.name.to_owned())
                .spawn(move || line.work_off(&duty))
                .map_err(|error| Failure::Internal(format!("a thread for {work} cannot start: {error}")))?;
        }
        Ok(threads)
    }

    /// Runs `work` on one of the threads; what nobody waits for any more is not begun.
    ///
    /// # Errors
    /// [`Failure::Unavailable`] at once when too much waits.
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
        let place = self.places.clone().try_acquire_owned().map_err(|_| {
            metrics::counter!("florin_pool_refused_total", "pool" => self.work).increment(1);
            Failure::Unavailable(format!("too much waits for {}", self.work))
        })?;
        self.run_in(Some(place), work).await
    }

    /// As [`OwnThreads::run`], for what follows on work that took effect: it needs no place, and is never refused.
    pub(crate) async fn run_accepted<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        self.run_in(None, work).await
    }

    async fn run_in<T: Send + 'static>(
        &self,
        place: Option<OwnedSemaphorePermit>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let (answer, result) = oneshot::channel();
        let job = move || {
            if !answer.is_closed() {
                let _ = answer.send(work());
            }
            drop(place);
        };
        self.line.state.lock().jobs.push_back(Box::new(job));
        self.line.told.notify_one();
        result.await.map_err(|_| Failure::Internal(format!("a thread for {} gave up", self.work)))
    }
}

impl Drop for OwnThreads {
    fn drop(&mut self) {
        self.line.state.lock().is_closed = true;
        self.line.told.notify_all();
    }
}

impl Line {
    fn work_off(&self, duty: &Duty) {
        priority::lower_by(duty.niceness);
        while let Some(job) = self.next() {
            let begun_us = duty.pace.as_ref().map(|pace| pace.clock.elapsed_us());
            // Its caller sees that no answer came; the next one must find the thread alive.
            if catch_unwind(AssertUnwindSafe(job)).is_err() {
                tracing::error!(work = duty.work, "a piece of work panicked");
            }
            if let Some((pace, begun_us)) = duty.pace.as_ref().zip(begun_us) {
                pace.rest_after(begun_us);
            }
        }
    }

    /// What has waited longest, once something waits; none when there will be nothing more.
    fn next(&self) -> Option<Job> {
        let mut state = self.state.lock();
        self.told.wait_while(&mut state, |state| state.jobs.is_empty() && !state.is_closed);
        state.jobs.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
        mpsc::{Sender, channel},
    };

    use tokio::task::JoinHandle;

    use super::*;

    /// Time stands still but for work that moves it, and for rests, which are counted.
    #[derive(Default)]
    struct Steps {
        now_us: AtomicI64,
        rested_us: AtomicU64,
    }

    impl Clock for Steps {
        fn now_us(&self) -> i64 {
            self.now_us.load(Ordering::SeqCst)
        }

        fn elapsed_us(&self) -> i64 {
            self.now_us()
        }

        fn pause_us(&self, us: u64) {
            self.rested_us.fetch_add(us, Ordering::SeqCst);
        }
    }

    const NICENESS: i32 = 7;

    fn duty(pace: Option<Pace>) -> Duty {
        Duty { name: "florin-test", work: "tests", niceness: NICENESS, pace }
    }

    /// Has one thread at work until it is released; then its work comes to 1.
    async fn occupy(threads: &Arc<OwnThreads>) -> (Sender<()>, JoinHandle<Result<i32, Failure>>) {
        let (release, blocked) = channel::<()>();
        let (started, running) = oneshot::channel();
        let threads = threads.clone();
        let work = move || {
            started.send(()).unwrap();
            blocked.recv().unwrap();
            1
        };
        let first = tokio::spawn(async move { threads.run(work).await });
        running.await.unwrap();
        (release, first)
    }

    #[tokio::test]
    async fn what_does_not_fit_is_refused_at_once_and_fits_again_later() {
        let threads = Arc::new(OwnThreads::start(duty(None), 1, 1).unwrap());
        let (release, first) = occupy(&threads).await;
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
        let threads = OwnThreads::start(duty(None), 1, 1).unwrap();
        let failed = threads.run(|| std::panic::resume_unwind(Box::new(()))).await;
        assert!(matches!(failed, Err::<(), _>(Failure::Internal(_))));
        assert_eq!(threads.run(|| 4).await.unwrap(), 4);
    }

    #[tokio::test]
    async fn a_hash_is_followed_by_a_rest_while_the_ledger_is_at_work() {
        let (clock, is_busy) = (Arc::new(Steps::default()), Arc::new(AtomicBool::new(false)));
        let said = Arc::clone(&is_busy);
        let is_ledger_busy = Box::new(move || said.load(Ordering::SeqCst));
        let threads = OwnThreads::start(duty(Some(Pace { clock: clock.clone(), is_ledger_busy })), 1, 1).unwrap();
        let work = |took_us| {
            let clock = clock.clone();
            move || {
                clock.now_us.fetch_add(took_us, Ordering::SeqCst);
                clock.rested_us.load(Ordering::SeqCst)
            }
        };
        threads.run(work(20_000)).await.unwrap();
        assert_eq!(threads.run(work(20_000)).await.unwrap(), 0, "the ledger has nothing to do");
        is_busy.store(true, Ordering::SeqCst);
        threads.run(work(20_000)).await.unwrap();
        let rested = threads.run(work(3_000_000)).await.unwrap();
        assert!((80_000..=160_000).contains(&rested), "{rested}");
        assert_eq!(threads.run(work(0)).await.unwrap(), rested + 250_000);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_threads_stand_back_and_nobody_else_does() {
        let niceness = || rustix::process::getpriority_process(None).unwrap();
        let own = niceness();
        let threads = OwnThreads::start(duty(None), 1, 1).unwrap();
        assert_eq!(threads.run(niceness).await.unwrap(), (own + NICENESS).min(19));
        assert_eq!(niceness(), own);
    }
}
