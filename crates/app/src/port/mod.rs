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

/// Ids of one moment, each greater than the one before: for many at once.
pub(crate) struct NewIds {
    millis: u64,
    /// The last 74 bits of an id are random; these are counted on from a random start.
    tail: u64,
    head: [u8; 2],
}

pub(crate) fn new_ids(clock: &dyn Clock, rng: &dyn Rng) -> NewIds {
    let mut random = [0_u8; 10];
    rng.fill(&mut random);
    let [first, second, tail @ ..] = random;
    let millis = u64::try_from(clock.now_us() / 1000).unwrap_or_default();
    // The two highest bits of the tail make room for the variant; the next one for counting on.
    NewIds { millis, tail: u64::from_be_bytes(tail) >> 3, head: [first, second] }
}

impl NewIds {
    pub(crate) fn next_id(&mut self) -> Uuid {
        let mut random = [0_u8; 10];
        random[..2].copy_from_slice(&self.head);
        random[2..].copy_from_slice(&self.tail.to_be_bytes());
        self.tail += 1;
        uuid::Builder::from_unix_timestamp_millis(self.millis, &random).into_uuid()
    }
}

/// A time-ordered id (UUIDv7, RFC 9562 section 5.7).
pub fn new_id(clock: &dyn Clock, rng: &dyn Rng) -> Uuid {
    let mut random = [0_u8; 10];
    rng.fill(&mut random);
    let millis = u64::try_from(clock.now_us() / 1000).unwrap_or_default();
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    impl Clock for Fixed {
        fn now_us(&self) -> i64 {
            1_760_000_000_000_000
        }

        fn elapsed_us(&self) -> i64 {
            0
        }
    }

    impl Rng for Fixed {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(0xff);
        }
    }

    #[test]
    fn ids_of_one_moment_grow_and_are_of_version_seven() {
        let mut ids = new_ids(&Fixed, &Fixed);
        let made: Vec<Uuid> = (0..20_000).map(|_| ids.next_id()).collect();
        assert!(made.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(made.iter().all(|id| id.get_version_num() == 7 && id.get_variant() == uuid::Variant::RFC4122));
    }
}
