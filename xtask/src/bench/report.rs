//! What came out: medians with their spread, ratios within a round, a table and the raw figures.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::scenario::{Run, Scenario};
use super::{Options, machine};
use crate::Outcome;
use crate::process::{find_program, must_capture, root};

/// The runs on one engine.
#[derive(Debug)]
pub struct EngineReport {
    /// `sqlite` or `postgres`.
    pub name: &'static str,
    /// With its version.
    pub database: String,
    /// In the order in which they were made.
    pub runs: Vec<Run>,
}

/// Everything of one call.
#[derive(Debug)]
pub struct Report {
    date: String,
    florin: String,
    settings: Value,
    /// By engine.
    pub engines: Vec<EngineReport>,
}

/// A median and what it is the median of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The middle one.
    pub median: f64,
    /// The lowest.
    pub low: f64,
    /// The highest.
    pub high: f64,
}

impl Spread {
    /// Of these figures; none of none.
    pub fn of(mut figures: Vec<f64>) -> Option<Self> {
        figures.sort_by(f64::total_cmp);
        let (low, high) = (*figures.first()?, *figures.last()?);
        let middle = figures.len() / 2;
        let median =
            if figures.len() % 2 == 1 { figures[middle] } else { f64::midpoint(figures[middle - 1], figures[middle]) };
        Some(Self { median, low, high })
    }
}

impl EngineReport {
    /// The scenarios, in the order of their first run.
    pub fn scenarios(&self) -> Vec<Scenario> {
        let mut scenarios = Vec::new();
        for run in &self.runs {
            if !scenarios.contains(&run.scenario) {
                scenarios.push(run.scenario);
            }
        }
        scenarios
    }

    /// A figure of this scenario over the quiet runs; over all of them if none was quiet.
    pub fn spread(&self, scenario: Scenario, figure: impl Fn(&Run) -> Option<f64>) -> Option<Spread> {
        let runs = || self.runs.iter().filter(|run| run.scenario == scenario);
        let quiet = runs().filter(|run| !run.is_disturbed).filter_map(&figure).collect();
        Spread::of(quiet).or_else(|| Spread::of(runs().filter_map(&figure).collect()))
    }

    /// `above` over `below`, taken within each round. Of several references the best of the round counts; a round is
    /// quiet when all of its runs that are concerned were.
    fn ratio(&self, above: Scenario, below: &[Scenario]) -> Option<Spread> {
        let mut all = Vec::new();
        let mut quiet = Vec::new();
        for top in self.runs.iter().filter(|run| run.scenario == above) {
            let references: Vec<&Run> =
                self.runs.iter().filter(|run| run.round == top.round && below.contains(&run.scenario)).collect();
            let Some(best) = references.iter().map(|run| run.rate).max_by(f64::total_cmp) else { continue };
            if best > 0.0 {
                all.push(top.rate / best);
                if !top.is_disturbed && references.iter().all(|run| !run.is_disturbed) {
                    quiet.push(top.rate / best);
                }
            }
        }
        Spread::of(quiet).or_else(|| Spread::of(all))
    }

    fn ratios(&self) -> Vec<(&'static str, Spread)> {
        let pgbench: Vec<Scenario> =
            self.scenarios().into_iter().filter(|scenario| matches!(scenario, Scenario::Pgbench(_))).collect();
        [
            ("deposit / ping", self.ratio(Scenario::Deposit, &[Scenario::Ping])),
            ("deposit, hot / deposit", self.ratio(Scenario::DepositHot, &[Scenario::Deposit])),
            ("read / ping", self.ratio(Scenario::Read, &[Scenario::Ping])),
            ("deposit / pgbench (best of 8 and 32 clients)", self.ratio(Scenario::Deposit, &pgbench)),
        ]
        .into_iter()
        .filter_map(|(name, spread)| Some((name, spread?)))
        .collect()
    }

    fn table(&self) -> String {
        let mut out = format!("\n{} ({})\n", self.name, self.database);
        let _ = writeln!(
            out,
            "{:<22}{:>10}{:>19}{:>9}{:>9}{:>9}{:>9}{:>21}{:>7}",
            "", "per s", "lowest–highest", "p50 ms", "p99", "p99.9", "max", "CPU s cli/srv/db", "quiet"
        );
        for scenario in self.scenarios() {
            out.push_str(&self.row(scenario));
        }
        for (name, Spread { median, low, high }) in self.ratios() {
            let _ = writeln!(out, "{name:<46}{median:>8.2}  ({low:.2}–{high:.2})");
        }
        out
    }

    fn row(&self, scenario: Scenario) -> String {
        let mut row = format!("{:<22}", scenario.name());
        if let Some(Spread { median, low, high }) = self.spread(scenario, |run| Some(run.rate)) {
            let _ = write!(row, "{median:>10.0}{:>19}", format!("{low:.0}–{high:.0}"));
        }
        for place in 0..4 {
            let spread = self.spread(scenario, |run| run.latency_ms.map(|latency| latency[place]));
            let text = spread.map_or_else(|| "–".to_owned(), |spread| format!("{:.2}", spread.median));
            let _ = write!(row, "{text:>9}");
        }
        let median = |figure: fn(&Run) -> f64| {
            self.spread(scenario, |run| Some(figure(run))).map_or(0.0, |spread| spread.median)
        };
        let (client, server) = (median(|run| run.usage.client_s), median(|run| run.usage.server_s));
        let cpu = format!("{client:.1}/{server:.1}/{:.1}", median(|run| run.usage.database_s));
        let runs = || self.runs.iter().filter(|run| run.scenario == scenario);
        let quiet = format!("{}/{}", runs().filter(|run| !run.is_disturbed).count(), runs().count());
        let _ = writeln!(row, "{cpu:>21}{quiet:>7}");
        row
    }

