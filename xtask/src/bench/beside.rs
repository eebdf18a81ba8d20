//! Two binaries in turns: what a change wins or costs, on a machine whose pace changes by the minute.
//!
//! Both run all the time, each on a database of its own, and never both under load. Who begins changes from round to
//! round, so that whatever the first leaves behind for the second (pages to be written, a warm cache) evens out.

use std::path::Path;

use super::Options;
use super::goal::{Bound, Goal, Line, Unit};
use super::judge;
use super::rounds::{EngineReport, POSTGRES_SETTINGS, postgres_text, sqlite_text, start_nodes, with_log};
use super::run::{Run, Scenario};
use super::spread::{ratio_between, scenarios};
use super::target::Target;
use crate::{Outcome, florin, postgres};

/// The scenarios of these goals that need one server and nothing else, on SQLite: the second report is that of the
/// binary beside. None if no goal has one.
///
/// # Errors
/// When a server cannot be started, or gives a wrong answer under load.
pub fn on_sqlite(options: &Options, goals: &[Goal], binaries: [&Path; 2]) -> Outcome<Vec<EngineReport>> {
    let wanted = one_server(judge::scenarios(judge::SQLITE, goals));
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let start = |binary, name| florin::Server::start(binary, name, None);
    let servers = [start(binaries[0], "bench")?, start(binaries[1], "beside")?];
    let open = |server| Target::with_new_wallets(options, server, None);
    let targets = [open(&servers[0])?, open(&servers[1])?];
    let runs = in_turns(options, &wanted, &targets, &servers)?;
    Ok(reports([judge::SQLITE, "sqlite, beside"], &sqlite_text(), runs, goals))
}

/// The same on PostgreSQL.
///
/// # Errors
/// As [`on_sqlite`].
pub fn on_postgres(options: &Options, goals: &[Goal], binaries: [&Path; 2]) -> Outcome<Vec<EngineReport>> {
    let wanted = one_server(judge::scenarios(judge::POSTGRES, goals));
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let database = postgres::Server::start(&POSTGRES_SETTINGS)?;
    let start = |binary, name| -> Outcome<_> {
        database.sql("postgres", &format!("CREATE DATABASE {name}"))?;
        start_nodes(binary, &database, name, 1)?.pop().ok_or_else(|| "no node".into())
    };
    let ((_first, first), (_second, second)) = (start(binaries[0], "florin")?, start(binaries[1], "beside")?);
    let servers = [first, second];
    let open = |server| Target::with_new_wallets(options, server, Some(&database));
    let targets = [open(&servers[0])?, open(&servers[1])?];
    let runs = in_turns(options, &wanted, &targets, &servers)?;
    Ok(reports([judge::POSTGRES, "postgres, beside"], &postgres_text(&database)?, runs, goals))
}

fn one_server(mut scenarios: Vec<Scenario>) -> Vec<Scenario> {
    scenarios.retain(|scenario| {
        use Scenario::{
            Batch, BatchKeyed, Deposit, DepositHot, DepositHotKeyed, DepositKeyed, DepositWide, Ping, Read,
        };
        matches!(
            scenario,
            Ping | Deposit
                | DepositKeyed
                | DepositWide(_)
                | DepositHot
                | DepositHotKeyed
                | Read
                | Batch(_)
                | BatchKeyed(_)
        )
    });
    scenarios
}

/// The runs of each binary.
fn in_turns(
    options: &Options,
    wanted: &[Scenario],
    targets: &[Target<'_>; 2],
    servers: &[florin::Server; 2],
) -> Outcome<[Vec<Run>; 2]> {
    let mut runs = [Vec::new(), Vec::new()];
    for round in 1..=options.rounds {
        for scenario in wanted {
            for place in order(round) {
                let run = targets[place].run(*scenario, round);
                runs[place].push(run.map_err(|error| with_log(&error, &servers[place]))?);
            }
        }
    }
    targets.iter().try_for_each(Target::check_balances)?;
    Ok(runs)
}

fn reports(names: [&'static str; 2], database: &str, runs: [Vec<Run>; 2], goals: &[Goal]) -> Vec<EngineReport> {
    let lines = lines(names[0], goals, &runs);
    let report = |(name, runs)| EngineReport { name, database: database.to_owned(), runs, lines: Vec::new() };
    let mut reports: Vec<_> = names.into_iter().zip(runs).map(report).collect();
    reports[0].lines = lines;
    reports
}

const fn order(round: u32) -> [usize; 2] {
    if round % 2 == 1 { [0, 1] } else { [1, 0] }
}

/// Of each scenario, under the first goal that needs it.
fn lines(engine: &str, goals: &[Goal], runs: &[Vec<Run>; 2]) -> Vec<Line> {
    let line = |scenario: Scenario| {
        let of = |place: usize| -> Vec<&Run> { runs[place].iter().filter(|run| run.scenario == scenario).collect() };
        let goal = goals.iter().find(|goal| judge::scenarios(engine, &[**goal]).contains(&scenario))?;
        let what = format!("{engine}: {}, this binary / the one beside", scenario.name());
        Line::of(*goal, &what, ratio_between(&of(0), &of(1)), Unit::Ratio, Bound::Shown)
    };
    scenarios(&runs[0]).into_iter().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::super::machine::Usage;
    use super::*;

    #[test]
    fn each_begins_as_often_as_the_other() {
        assert_eq!([order(1), order(2), order(3)], [[0, 1], [1, 0], [0, 1]]);
    }

    #[test]
    fn what_needs_a_reference_or_several_servers_is_left_out() {
        let kept = one_server(judge::scenarios(judge::POSTGRES, &[Goal::G3, Goal::G10]));
        let expected = [Scenario::DepositKeyed, Scenario::DepositWide(judge::WIDE), Scenario::Ping, Scenario::Deposit];
        assert_eq!(kept, expected);
    }

    #[test]
    fn a_line_compares_the_same_scenario_of_the_same_round() {
        let run = |scenario, round, rate| Run::new(scenario, round, rate, None, (Usage::default(), 1.0));
        let first = vec![run(Scenario::Ping, 1, 100.0), run(Scenario::Deposit, 1, 30.0), run(Scenario::Ping, 2, 10.0)];
        let second = vec![run(Scenario::Ping, 1, 50.0), run(Scenario::Deposit, 1, 10.0), run(Scenario::Ping, 2, 5.0)];
        let lines = lines(judge::SQLITE, &[Goal::G1], &[first, second]);
        let found: Vec<_> = lines.iter().map(|line| (line.what.as_str(), line.measured.median)).collect();
        let (ping, deposit) =
            ("sqlite: ping, this binary / the one beside", "sqlite: deposit, this binary / the one beside");
        assert_eq!(found, [(ping, 2.0), (deposit, 3.0)]);
    }
}
