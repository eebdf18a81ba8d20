//! More than the server can do: deposits offered from a quarter to twice its capacity, and a storm of sign-ins.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::client::Request;
use super::machine::Usage;
use super::open_loop::{Offer, Phase, Sample, Stretch, recovery, stretch};
use super::run::{Run, Scenario, latency_json, percentiles, rounded};
use super::spread::{Spread, ratio_between};
use super::target::{Target, next_run_number};
use super::{Options, judge};
use crate::{Outcome, api, florin, postgres, process};

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

/// Deposits beside sign-ins.
#[derive(Debug)]
pub struct Storm {
    /// Deposits alone, one run a round.
    pub alone: Vec<Run>,
    /// Deposits with sign-ins beside them, one run a round.
    pub beside: Vec<Run>,
    /// Sign-ins granted a second, one figure a round.
    pub sign_ins_per_s: Vec<f64>,
    /// Percentiles of the last round's sign-ins, milliseconds.
    pub sign_in_latency_ms: Option<[f64; 4]>,
}

/// What was found on one engine.
#[derive(Debug)]
pub struct OverloadReport {
    /// `sqlite` or `postgres`.
    pub engine: &'static str,
    /// Deposits a second in a closed loop.
    pub capacity: f64,
    /// From the lowest load to the highest.
    pub steps: Vec<Step>,
    /// From the fall of the load to ordinary latencies, seconds; none if they never came.
    pub recovery_s: Option<f64>,
    /// The most memory that the server used, megabytes.
    pub most_memory_mb: f64,
    /// The sign-ins.
    pub storm: Storm,
}

impl OverloadReport {
    /// Applied at twice the capacity, over the most that was applied at any load.
    pub fn kept(&self) -> Option<f64> {
        let best = self.steps.iter().map(|step| step.found.applied_per_s).max_by(f64::total_cmp)?;
        let last = self.steps.last()?.found.applied_per_s;
        (best > 0.0).then(|| last / best)
    }

