//! What the use cases ask of the world outside: time and randomness are passed in, never taken.

use uuid::Uuid;

/// The time.
pub trait Clock: Send + Sync + 'static {
    /// Microseconds since the Unix epoch, UTC. May jump both ways.
    fn now_us(&self) -> i64;

    /// Microseconds since some start; only grows. For measuring durations.
    fn elapsed_us(&self) -> i64;

    /// Waits so long, microseconds, on a thread that may block. Where time is simulated nobody waits.
    fn pause_us(&self, us: u64) {
        std::thread::sleep(std::time::Duration::from_micros(us));
    }
}

/// Randomness fit for secrets.
pub trait Rng: Send + Sync + 'static {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);
}

/// A time-ordered id (UUIDv7, RFC 9562 section 5.7).
pub fn new_id(clock: &dyn Clock, rng: &dyn Rng) -> Uuid {
    let mut random = [0_u8; 10];
    rng.fill(&mut random);
    let millis = u64::try_from(clock.now_us() / 1000).unwrap_or_default();
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}
