//! More than the server can do: deposits offered from a quarter to twice its capacity.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::machine::Usage;
use super::open_loop::{Offer, Phase, Sample, Stretch, recovery, stretch};
use super::run::{Scenario, rounded};
use super::spread::Spread;
use super::storm::{self, Storm};
use super::target::{Target, next_run_number};
use super::{Options, judge};
use crate::{Outcome, florin, postgres, process};

/// What is offered, as shares of the capacity.
const SHARES: [f64; 7] = [0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0];

/// Before the load rises and after it has fallen, as a share of the capacity.
const CALM: f64 = 0.5;

/// Connections that find out the capacity.
const PROBES: u32 = 256;

/// A p99 within this is well, whatever it was before: milliseconds.
const WELL_MS: f64 = 20.0;

/// The queue in front of the writer: shorter than the default, so that it is the queue that is full and not the
/// connections of the client.
const QUEUE: &str = "512";

/// What the server did at one load.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// 1, 2, 3 …
    pub round: u32,
    /// Of the capacity.
    pub share: f64,
    /// Offered a second.
    pub offered: u32,
    /// What came of it.
    pub found: Stretch,
    /// Processor seconds of everybody.
    pub usage: Usage,
    /// Memory of the server, megabytes.
    pub memory_mb: f64,
}

/// What was found on one engine.
#[derive(Debug)]
pub struct OverloadReport {
    /// `sqlite` or `postgres`.
    pub engine: &'static str,
    /// Deposits a second in a closed loop.
    pub capacity: f64,
    /// Every load in every round.
    pub steps: Vec<Step>,
    /// From the fall of the load to ordinary latencies, seconds, one figure a round; none if they never came.
    pub recoveries_s: Vec<Option<f64>>,
    /// The most memory that the server used, megabytes.
    pub most_memory_mb: f64,
    /// The sign-ins.
    pub storm: Storm,
}

impl OverloadReport {
    /// From the lowest load to the highest, the round in the middle by what was applied.
    pub fn medians(&self) -> Vec<Step> {
        let median = |share: f64| {
            let mut steps: Vec<Step> = self.steps.iter().copied().filter(|step| step.share == share).collect();
            steps.sort_by(|one, other| one.found.applied_per_s.total_cmp(&other.found.applied_per_s));
            steps.get(steps.len() / 2).copied()
        };
        SHARES.into_iter().filter_map(median).collect()
    }

    /// Applied at twice the capacity, over the most that was applied at any load: medians of all rounds.
    pub fn kept(&self) -> Option<f64> {
        let medians = self.medians();
        let best = medians.iter().map(|step| step.found.applied_per_s).max_by(f64::total_cmp)?;
        let last = medians.last()?.found.applied_per_s;
        (best > 0.0).then(|| last / best)
    }

    /// The median; none if in most rounds it never was well again.
    pub fn recovery_s(&self) -> Option<f64> {
        let never = f64::INFINITY;
        let all = self.recoveries_s.iter().map(|recovery| recovery.unwrap_or(never)).collect();
        Spread::of(all).map(|spread| spread.median).filter(|median| median.is_finite())
    }

    /// For people.
    pub fn table(&self) -> String {
        if self.steps.is_empty() {
            return format!("\n{}: {}", self.engine, self.storm.line());
        }
        let mut text = format!(
            "\n{}: capacity {:.0}/s in a closed loop of {PROBES} connections, queue of {QUEUE}\n\n\
             | offered | applied/s | 503 | not sent | p99 of applied | memory | CPU s cli/srv/db |\n\
             |---|---|---|---|---|---|---|\n",
            self.engine, self.capacity
        );
        for Step { share, found, usage, memory_mb, .. } in &self.medians() {
            text += &format!(
                "| {share:.2}× | {:.0} | {:.1} % | {:.1} % | {:.1} ms | {memory_mb:.0} MB | {:.1}/{:.1}/{:.1} |\n",
                found.applied_per_s,
                found.refused_percent,
                found.given_up_percent,
                found.p99_ms,
                usage.client_s,
                usage.server_s,
                usage.database_s
            );
        }
        let recovery = self.recovery_s().map_or("never".to_owned(), |seconds| format!("after {seconds:.1} s"));
        let kept = self.kept().map_or("–".to_owned(), |kept| format!("{kept:.2}"));
        text += &format!(
            "\nAt twice the capacity {kept} of the best throughput (≥ 0.90). Well again {recovery} (≤ 1 s). Memory at \
             most {:.0} MB.\n",
            self.most_memory_mb
        );
        text += &self.storm.line();
        text
    }

    /// For the file of raw figures.
    pub fn to_json(&self) -> Value {
        let steps = self.steps.iter().map(|step| {
            json!({
                "round": step.round,
                "share": step.share,
                "offered_per_second": step.offered,
                "applied_per_second": rounded(step.found.applied_per_s),
                "refused_percent": rounded(step.found.refused_percent),
                "not_sent_percent": rounded(step.found.given_up_percent),
                "p99_ms": rounded(step.found.p99_ms),
                "cpu_seconds": step.usage.to_json(),
                "server_rss_mb": rounded(step.memory_mb),
            })
        });
        json!({
            "engine": self.engine,
            "capacity_per_second": rounded(self.capacity),
            "queue_capacity": QUEUE,
            "steps": steps.collect::<Vec<_>>(),
            "kept_at_twice_the_capacity": self.kept().map(rounded),
            "recovery_seconds": self.recoveries_s,
            "most_memory_mb": rounded(self.most_memory_mb),
            "storm": self.storm.to_json(),
        })
    }
}