    fn to_json(&self) -> Value {
        let ratios = self.ratios().into_iter().map(|(name, spread)| {
            (name.to_owned(), json!({"median": spread.median, "low": spread.low, "high": spread.high}))
        });
        json!({
            "engine": self.name,
            "database": self.database,
            "ratios": ratios.collect::<serde_json::Map<_, _>>(),
            "runs": self.runs.iter().map(Run::to_json).collect::<Vec<_>>(),
        })
    }
}

impl Report {
    /// Everything that was measured now by `florin` (its version line).
    ///
    /// # Errors
    /// When the machine has no `date`.
    pub fn new(options: &Options, florin: String, engines: Vec<EngineReport>) -> Outcome<Self> {
        let date = must_capture(std::process::Command::new("date").args(["-u", "+%Y-%m-%dT%H-%M-%SZ"]))?;
        let settings = json!({
            "seconds": options.seconds,
            "warm_up_seconds": options.warm_up_seconds,
            "rounds": options.rounds,
            "connections": options.connections,
            "client_threads": options.client_threads,
            "wallets": options.wallets,
            "idempotency_keys": options.keys,
            "rate": options.rate,
            "dev_build": options.dev_build,
        });
        Ok(Self { date: date.trim().to_owned(), florin, settings, engines })
    }

    /// When it was made, fit for a file's name.
    pub fn date_for_file(&self) -> &str {
        &self.date
    }

    /// For people.
    pub fn table(&self) -> String {
        let medians = "Medians over the quiet rounds; ratios are taken within a round.";
        self.engines
            .iter()
            .fold(format!("\n{}, {}\n{medians}\n", self.florin, self.date), |out, engine| out + &engine.table())
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let commit = find_program("git").and_then(|git| {
            must_capture(std::process::Command::new(git).current_dir(root()).args(["describe", "--always", "--dirty"]))
                .ok()
        });
        json!({
            "date": self.date,
            "florin": self.florin,
            "commit": commit.map(|name| name.trim().to_owned()),
            "client": "xtask bench, closed loop on kept HTTP/1.1 connections",
            "machine": machine::describe(),
            "settings": self.settings,
            "engines": self.engines.iter().map(EngineReport::to_json).collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::machine::Usage;
    use super::*;

    fn run(scenario: Scenario, round: u32, rate: f64, is_disturbed: bool) -> Run {
        Run { scenario, round, rate, latency_ms: None, usage: Usage::default(), is_disturbed }
    }

    fn report(runs: Vec<Run>) -> EngineReport {
        EngineReport { name: "sqlite", database: String::new(), runs }
    }

    #[test]
    fn medians_and_their_spread() {
        assert_eq!(Spread::of(vec![3.0, 1.0, 2.0]), Some(Spread { median: 2.0, low: 1.0, high: 3.0 }));
        assert_eq!(Spread::of(vec![4.0, 1.0]), Some(Spread { median: 2.5, low: 1.0, high: 4.0 }));
        assert_eq!(Spread::of(vec![]), None);
    }

    #[test]
    fn a_ratio_is_taken_within_its_round() {
        let runs = vec![
            run(Scenario::Ping, 1, 100.0, false),
            run(Scenario::Deposit, 1, 50.0, false),
            run(Scenario::Ping, 2, 10.0, false),
            run(Scenario::Deposit, 2, 5.0, false),
        ];
        let ratio = report(runs).ratio(Scenario::Deposit, &[Scenario::Ping]).unwrap();
        assert_eq!(ratio, Spread { median: 0.5, low: 0.5, high: 0.5 });
    }

    #[test]
    fn the_best_reference_of_a_round_counts() {
        let references = [Scenario::Pgbench(8), Scenario::Pgbench(32)];
        let runs = vec![
            run(Scenario::Deposit, 1, 100.0, false),
            run(references[0], 1, 20.0, false),
            run(references[1], 1, 25.0, false),
        ];
        assert_eq!(report(runs).ratio(Scenario::Deposit, &references).map(|spread| spread.median), Some(4.0));
    }

    #[test]
    fn disturbed_runs_count_only_when_there_is_nothing_else() {
        let rate = |run: &Run| Some(run.rate);
        let some = report(vec![run(Scenario::Ping, 1, 1.0, true), run(Scenario::Ping, 2, 9.0, false)]);
        assert_eq!(some.spread(Scenario::Ping, rate).unwrap().median, 9.0);
        let none = report(vec![run(Scenario::Ping, 1, 1.0, true)]);
        assert_eq!(none.spread(Scenario::Ping, rate).unwrap().median, 1.0);
    }
}
