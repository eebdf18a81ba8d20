//! The rate limit: requests of a user in the last hour.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;
use uuid::Uuid;

use crate::Throttle;

const HOUR_US: i64 = 3_600_000_000;
/// How many requests are counted between two sweeps of users who have gone quiet.
const SWEEP_EVERY: u32 = 4096;

/// One sliding window a user. Memory is bounded by the limits times the users of the last hour.
pub(crate) struct Throttling {
    limits: Throttle,
    windows: Mutex<Windows>,
}

#[derive(Default)]
struct Windows {
    /// Times of counted requests, oldest first; microseconds since the Unix epoch, UTC.
    by_user: HashMap<Uuid, VecDeque<i64>>,
    since_sweep: u32,
}

impl Throttling {
    pub(crate) fn new(limits: Throttle) -> Self {
        Self { limits, windows: Mutex::new(Windows::default()) }
    }

    /// Counts a request, or refuses it with the seconds to wait. A refused request is not counted.
    pub(crate) fn count(&self, user: Uuid, is_read: bool, now_us: i64) -> Result<(), u64> {
        let limit = if is_read { self.limits.reads_per_hour } else { self.limits.writes_per_hour };
        let mut windows = self.windows.lock();
        windows.sweep(now_us);
        let times = windows.by_user.entry(user).or_default();
        while times.front().is_some_and(|time| *time <= now_us - HOUR_US) {
            times.pop_front();
        }
        if times.len() < limit {
            times.push_back(now_us);
            return Ok(());
        }
        // The request is welcome again when fewer than `limit` are left in the window.
        let decisive = times.get(times.len() - limit).or(times.back()).copied().unwrap_or(now_us);
        let wait_us = (decisive + HOUR_US - now_us).clamp(1, HOUR_US);
        Err(u64::try_from(wait_us).unwrap_or_default().div_ceil(1_000_000))
    }
}

impl Windows {
    fn sweep(&mut self, now_us: i64) {
        self.since_sweep += 1;
        if self.since_sweep >= SWEEP_EVERY {
            self.since_sweep = 0;
            self.by_user.retain(|_, times| times.back().is_some_and(|time| *time > now_us - HOUR_US));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_US: i64 = 1_000_000;

    #[test]
    fn reads_and_writes_share_one_window() {
        let throttling = Throttling::new(Throttle { reads_per_hour: 200, writes_per_hour: 100 });
        let user = Uuid::from_u128(1);
        for _ in 0..100 {
            assert_eq!(throttling.count(user, false, 0), Ok(()));
        }
        assert_eq!(throttling.count(user, false, 2 * SECOND_US), Err(3598));
        assert_eq!(throttling.count(user, false, 2 * SECOND_US), Err(3598));
        for _ in 0..100 {
            assert_eq!(throttling.count(user, true, 3 * SECOND_US), Ok(()));
        }
        assert_eq!(throttling.count(user, true, 4 * SECOND_US), Err(3596));
        // 200 in the window: the write waits until the later hundred is gone, too.
        assert_eq!(throttling.count(user, false, 4 * SECOND_US), Err(3599));
        assert_eq!(throttling.count(Uuid::from_u128(2), false, 4 * SECOND_US), Ok(()));
        assert_eq!(throttling.count(user, true, HOUR_US), Ok(()));
    }

    #[test]
    fn a_limit_of_zero_refuses_everything() {
        let throttling = Throttling::new(Throttle { reads_per_hour: 0, writes_per_hour: 0 });
        assert_eq!(throttling.count(Uuid::nil(), true, 0), Err(3600));
    }
}
