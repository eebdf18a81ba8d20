//! How failed sign-ins slow down the next ones: by account, never for good.

/// Failures after which the next attempt has to wait.
pub const FREE_FAILURES: u32 = 5;
/// Longest wait, microseconds: a quarter of an hour. Nobody can lock out others for longer.
pub const WAIT_MAX_US: i64 = 15 * 60 * SECOND_US;
/// How long after the last failure all of them are forgotten, microseconds.
pub const FORGET_AFTER_US: i64 = 24 * 3600 * SECOND_US;
/// The same for fewer than [`FREE_FAILURES`]: whoever guesses four times an hour is no faster than one who waits, and
/// counters of names that somebody made up do not pile up for a day.
pub const FORGET_FEW_AFTER_US: i64 = 3600 * SECOND_US;

const SECOND_US: i64 = 1_000_000;
/// 2^10 seconds are more than the longest wait.
const DOUBLINGS_MAX: u32 = 10;

/// The failed sign-ins under one name since the last one that went well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Failures {
    /// How many.
    pub count: u32,
    /// When the last was, microseconds since the Unix epoch, UTC.
    pub last_at_us: i64,
}

impl Failures {
    /// How long until the next attempt is looked at, microseconds; 0 if it may come now.
    ///
    /// 1 s × 2ⁿ after the fifth failure, up to [`WAIT_MAX_US`].
    #[must_use]
    pub fn wait_us(self, now_us: i64) -> i64 {
        if self.count < FREE_FAILURES || self.are_forgotten(now_us) {
            return 0;
        }
        let doublings = (self.count - FREE_FAILURES).min(DOUBLINGS_MAX);
        let wait_us = (SECOND_US << doublings).min(WAIT_MAX_US);
        // A clock that went back makes nobody wait longer than the wait itself.
        let passed_us = now_us.saturating_sub(self.last_at_us).max(0);
        wait_us.saturating_sub(passed_us).max(0)
    }

    /// With one more failure, at `now_us`.
    #[must_use]
    pub fn with_another(self, now_us: i64) -> Self {
        let before = if self.are_forgotten(now_us) { 0 } else { self.count };
        Self { count: before.saturating_add(1), last_at_us: now_us }
    }

    fn are_forgotten(self, now_us: i64) -> bool {
        let after_us = if self.count < FREE_FAILURES { FORGET_FEW_AFTER_US } else { FORGET_AFTER_US };
        now_us.saturating_sub(self.last_at_us) > after_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000 * SECOND_US;

    #[test]
    fn waits_are_decided_by_the_table() {
        let table = [
            ("never failed", 0, 0, 0),
            ("four times", 4, 0, 0),
            ("five times", 5, 0, SECOND_US),
            ("five times, almost over", 5, SECOND_US - 1, 1),
            ("five times, over", 5, SECOND_US, 0),
            ("six times", 6, 0, 2 * SECOND_US),
            ("fourteen times", 14, 0, 512 * SECOND_US),
            ("fifteen times", 15, 0, WAIT_MAX_US),
            ("so many that doubling would overflow", u32::MAX, 0, WAIT_MAX_US),
            ("many, a quarter of an hour ago", 500, WAIT_MAX_US, 0),
            ("many, though the clock went back", 500, -3600 * SECOND_US, WAIT_MAX_US),
            ("long ago", 500, FORGET_AFTER_US + 1, 0),
        ];
        for (what, count, ago_us, expected_us) in table {
            let failures = Failures { count, last_at_us: NOW - ago_us };
            assert_eq!(failures.wait_us(NOW), expected_us, "{what}");
        }
    }

    #[test]
    fn failures_add_up_until_they_are_forgotten() {
        let one = Failures::default().with_another(NOW);
        assert_eq!(one, Failures { count: 1, last_at_us: NOW });
        assert_eq!(one.with_another(NOW + FORGET_FEW_AFTER_US).count, 2);
        assert_eq!(one.with_another(NOW + FORGET_FEW_AFTER_US + 1).count, 1);
        let five = Failures { count: 5, last_at_us: NOW };
        assert_eq!(five.with_another(NOW + FORGET_AFTER_US).count, 6);
        assert_eq!(five.with_another(NOW + FORGET_AFTER_US + 1).count, 1);
        assert_eq!(Failures { count: u32::MAX, last_at_us: NOW }.with_another(NOW).count, u32::MAX);
    }
}
