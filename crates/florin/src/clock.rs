//! The machine's clock: the only place that asks for the time.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
#[cfg(debug_assertions)]
use std::{ffi::OsString, sync::LazyLock};

use florin_app::port::Clock;

/// How far a test has put the clock off, microseconds: what it wrote into the file that this variable names. Builds for
/// use do not look.
#[cfg(debug_assertions)]
fn offset_us() -> i64 {
    static FILE: LazyLock<Option<OsString>> = LazyLock::new(|| std::env::var_os("FLORIN_TEST_CLOCK_OFFSET_FILE"));
    let Some(file) = &*FILE else { return 0 };
    std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or_default()
}

#[cfg(not(debug_assertions))]
const fn offset_us() -> i64 {
    0
}

/// The machine's clock.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// Starts counting.
    #[expect(clippy::disallowed_methods, reason = "this is the port's one implementation over the machine")]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }
}

/// Time since the machine was started, that in which it slept included.
#[cfg(target_os = "linux")]
pub fn uptime() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Time since it was first asked for.
#[cfg(not(target_os = "linux"))]
pub fn uptime() -> Duration {
    static CLOCK: std::sync::LazyLock<SystemClock> = std::sync::LazyLock::new(SystemClock::start);
    CLOCK.start.elapsed()
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the port's one implementation over the machine")]
    fn now_us(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX).saturating_add(offset_us())
    }

    fn elapsed_us(&self) -> i64 {
        i64::try_from(self.start.elapsed().as_micros()).unwrap_or(i64::MAX)
    }
}
