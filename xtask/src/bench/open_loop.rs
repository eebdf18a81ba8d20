//! An open loop: requests are due at fixed times, whether or not the answers keep up.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Barrier;

use super::client::{Choice, Connection, Request};

/// A request that found no free connection for so long is given up: a client would have gone away.
const GIVE_UP: Duration = Duration::from_millis(100);

/// So many a second, for so long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Phase {
    /// Requests a second.
    pub rate: u32,
    /// How long.
    pub time: Duration,
}

/// How one request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// 200.
    Applied,
    /// 503.
    Refused,
    /// No connection was free in time: never sent.
    GivenUp,
}

/// One request: when it was due since the beginning, and how long after that it had its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Microseconds.
    pub due_us: u64,
    /// Microseconds.
    pub latency_us: u64,
    /// How it ended.
    pub ending: Ending,
}

/// What to offer.
#[derive(Debug, Clone)]
pub struct Offer {
    /// Port of the server on 127.0.0.1.
    pub port: u16,
    /// Connections at most; each carries one request at a time.
    pub connections: u32,
    /// One of these at random each time.
    pub requests: Arc<Vec<Request>>,
    /// One after the other.
    pub phases: Vec<Phase>,
    /// Sets apart the keys of this run.
    pub run_number: u32,
}

impl Offer {
    /// Runs to the end; `on_start` is called when the first request is due.
    ///
    /// # Errors
    /// Any answer but 200 and 503, and any trouble with a connection.
    pub async fn run(self, on_start: impl FnOnce()) -> io::Result<Vec<Sample>> {
        let everybody = Arc::new(Barrier::new(usize::try_from(self.connections).unwrap_or_default() + 1));
        let next = Arc::new(AtomicU64::new(0));
        let offer = Arc::new(self);
        let mut tasks = Vec::new();
        for number in 0..offer.connections {
            let (offer, next, everybody) = (Arc::clone(&offer), Arc::clone(&next), Arc::clone(&everybody));
            tasks.push(tokio::spawn(async move {
                let connection = Connection::open(offer.port).await;
                everybody.wait().await;
                offer.work(number, connection?, &next).await
            }));
        }
        everybody.wait().await;
        on_start();
        let mut samples = Vec::new();
        for task in tasks {
            samples.extend(task.await.map_err(io::Error::other)??);
        }
        Ok(samples)
    }

