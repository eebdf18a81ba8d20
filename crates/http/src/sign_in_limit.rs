//! Failed sign-ins of one client address: one address does not try a password under a thousand names.
//!
//! What one name suffers is counted in the database; this is counted in the memory of the node.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, RandomState},
};

use parking_lot::Mutex;

use crate::client_address::ClientAddress;

const WINDOW_US: i64 = 10 * 60 * 1_000_000;
/// Addresses that are remembered; the quietest are forgotten first. About 400 bytes each at the usual limit.
const ADDRESSES_MAX: usize = 16_384;

/// One sliding window an address.
pub(crate) struct SignInLimit {
    failures_max: usize,
    /// Of different names: who mistypes tries one name again, who guesses tries many.
    names_max: usize,
    hasher: RandomState,
    by_address: Mutex<HashMap<ClientAddress, Failures>>,
}

/// Time in microseconds since the Unix epoch, UTC, and the name's hash; oldest first.
type Failures = VecDeque<(i64, u64)>;

impl SignInLimit {
    pub(crate) fn new(failures_max: u32) -> Self {
        let failures_max = usize::try_from(failures_max).unwrap_or(usize::MAX);
        let names_max = failures_max.div_ceil(2);
        Self { failures_max, names_max, hasher: RandomState::new(), by_address: Mutex::default() }
    }

    /// Refuses an attempt from where too many failed, with the seconds to wait, whatever name it gives.
    pub(crate) fn check(&self, address: ClientAddress, now_us: i64) -> Result<(), u64> {
        let by_address = self.by_address.lock();
        let Some(failures) = by_address.get(&address) else { return Ok(()) };
        let failures: Vec<_> = failures.iter().copied().filter(|(time_us, _)| is_recent(*time_us, now_us)).collect();
        // Welcome again when so many of the oldest are over that the others are within the limits.
        let over = (0..failures.len()).take_while(|skipped| self.is_reached(&failures[*skipped..])).last();
        let Some((decisive_us, _)) = over.and_then(|index| failures.get(index)) else { return Ok(()) };
        let wait_us = (decisive_us + WINDOW_US - now_us).clamp(1, WINDOW_US);
        Err(u64::try_from(wait_us).unwrap_or_default().div_ceil(1_000_000))
    }

    /// Counts a failure under that name. Attempts that are looked at when the limit is reached are counted too, so
    /// there are never more than passwords can be checked or wait for it at once.
    pub(crate) fn count(&self, address: ClientAddress, name: &str, now_us: i64) {
        let name = self.hasher.hash_one(name);
        let mut by_address = self.by_address.lock();
        make_room(&mut by_address, now_us);
        let failures = by_address.entry(address).or_default();
        failures.push_back((now_us, name));
        // More than reach the limit tell nothing more.
        while failures.len() > self.failures_max {
            failures.pop_front();
        }
    }

    fn is_reached(&self, failures: &[(i64, u64)]) -> bool {
        let mut names: Vec<u64> = failures.iter().map(|(_, name)| *name).collect();
        names.sort_unstable();
        names.dedup();
        failures.len() >= self.failures_max || names.len() >= self.names_max
    }
}

/// A clock that went back does not make anybody wait longer.
fn is_recent(time_us: i64, now_us: i64) -> bool {
    now_us.abs_diff(time_us) < WINDOW_US.unsigned_abs()
}

/// Forgets what is over where the table is full, and if that is not enough, half of the addresses: those that failed
/// least.
fn make_room(by_address: &mut HashMap<ClientAddress, Failures>, now_us: i64) {
    if by_address.len() < ADDRESSES_MAX {
        return;
    }
    by_address.retain(|_, failures| failures.back().is_some_and(|(time_us, _)| is_recent(*time_us, now_us)));
    if by_address.len() < ADDRESSES_MAX / 2 {
        return;
    }
    let mut counts: Vec<usize> = by_address.values().map(VecDeque::len).collect();
    counts.sort_unstable();
    let median = counts.get(counts.len() / 2).copied().unwrap_or_default();
    let mut surplus = by_address.len() - ADDRESSES_MAX / 2;
    by_address.retain(|_, failures| {
        let goes = surplus > 0 && failures.len() <= median;
        surplus -= usize::from(goes);
        !goes
    });
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    const NOW: i64 = 1_800_000_000_000_000;
    const SECOND_US: i64 = 1_000_000;

    fn address(number: u32) -> ClientAddress {
        IpAddr::V4(Ipv4Addr::from_bits(number)).into()
    }

    #[test]
    fn twenty_failures_in_ten_minutes_are_enough() {
        let limit = SignInLimit::new(20);
        for second in 0..20 {
            assert_eq!(limit.check(address(1), NOW + second * SECOND_US), Ok(()));
            limit.count(address(1), "alice", NOW + second * SECOND_US);
        }
        assert_eq!(limit.check(address(1), NOW + 20 * SECOND_US), Err(580));
        assert_eq!(limit.check(address(2), NOW + 20 * SECOND_US), Ok(()));
        assert_eq!(limit.check(address(1), NOW + 600 * SECOND_US - 1), Err(1));
        assert_eq!(limit.check(address(1), NOW + 600 * SECOND_US), Ok(()));
        limit.count(address(1), "alice", NOW + 600 * SECOND_US);
        assert_eq!(limit.check(address(1), NOW + 600 * SECOND_US), Err(1));
    }

    #[test]
    fn ten_names_are_enough_and_one_name_is_one() {
        let limit = SignInLimit::new(20);
        for name in ["a", "b", "b", "c", "d", "e", "f", "g", "h", "i", "i"] {
            assert_eq!(limit.check(address(1), NOW), Ok(()));
            limit.count(address(1), name, NOW);
        }
        assert_eq!(limit.check(address(1), NOW), Ok(()));
        limit.count(address(1), "j", NOW + SECOND_US);
        assert_eq!(limit.check(address(1), NOW + SECOND_US), Err(599));
        assert_eq!(limit.check(address(1), NOW + 600 * SECOND_US), Ok(()));
    }

    #[test]
    fn a_clock_that_went_back_locks_nobody_out() {
        let limit = SignInLimit::new(1);
        limit.count(address(1), "alice", NOW);
        assert_eq!(limit.check(address(1), NOW - 3600 * SECOND_US), Ok(()));
        assert_eq!(limit.check(address(1), NOW - SECOND_US), Err(600));
    }

    #[test]
    fn many_addresses_take_bounded_memory_and_the_worst_are_kept() {
        let limit = SignInLimit::new(20);
        for _ in 0..20 {
            limit.count(address(0), "alice", NOW);
        }
        for number in 1..100_000 {
            limit.count(address(number), "alice", NOW);
            assert!(limit.by_address.lock().len() <= ADDRESSES_MAX);
        }
        assert_eq!(limit.check(address(0), NOW), Err(600));
        limit.count(address(1), "alice", NOW + 600 * SECOND_US);
        for number in 0..u32::try_from(ADDRESSES_MAX).unwrap() {
            limit.count(address(number), "alice", NOW + 600 * SECOND_US);
        }
        assert!(limit.by_address.lock().len() <= ADDRESSES_MAX);
    }
}
