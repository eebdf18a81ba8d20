//! What came out: tables for people, the raw figures for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::goal::{Line, table};
use super::growth::GrowthReport;
use super::overload::OverloadReport;
use super::rounds::EngineReport;
use super::run::{Run, Scenario};
use super::spread::{Spread, scenarios, spread};
use super::{Options, machine};
use crate::Outcome;
use crate::process::{find_program, must_capture, root};

/// Everything of one call.
#[derive(Debug)]
pub struct Report {
    date: String,
    florin: String,
    settings: Value,
    /// By engine.
    pub engines: Vec<EngineReport>,
    /// What is no rate.
    pub footprint: Vec<Line>,
    /// By engine.
    pub growth: Vec<GrowthReport>,
    /// By engine.
    pub overload: Vec<OverloadReport>,
}

impl EngineReport {
    fn table(&self) -> String {
        let mut out = format!("\n{} ({})\n", self.name, self.database);
        let _ = writeln!(
            out,
            "{:<26}{:>10}{:>17}{:>9}{:>9}{:>9}{:>9}{:>18}{:>8}{:>7}",
            "", "per s", "lowest–highest", "p50 ms", "p99", "p99.9", "max", "CPU s cli/srv/db", "RSS MB", "quiet"
        );
        for scenario in scenarios(&self.runs) {
            out.push_str(&row(&self.runs, scenario));
        }
        out
    }

    fn to_json(&self) -> Value {
        json!({
            "engine": self.name,
            "database": self.database,
            "runs": self.runs.iter().map(Run::to_json).collect::<Vec<_>>(),
        })
    }
}

fn row(runs: &[Run], scenario: Scenario) -> String {
    let mut row = format!("{:<26}", scenario.name());
    if let Some(Spread { median, low, high }) = spread(runs, scenario, |run| Some(run.rate)) {
        let _ = write!(row, "{median:>10.0}{:>17}", format!("{low:.0}–{high:.0}"));
    }
    for place in 0..4 {
        let found = spread(runs, scenario, |run| run.latency_ms.map(|latency| latency[place]));
        let text = found.map_or_else(|| "–".to_owned(), |found| format!("{:.2}", found.median));
        let _ = write!(row, "{text:>9}");
    }
    let median = |figure: fn(&Run) -> Option<f64>| spread(runs, scenario, figure).map_or(0.0, |found| found.median);
    let (client, server) = (median(|run| Some(run.usage.client_s)), median(|run| Some(run.usage.server_s)));
    let cpu = format!("{client:.1}/{server:.1}/{:.1}", median(|run| Some(run.usage.database_s)));
    let of = || runs.iter().filter(|run| run.scenario == scenario);
    let quiet = format!("{}/{}", of().filter(|run| !run.is_disturbed).count(), of().count());
    let _ = writeln!(row, "{cpu:>18}{:>8.0}{quiet:>7}", median(|run| run.memory_mb));
    row
}

impl Report {
    /// An empty one, dated now, of `florin` (its version line).
    ///
    /// # Errors
    /// When the machine has no `date`.
    pub fn new(options: &Options, florin: String) -> Outcome<Self> {
        let date = must_capture(std::process::Command::new("date").args(["-u", "+%Y-%m-%dT%H-%M-%SZ"]))?;
        let settings = json!({
            "seconds": options.seconds,
            "warm_up_seconds": options.warm_up_seconds,
            "rounds": options.rounds,
            "connections": options.connections,
            "batch_connections": options.batch_connections,
            "overload_connections": options.overload_connections,
            "client_threads": options.client_threads,
            "wallets": options.wallets,
            "dev_build": options.dev_build,
        });
        Ok(Self {
            date: date.trim().to_owned(),
            florin,
            settings,
            engines: Vec::new(),
            footprint: Vec::new(),
            growth: Vec::new(),
            overload: Vec::new(),
        })
    }

    /// When it was made, fit for a file's name.
    pub fn date_for_file(&self) -> &str {
        &self.date
    }

    /// Of every part.
    pub fn lines(&self) -> Vec<Line> {
        let engines = self.engines.iter().flat_map(|engine| &engine.lines);
        let growth = self.growth.iter().flat_map(|growth| &growth.lines);
        engines.chain(&self.footprint).chain(growth).cloned().collect()
    }

    /// For people.
    pub fn tables(&self) -> String {
        let medians = "Medians over the quiet rounds; ratios are taken within a round.";
        let mut text = format!("\n{}, {}\n{medians}\n", self.florin, self.date);
        self.engines.iter().for_each(|engine| text += &engine.table());
        self.growth.iter().for_each(|growth| text += &growth.table());
        self.overload.iter().for_each(|overload| text += &overload.table());
        let lines = self.lines();
        if !lines.is_empty() {
            text += &format!("\n{}", table(&lines));
        }
        text
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
            "client": "xtask bench, kept HTTP/1.1 connections",
            "machine": machine::describe(),
            "settings": self.settings,
            "goals": self.lines().iter().map(Line::to_json).collect::<Vec<_>>(),
            "engines": self.engines.iter().map(EngineReport::to_json).collect::<Vec<_>>(),
            "growth": self.growth.iter().map(GrowthReport::to_json).collect::<Vec<_>>(),
            "overload": self.overload.iter().map(OverloadReport::to_json).collect::<Vec<_>>(),
        })
    }
}