/// Measures one engine.
///
/// # Errors
/// When something cannot be started, or the server answers anything but 200 and 503.
pub fn measure(options: &Options, binary: &Path, database: Option<&postgres::Server>) -> Outcome<OverloadReport> {
    let url = database.map(|database| database.url("overload"));
    if let Some(database) = database {
        database.sql("postgres", "CREATE DATABASE overload")?;
    }
    let place = florin::Place::new(binary, "overload", url.as_deref())?.with("FLORIN_QUEUE_CAPACITY", QUEUE);
    if database.is_some() {
        place.migrate()?;
    }
    let server = place.start()?;
    let target = Target::with_new_wallets(options, &server, database)?;
    let capacity = target.run(Scenario::DepositWide(PROBES), 0)?.rate;
    let (mut steps, mut recoveries_s) = (Vec::new(), Vec::new());
    let rounds = if options.storm { 0 } else { options.rounds };
    for round in 1..=rounds {
        // Up and down in turns: what grows from run to run, such as the tables, favours no load.
        let mut shares = SHARES;
        if round % 2 == 0 {
            shares.reverse();
        }
        for share in shares {
            steps.push(step(options, &target, capacity, (round, share))?);
        }
        recoveries_s.push(fall(options, &target, capacity)?);
    }
    let most_memory_mb = target.memory_mb().1;
    let storm = storm::measure(options, &server, &target)?;
    let engine = if database.is_some() { judge::POSTGRES } else { judge::SQLITE };
    Ok(OverloadReport { engine, capacity, steps, recoveries_s, most_memory_mb, storm })
}

fn phase(capacity: f64, share: f64, time: Duration) -> Phase {
    // Saturates, and no capacity comes near.
    let rate = (capacity * share).max(1.0) as u32;
    Phase { rate, time }
}

fn offer(options: &Options, target: &Target<'_>, phases: Vec<Phase>, on_start: impl FnOnce()) -> Outcome<Vec<Sample>> {
    if process::is_interrupted() {
        return Err("interrupted".into());
    }
    let offer = Offer {
        port: target.port(),
        connections: options.overload_connections,
        requests: target.requests(Scenario::DepositKeyed),
        phases,
        run_number: next_run_number(),
    };
    Ok(target.runtime().block_on(offer.run(on_start))?)
}

fn step(options: &Options, target: &Target<'_>, capacity: f64, (round, share): (u32, f64)) -> Outcome<Step> {
    eprintln!("bench: round {round}: deposits offered at {share} of the capacity");
    let whole = phase(capacity, share, options.warm_up() + options.run_time());
    let mut before = target.usage();
    let samples = offer(options, target, vec![whole], || before = target.usage())?;
    let usage = target.usage().since(before);
    let found = stretch(&samples, options.warm_up().as_secs_f64(), whole.time.as_secs_f64());
    Ok(Step { round, share, offered: whole.rate, found, usage, memory_mb: target.memory_mb().0 })
}

/// Calm, twice the capacity, calm: how long until it is as before.
fn fall(options: &Options, target: &Target<'_>, capacity: f64) -> Outcome<Option<f64>> {
    eprintln!("bench: the load rises to twice the capacity and falls");
    let time = options.run_time();
    let phases = [CALM, 2.0, CALM].map(|share| phase(capacity, share, time));
    let samples = offer(options, target, phases.to_vec(), || {})?;
    let seconds = time.as_secs_f64();
    let calm = (seconds / 2.0, seconds);
    let limit_ms = (stretch(&samples, calm.0, calm.1).p99_ms * 2.0).max(WELL_MS);
    Ok(recovery(&samples, calm, seconds * 2.0, seconds * 3.0, limit_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(round: u32, share: f64, applied_per_s: f64) -> Step {
        let found = Stretch { applied_per_s, refused_percent: 0.0, given_up_percent: 0.0, p99_ms: 1.0 };
        Step { round, share, offered: 1, found, usage: Usage::default(), memory_mb: 1.0 }
    }

    #[test]
    fn what_is_kept_is_measured_against_the_best_load() {
        let rounds = (1..).zip([[50.0, 100.0, 93.0], [40.0, 130.0, 60.0], [45.0, 90.0, 95.0]]);
        let steps = rounds.flat_map(|(round, [half, whole, twice])| {
            [step(round, 0.5, half), step(round, 1.0, whole), step(round, 2.0, twice)]
        });
        let mut report = OverloadReport {
            engine: judge::SQLITE,
            capacity: 100.0,
            steps: steps.collect(),
            recoveries_s: vec![None, Some(0.3), None],
            most_memory_mb: 1.0,
            storm: Storm::default(),
        };
        assert_eq!(report.kept(), Some(0.93));
        assert!(report.table().contains("Well again never"), "{}", report.table());
        report.recoveries_s = vec![None, Some(0.3), Some(0.2)];
        assert_eq!(report.recovery_s(), Some(0.3));
    }
}