    /// Deposits beside sign-ins over deposits alone.
    pub fn storm_ratio(&self) -> Option<Spread> {
        let [beside, alone] = [&self.storm.beside, &self.storm.alone].map(|runs| runs.iter().collect::<Vec<_>>());
        ratio_between(&beside, &alone)
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut text = format!(
            "\n{}: capacity {:.0}/s in a closed loop of {PROBES} connections, queue of {QUEUE}\n\n\
             | offered | applied/s | 503 | not sent | p99 of applied | memory | CPU s cli/srv/db |\n\
             |---|---|---|---|---|---|---|\n",
            self.engine, self.capacity
        );
        for Step { share, found, usage, memory_mb, .. } in &self.steps {
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
        let recovery = self.recovery_s.map_or("never".to_owned(), |seconds| format!("after {seconds:.1} s"));
        let kept = self.kept().map_or("–".to_owned(), |kept| format!("{kept:.2}"));
        text += &format!(
            "\nAt twice the capacity {kept} of the best throughput (≥ 0.90). Well again {recovery} (≤ 1 s). Memory at \
             most {:.0} MB.\n",
            self.most_memory_mb
        );
        if let (Some(ratio), Some(sign_ins)) = (self.storm_ratio(), Spread::of(self.storm.sign_ins_per_s.clone())) {
            text += &format!(
                "Deposits beside a storm of sign-ins / alone: {:.2} ({:.2}–{:.2}), {:.0} sign-ins/s.\n",
                ratio.median, ratio.low, ratio.high, sign_ins.median
            );
        }
        text
    }

    /// For the file of raw figures.
    pub fn to_json(&self) -> Value {
        let steps = self.steps.iter().map(|step| {
            json!({
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
            "recovery_seconds": self.recovery_s,
            "most_memory_mb": rounded(self.most_memory_mb),
            "storm": {
                "alone": self.storm.alone.iter().map(Run::to_json).collect::<Vec<_>>(),
                "beside": self.storm.beside.iter().map(Run::to_json).collect::<Vec<_>>(),
                "sign_ins_per_second": self.storm.sign_ins_per_s,
                "sign_in_latency_ms": self.storm.sign_in_latency_ms.map(latency_json),
                "ratio": self.storm_ratio().map(Spread::to_json),
            },
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
    let mut steps = Vec::new();
    for share in SHARES {
        steps.push(step(options, &target, capacity, share)?);
    }
    let recovery_s = fall(options, &target, capacity)?;
    let most_memory_mb = target.memory_mb().1;
    let storm = storm(options, &server, &target)?;
    let engine = if database.is_some() { judge::POSTGRES } else { judge::SQLITE };
    Ok(OverloadReport { engine, capacity, steps, recovery_s, most_memory_mb, storm })
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

fn step(options: &Options, target: &Target<'_>, capacity: f64, share: f64) -> Outcome<Step> {
    eprintln!("bench: deposits offered at {share} of the capacity");
    let whole = phase(capacity, share, options.warm_up() + options.run_time());
    let mut before = target.usage();
    let samples = offer(options, target, vec![whole], || before = target.usage())?;
    let usage = target.usage().since(before);
    let found = stretch(&samples, options.warm_up().as_secs_f64(), whole.time.as_secs_f64());
    Ok(Step { share, offered: whole.rate, found, usage, memory_mb: target.memory_mb().0 })
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

fn storm(options: &Options, server: &florin::Server, target: &Target<'_>) -> Outcome<Storm> {
    // Somebody else: a user keeps so many sessions, and the deposits' must stay.
    let (username, password) = ("storm", api::PASSWORD);
    server.api().register(username, password)?;
    let mut storm =
        Storm { alone: Vec::new(), beside: Vec::new(), sign_ins_per_s: Vec::new(), sign_in_latency_ms: None };
    let body = json!({"username": username, "password": password}).to_string();
    let sign_in = Request::new("POST", "/api/auth/token/", target.token(), &body, false);
    for round in 1..=options.rounds {
        storm.alone.push(target.run(Scenario::Deposit, round)?);
        eprintln!("bench: round {round}: sign-ins beside them");
        let time = options.warm_up() + options.run_time();
        // As many as can be asked for: the connections, not the rate, are the bound.
        let offer = Offer {
            port: target.port(),
            connections: options.connections,
            requests: Arc::new(vec![sign_in.clone()]),
            phases: vec![Phase { rate: 5000, time }],
            run_number: next_run_number(),
        };
        let sign_ins = target.runtime().spawn(offer.run(|| {}));
        storm.beside.push(target.run(Scenario::Deposit, round)?);
        let samples = target.runtime().block_on(sign_ins)??;
        let (from, to) = (options.warm_up().as_secs_f64(), time.as_secs_f64());
        storm.sign_ins_per_s.push(rounded(stretch(&samples, from, to).applied_per_s));
        storm.sign_in_latency_ms = Some(answered(&samples)?);
    }
    Ok(storm)
}

/// Percentiles of what was answered 200, from when it was sent: a closed loop has no earlier due time.
fn answered(samples: &[Sample]) -> Outcome<[f64; 4]> {
    let mut latency = super::client::new_histogram()?;
    for sample in samples.iter().filter(|sample| sample.ending == super::open_loop::Ending::Applied) {
        latency.saturating_record(sample.latency_us);
    }
    Ok(percentiles(&latency))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(share: f64, applied_per_s: f64) -> Step {
        let found = Stretch { applied_per_s, refused_percent: 0.0, given_up_percent: 0.0, p99_ms: 1.0 };
        Step { share, offered: 1, found, usage: Usage::default(), memory_mb: 1.0 }
    }

    #[test]
    fn what_is_kept_is_measured_against_the_best_step() {
        let storm =
            Storm { alone: Vec::new(), beside: Vec::new(), sign_ins_per_s: Vec::new(), sign_in_latency_ms: None };
        let report = OverloadReport {
            engine: judge::SQLITE,
            capacity: 100.0,
            steps: vec![step(0.5, 50.0), step(1.0, 100.0), step(2.0, 93.0)],
            recovery_s: None,
            most_memory_mb: 1.0,
            storm,
        };
        assert_eq!(report.kept(), Some(0.93));
        assert!(report.table().contains("Well again never"), "{}", report.table());
    }
}