    async fn work(&self, number: u32, mut connection: Connection, next: &AtomicU64) -> io::Result<Vec<Sample>> {
        let begin = Instant::now();
        let mut choice = Choice(u64::from(number) + 1);
        let (mut bytes, mut samples) = (Vec::new(), Vec::new());
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(due) = due_of(&self.phases, place) else { return Ok(samples) };
            tokio::time::sleep_until((begin + due).into()).await;
            let due_us = micros(due);
            let lateness = begin.elapsed().saturating_sub(due);
            if lateness > GIVE_UP {
                samples.push(Sample { due_us, latency_us: micros(lateness), ending: Ending::GivenUp });
                continue;
            }
            let key = (u128::from(self.run_number) << 96) | u128::from(place);
            choice.from(&self.requests).render(&mut bytes, key);
            let ending = match connection.exchange(&bytes).await?.status {
                200 => Ending::Applied,
                503 => Ending::Refused,
                status => {
                    let answer = String::from_utf8_lossy(connection.body()).into_owned();
                    return Err(io::Error::other(format!("the server answered {status} under load: {answer}")));
                }
            };
            let latency_us = micros(begin.elapsed().saturating_sub(due));
            samples.push(Sample { due_us, latency_us, ending });
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// When request `place` is due; none after the last phase.
fn due_of(phases: &[Phase], place: u64) -> Option<Duration> {
    let (mut begin, mut place) = (Duration::ZERO, place);
    for phase in phases {
        let count = u64::from(phase.rate) * micros(phase.time) / 1_000_000;
        if place < count {
            return Some(begin + Duration::from_nanos(place * 1_000_000_000 / u64::from(phase.rate.max(1))));
        }
        place -= count;
        begin += phase.time;
    }
    None
}

/// What a stretch of time came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stretch {
    /// Applied operations a second.
    pub applied_per_s: f64,
    /// Refused, of those that were sent: hundredths.
    pub refused_percent: f64,
    /// Not even sent, of those that were due: hundredths.
    pub given_up_percent: f64,
    /// Of applied operations, from when they were due: milliseconds.
    pub p99_ms: f64,
}

/// Over what was due in `[from, to)`, seconds since the beginning.
pub fn stretch(samples: &[Sample], from: f64, to: f64) -> Stretch {
    let due_s = |sample: &Sample| as_figure(sample.due_us) / 1e6;
    let within: Vec<&Sample> = samples.iter().filter(|one| (from..to).contains(&due_s(one))).collect();
    let count = |ending: Ending| as_figure(within.iter().filter(|one| one.ending == ending).count() as u64);
    let (applied, refused) = (count(Ending::Applied), count(Ending::Refused));
    let share = |part: f64, whole: f64| if whole > 0.0 { 100.0 * part / whole } else { 0.0 };
    let mut latencies: Vec<u64> =
        within.iter().filter(|one| one.ending == Ending::Applied).map(|one| one.latency_us).collect();
    latencies.sort_unstable();
    let p99 = latencies.get((latencies.len() * 99).div_ceil(100).saturating_sub(1)).copied().unwrap_or_default();
    Stretch {
        applied_per_s: applied / (to - from),
        refused_percent: share(refused, applied + refused),
        given_up_percent: share(count(Ending::GivenUp), as_figure(within.len() as u64)),
        p99_ms: as_figure(p99) / 1000.0,
    }
}

/// How long after `fall` it is as well again as in the calm stretch `calm` (all of them seconds since the beginning):
/// from then on, for a second, one window of a tenth of a second is unwell at the most, or as many as were in the worst
/// second of the calm: flushes and checkpoints pause an ordinary load, too. A window is unwell in which something was
/// refused or not sent, or whose p99 is above `limit_ms`. In tenths; none if that never comes up to `end`.
pub fn recovery(samples: &[Sample], calm: (f64, f64), fall: f64, end: f64, limit_ms: f64) -> Option<f64> {
    const SECOND: usize = 10;
    let windows = |from: f64, to: f64| -> Vec<bool> {
        // Counted in tenths, which are no binary fractions.
        let tenths = (from * 10.0).round() as u32..(to * 10.0).round() as u32;
        let second = |tenth: u32| f64::from(tenth) / 10.0;
        tenths.map(|tenth| is_well(samples, (second(tenth), second(tenth + 1)), limit_ms)).collect()
    };
    let unwell = |windows: &[bool]| windows.iter().filter(|is_well| !**is_well).count();
    let before = windows(calm.0, calm.1);
    let most = before.windows(SECOND.min(before.len()).max(1)).map(unwell).max().unwrap_or_default().max(1);
    let after = windows(fall, end);
    let first = after.windows(SECOND).position(|some| some[0] && unwell(some) <= most)?;
    Some(f64::from(u32::try_from(first).ok()?) / 10.0)
}

fn is_well(samples: &[Sample], (from, to): (f64, f64), limit_ms: f64) -> bool {
    let here = stretch(samples, from, to);
    here.applied_per_s > 0.0 && here.refused_percent == 0.0 && here.given_up_percent == 0.0 && here.p99_ms <= limit_ms
}

/// A count as a figure, exact below 2^32 and saturated above.
fn as_figure(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(due_ms: u64, latency_ms: u64, ending: Ending) -> Sample {
        Sample { due_us: due_ms * 1000, latency_us: latency_ms * 1000, ending }
    }

    #[test]
    fn requests_are_due_evenly_and_phases_follow_each_other() {
        let second = Duration::from_secs(1);
        let phases = [Phase { rate: 4, time: second }, Phase { rate: 2, time: second }];
        let due: Vec<_> = (0..7).map(|place| due_of(&phases, place).map(|due| due.as_millis())).collect();
        assert_eq!(due, [Some(0), Some(250), Some(500), Some(750), Some(1000), Some(1500), None]);
    }

    #[test]
    fn a_stretch_counts_what_was_due_in_it() {
        let mut samples: Vec<Sample> = (0..100).map(|place| sample(place * 10, place, Ending::Applied)).collect();
        samples.extend((0..25).map(|place| sample(place * 40, 0, Ending::Refused)));
        samples.extend([sample(500, 100, Ending::GivenUp), sample(1500, 9999, Ending::Applied)]);
        let found = stretch(&samples, 0.0, 1.0);
        assert_eq!((found.applied_per_s, found.refused_percent, found.p99_ms), (100.0, 20.0, 98.0));
        assert!((found.given_up_percent - 100.0 / 126.0).abs() < 1e-9);
        assert_eq!(stretch(&[], 0.0, 1.0).p99_ms, 0.0);
    }

    #[test]
    fn recovery_is_when_it_is_as_well_as_before() {
        let calm = (0.0, 0.5);
        let due = |place: u64| place * 10;
        // Slow in the tenths of a second whose numbers are given; the load is high from 0.5 to 1.
        let slow_in = |tenths: &[u64]| -> Vec<Sample> {
            let latency = |place: u64| if tenths.contains(&(place / 10)) { 500 } else { 2 };
            (0..300).map(|place| sample(due(place), latency(place), Ending::Applied)).collect()
        };
        let found = |tenths: &[u64]| recovery(&slow_in(tenths), calm, 1.0, 3.0, 10.0);
        let is = |found: Option<f64>, expected: f64| found.is_some_and(|found| (found - expected).abs() < 1e-9);
        assert!(is(found(&[]), 0.0));
        assert!(is(found(&[10, 11, 12]), 0.3));
        assert!(is(found(&[10, 11, 12, 15]), 0.3), "one pause in a second is nothing");
        assert!(is(found(&[10, 11, 12, 15, 17]), 0.6), "it was calm before without so many pauses");
        assert!(is(found(&[2, 4, 10, 11, 12, 15, 17]), 0.3), "it paused before, too");
        assert_eq!(found(&[10, 12, 14, 16, 18, 20, 22, 24, 26, 28]), None);
        let mut refused = slow_in(&[]);
        refused[105].ending = Ending::Refused;
        assert!(is(recovery(&refused, calm, 1.0, 3.0, 10.0), 0.1));
    }
}
