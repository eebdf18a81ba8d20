//! Deposits beside a storm of sign-ins.

use std::sync::Arc;

use serde_json::{Value, json};

use super::Options;
use super::client::{Request, new_histogram};
use super::open_loop::{Ending, Offer, Phase, Sample, stretch};
use super::run::{Run, Scenario, latency_json, percentiles, rounded};
use super::spread::{Spread, ratio_between};
use super::target::{Target, next_run_number};
use crate::{Outcome, api, florin};

/// Deposits beside sign-ins.
#[derive(Debug, Default)]
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

impl Storm {
    /// Deposits beside sign-ins over deposits alone.
    pub fn ratio(&self) -> Option<Spread> {
        let [beside, alone] = [&self.beside, &self.alone].map(|runs| runs.iter().collect::<Vec<_>>());
        ratio_between(&beside, &alone)
    }

    /// For people.
    pub fn line(&self) -> String {
        let (Some(ratio), Some(sign_ins)) = (self.ratio(), Spread::of(self.sign_ins_per_s.clone())) else {
            return String::new();
        };
        format!(
            "Deposits beside a storm of sign-ins / alone: {:.2} ({:.2}–{:.2}), {:.0} sign-ins/s (≥ 0.80).\n",
            ratio.median, ratio.low, ratio.high, sign_ins.median
        )
    }

    /// For the file of raw figures.
    pub fn to_json(&self) -> Value {
        json!({
            "alone": self.alone.iter().map(Run::to_json).collect::<Vec<_>>(),
            "beside": self.beside.iter().map(Run::to_json).collect::<Vec<_>>(),
            "sign_ins_per_second": self.sign_ins_per_s,
            "sign_in_latency_ms": self.sign_in_latency_ms.map(latency_json),
            "ratio": self.ratio().map(Spread::to_json),
        })
    }
}

/// Measures one engine.
///
/// # Errors
/// A wrong answer under load.
pub fn measure(options: &Options, server: &florin::Server, target: &Target<'_>) -> Outcome<Storm> {
    // Somebody else: a user keeps so many sessions, and the deposits' must stay.
    let (username, password) = ("storm", api::PASSWORD);
    server.api().register(username, password)?;
    let mut storm = Storm::default();
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
    let mut latency = new_histogram()?;
    for sample in samples.iter().filter(|sample| sample.ending == Ending::Applied) {
        latency.saturating_record(sample.latency_us);
    }
    Ok(percentiles(&latency))
}
