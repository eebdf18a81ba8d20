//! A node in process: the use cases on a database that others may use, too, at a time that stands still.

#![expect(clippy::unwrap_used, reason = "what cannot be started has failed the test")]

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use florin_app::{
    App, Parts, QueueSettings, Settings,
    port::{Clock, Rng},
};
use florin_store::Engine;
use tokio::{runtime::Builder, task::block_in_place};

use crate::service::settings;

/// A clock that stands still, in October 2025.
pub struct StoppedClock;

impl Clock for StoppedClock {
    fn now_us(&self) -> i64 {
        1_760_000_000_000_000
    }

    fn elapsed_us(&self) -> i64 {
        0
    }
}

struct Counter(AtomicU64);

impl Rng for Counter {
    fn fill(&self, bytes: &mut [u8]) {
        let next = self.0.fetch_add(1, Ordering::SeqCst).to_le_bytes();
        bytes.iter_mut().zip(next.iter().cycle()).for_each(|(byte, next)| *byte = *next);
    }
}

/// A node with a memory of its own; `writer` is its chain. Its ids are its own, too.
///
/// # Panics
/// It cannot be started, or this is no thread of a runtime with several: a test cannot go on.
#[must_use]
pub fn node(engine: Arc<dyn Engine>, writer: u16) -> Arc<App> {
    let parts = Parts {
        engine,
        clock: Arc::new(StoppedClock),
        rng: Arc::new(Counter(AtomicU64::new(u64::from(writer) << 32))),
        settings: Settings { writer, ..settings() },
        key_encryption_key: secrecy::SecretBox::new(Box::new([7; 32])),
        queue: QueueSettings::default(),
    };
    block_in_place(|| App::start(parts)).unwrap()
}

/// Runs a test on a runtime with two threads: one may block while another goes on.
///
/// # Panics
/// There are no threads for it.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(test)
}
