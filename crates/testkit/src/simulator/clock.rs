//! The simulation's time: it moves when it is told to, and jumps both ways.

use std::sync::atomic::{AtomicI64, Ordering};

use florin_app::port::Clock;

/// Where every simulation begins, microseconds since the Unix epoch, UTC.
const START_US: i64 = 1_760_000_000_000_000;

/// A clock on which nobody waits.
#[derive(Debug)]
pub struct SimulatedClock {
    now_us: AtomicI64,
    elapsed_us: AtomicI64,
}

impl SimulatedClock {
    /// At the beginning.
    #[must_use]
    pub fn start() -> Self {
        Self { now_us: AtomicI64::new(START_US), elapsed_us: AtomicI64::new(0) }
    }

    /// Sets the time of day off by so much, microseconds; durations do not see it.
    pub fn jump_us(&self, by_us: i64) {
        self.now_us.fetch_add(by_us, Ordering::SeqCst);
    }
}

impl Clock for SimulatedClock {
    fn now_us(&self) -> i64 {
        self.now_us.load(Ordering::SeqCst)
    }

    fn elapsed_us(&self) -> i64 {
        self.elapsed_us.load(Ordering::SeqCst)
    }

    fn pause_us(&self, us: u64) {
        let us = i64::try_from(us).unwrap_or(i64::MAX);
        self.now_us.fetch_add(us, Ordering::SeqCst);
        self.elapsed_us.fetch_add(us, Ordering::SeqCst);
    }
}
