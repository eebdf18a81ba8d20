//! Medians, and ratios of runs made side by side.

use serde_json::{Value, json};

use super::run::{Run, Scenario, rounded};

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

    /// A figure that was taken once.
    pub const fn once(figure: f64) -> Self {
        Self { median: figure, low: figure, high: figure }
    }

    /// For the file of raw figures.
    pub fn to_json(self) -> Value {
        json!({"median": rounded(self.median), "low": rounded(self.low), "high": rounded(self.high)})
    }
}

/// The scenarios, in the order of their first run.
pub fn scenarios(runs: &[Run]) -> Vec<Scenario> {
    let mut scenarios = Vec::new();
    for run in runs {
        if !scenarios.contains(&run.scenario) {
            scenarios.push(run.scenario);
        }
    }
    scenarios
}

/// A figure of this scenario over the quiet runs; over all of them if none was quiet.
pub fn spread(runs: &[Run], scenario: Scenario, figure: impl Fn(&Run) -> Option<f64>) -> Option<Spread> {
    let all = || runs.iter().filter(|run| run.scenario == scenario);
    let quiet = all().filter(|run| !run.is_disturbed).filter_map(&figure).collect();
    Spread::of(quiet).or_else(|| Spread::of(all().filter_map(&figure).collect()))
}

/// The rate of `above` over that of `below`, taken within each round. Of several references the best of the round
/// counts; a round is quiet when all of its runs that are concerned were.
pub fn ratio(runs: &[Run], above: Scenario, below: &[Scenario]) -> Option<Spread> {
    let tops: Vec<&Run> = runs.iter().filter(|run| run.scenario == above).collect();
    let references: Vec<&Run> = runs.iter().filter(|run| below.contains(&run.scenario)).collect();
    ratio_between(&tops, &references)
}

/// As [`ratio`], of runs that may come from two servers.
pub fn ratio_between(above: &[&Run], below: &[&Run]) -> Option<Spread> {
    let mut all = Vec::new();
    let mut quiet = Vec::new();
    for top in above {
        let references: Vec<&&Run> = below.iter().filter(|run| run.round == top.round).collect();
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

#[cfg(test)]
mod tests {
    use super::super::machine::Usage;
    use super::super::pgbench::Form;
    use super::*;

    fn run(scenario: Scenario, round: u32, rate: f64, is_disturbed: bool) -> Run {
        Run { scenario, round, rate, latency_ms: None, usage: Usage::default(), memory_mb: None, is_disturbed }
    }

    #[test]
    fn medians_and_their_spread() {
        assert_eq!(Spread::of(vec![3.0, 1.0, 2.0]), Some(Spread { median: 2.0, low: 1.0, high: 3.0 }));
        assert_eq!(Spread::of(vec![4.0, 1.0]), Some(Spread { median: 2.5, low: 1.0, high: 4.0 }));
        assert_eq!(Spread::of(vec![]), None);
    }

    #[test]
    fn a_ratio_is_taken_within_its_round() {
        let runs = [
            run(Scenario::Ping, 1, 100.0, false),
            run(Scenario::Deposit, 1, 50.0, false),
            run(Scenario::Ping, 2, 10.0, false),
            run(Scenario::Deposit, 2, 5.0, false),
        ];
        let found = ratio(&runs, Scenario::Deposit, &[Scenario::Ping]).unwrap();
        assert_eq!(found, Spread { median: 0.5, low: 0.5, high: 0.5 });
    }

    #[test]
    fn the_best_reference_of_a_round_counts() {
        let references = [Scenario::Pgbench(Form::Plain, 8), Scenario::Pgbench(Form::Plain, 32)];
        let runs = [
            run(Scenario::Deposit, 1, 100.0, false),
            run(references[0], 1, 20.0, false),
            run(references[1], 1, 25.0, false),
        ];
        assert_eq!(ratio(&runs, Scenario::Deposit, &references).map(|spread| spread.median), Some(4.0));
    }

    #[test]
    fn disturbed_runs_count_only_when_there_is_nothing_else() {
        let rate = |run: &Run| Some(run.rate);
        let some = [run(Scenario::Ping, 1, 1.0, true), run(Scenario::Ping, 2, 9.0, false)];
        assert_eq!(spread(&some, Scenario::Ping, rate), Some(Spread::once(9.0)));
        let none = [run(Scenario::Ping, 1, 1.0, true)];
        assert_eq!(spread(&none, Scenario::Ping, rate), Some(Spread::once(1.0)));
    }

    #[test]
    fn scenarios_keep_the_order_of_their_first_run() {
        let runs = [Scenario::Read, Scenario::Ping, Scenario::Read].map(|scenario| run(scenario, 1, 1.0, false));
        assert_eq!(scenarios(&runs), [Scenario::Read, Scenario::Ping]);
    }
}
