//! Which scenarios a goal needs, and what their runs say of it.

use super::django::{self, Setting};
use super::goal::{Bound, Goal, Line, Unit};
use super::pgbench::Form;
use super::run::{Run, Scenario};
use super::spread::{Spread, ratio, spread};

/// Connections of the narrow load of G10, and of the ping beside it.
pub const NARROW: u32 = 64;

/// Connections of the wide loads of G3 and G10.
pub const WIDE: u32 = 256;

/// Nodes behind nginx.
pub const NODES: [u32; 3] = [1, 2, 3];

/// Commands in a request of the batch route.
pub const BATCH: u32 = 1000;

/// Commands in a small one.
pub const SMALL_BATCH: u32 = 10;

/// Clients of pgbench: the better one counts.
pub const CLIENTS: [u32; 2] = [8, 32];

/// Bare rows of a commit, and how many connections commit such, beside the narrow and the wide load: one half of the
/// connections waits for a commit while the other one is answered and asks anew.
const BARE: [[(u32, u32); 2]; 2] = [[(NARROW / 2, 1), (NARROW / 4, 2)], [(WIDE / 2, 1), (WIDE / 4, 2)]];

/// The name of SQLite in results.
pub const SQLITE: &str = "sqlite";

/// The name of PostgreSQL in results.
pub const POSTGRES: &str = "postgres";

fn pgbench(form: Form) -> [Scenario; 2] {
    CLIENTS.map(|clients| Scenario::Pgbench(form, clients))
}

fn bare(commits: [(u32, u32); 2]) -> [Scenario; 2] {
    commits.map(|(rows, clients)| Scenario::Pgbench(Form::Bare(rows), clients))
}

fn django(setting: Setting) -> [Scenario; 2] {
    django::CONNECTIONS.map(|connections| Scenario::Django(setting, connections))
}

/// What these goals need on this engine, each once, references next to what is measured against them.
pub fn scenarios(engine: &str, goals: &[Goal]) -> Vec<Scenario> {
    use Scenario::{
        Batch, BatchKeyed, BehindNginx, Deposit, DepositHot, DepositHotKeyed, DepositKeyed, DepositWide, Ping, Read,
        SqliteAlone,
    };
    let is_sqlite = engine == SQLITE;
    let batches = [Batch(BATCH), BatchKeyed(BATCH), Batch(SMALL_BATCH), BatchKeyed(SMALL_BATCH)];
    let of = |goal: Goal| -> Vec<Scenario> {
        match goal {
            Goal::G1 if is_sqlite => vec![Ping, Deposit, DepositKeyed],
            Goal::G2 => vec![Deposit, DepositHot],
            Goal::G3 if !is_sqlite => {
                let references = [Form::Plain, Form::OneStatement].map(pgbench);
                [vec![DepositKeyed, DepositWide(WIDE)], references.concat(), BARE.map(bare).concat()].concat()
            }
            Goal::G4 if !is_sqlite => [vec![DepositHotKeyed], pgbench(Form::Hot).into()].concat(),
            Goal::G5 if is_sqlite => [batches.to_vec(), vec![SqliteAlone]].concat(),
            Goal::G6 if !is_sqlite => [batches.to_vec(), pgbench(Form::Plain).into()].concat(),
            Goal::G7 => vec![Ping, Read],
            Goal::G8 => [vec![Deposit], django(Setting::AsShipped).into(), django(Setting::Kept).into()].concat(),
            Goal::G10 if !is_sqlite => {
                let direct = vec![Ping, Scenario::ReadBesideNodes, Deposit, Scenario::TwoNodes];
                let loads = [NARROW, WIDE].map(|connections| NODES.map(|nodes| BehindNginx(nodes, connections)));
                [direct, loads.concat(), NODES.map(Scenario::PingBehindNginx).into()].concat()
            }
            Goal::G11 if is_sqlite => vec![Deposit],
            _ => Vec::new(),
        }
    };
    let mut needed = Vec::new();
    for scenario in goals.iter().flat_map(|goal| of(*goal)) {
        if !needed.contains(&scenario) {
            needed.push(scenario);
        }
    }
    needed
}

/// What these runs say of these goals.
pub fn lines(engine: &str, runs: &[Run], goals: &[Goal]) -> Vec<Line> {
    let mut lines = Vec::new();
    for goal in goals {
        lines.extend(lines_of(*goal, engine, runs));
    }
    lines
}

fn lines_of(goal: Goal, engine: &str, runs: &[Run]) -> Vec<Line> {
    let named = |what: &str| format!("{engine}: {what}");
    let against = |above: Scenario, below: &[Scenario], what: &str, bound: Bound| {
        Line::of(goal, &named(what), ratio(runs, above, below), Unit::Ratio, bound)
    };
    let lines = match (goal, engine) {
        (Goal::G1, SQLITE) => vec![
            against(Scenario::Deposit, &[Scenario::Ping], "deposit / ping", Bound::AtLeast(0.70)),
            Line::of(goal, &named("deposit, p99"), p99(runs, Scenario::Deposit), Unit::Millis, Bound::AtMost(6.0)),
            against(Scenario::DepositKeyed, &[Scenario::Ping], "deposit with a key / ping", Bound::Shown),
        ],
        (Goal::G2, _) => vec![against(
            Scenario::DepositHot,
            &[Scenario::Deposit],
            "one wallet / wallets at random",
            Bound::AtLeast(0.95),
        )],
        (Goal::G3, POSTGRES) => of_g3(&against),
        (Goal::G4, POSTGRES) => vec![against(
            Scenario::DepositHotKeyed,
            &pgbench(Form::Hot),
            "one wallet, with a key / pgbench, one wallet",
            Bound::AtLeast(15.0),
        )],
        (Goal::G5, SQLITE) => of_batches(&against, &[Scenario::SqliteAlone], "SQLite alone, one a commit", 80.0),
        (Goal::G6, POSTGRES) => of_batches(&against, &pgbench(Form::Plain), "pgbench", 15.0),
        (Goal::G7, _) => vec![
            against(Scenario::Read, &[Scenario::Ping], "read / ping", Bound::AtLeast(0.85)),
            against(Scenario::ReadBesideNodes, &[Scenario::Ping], "read, other nodes connected / ping", Bound::Shown),
        ],
        (Goal::G8, _) => of_g8(engine, &against),
        (Goal::G10, POSTGRES) => of_g10(&against),
        (Goal::G11, SQLITE) => vec![Line::of(
            goal,
            &named("memory under deposits, at most"),
            most_memory(runs, Scenario::Deposit),
            Unit::Megabytes,
            Bound::AtMost(200.0),
        )],
        _ => Vec::new(),
    };
    lines.into_iter().flatten().collect()
}

type Against<'a> = &'a dyn Fn(Scenario, &[Scenario], &str, Bound) -> Option<Line>;

fn of_g3(against: Against<'_>) -> Vec<Option<Line>> {
    let (plain, one) = (pgbench(Form::Plain), pgbench(Form::OneStatement));
    let wide = Scenario::DepositWide(WIDE);
    vec![
        against(Scenario::DepositKeyed, &plain, "deposit with a key, 64 connections / pgbench", Bound::AtLeast(6.0)),
        against(wide, &plain, "deposit with a key, 256 connections / pgbench", Bound::AtLeast(8.0)),
        against(
            Scenario::DepositKeyed,
            &one,
            "deposit with a key, 64 connections / pgbench, one statement an operation",
            Bound::Shown,
        ),
        against(Scenario::DepositKeyed, &bare(BARE[0]), "deposit with a key, 64 connections / bare rows", Bound::Shown),
        against(wide, &bare(BARE[1]), "deposit with a key, 256 connections / bare rows", Bound::Shown),
    ]
}

fn of_batches(against: Against<'_>, below: &[Scenario], reference: &str, bound: f64) -> Vec<Option<Line>> {
    let mut lines = Vec::new();
    for (size, bound) in [(BATCH, Bound::AtLeast(bound)), (SMALL_BATCH, Bound::Shown)] {
        let keyed = format!("batches of {size}, with a key / without");
        lines.push(against(Scenario::Batch(size), below, &format!("batches of {size} / {reference}"), bound));
        lines.push(against(Scenario::BatchKeyed(size), &[Scenario::Batch(size)], &keyed, Bound::Shown));
    }
    lines
}

fn of_g8(engine: &str, against: Against<'_>) -> Vec<Option<Line>> {
    let (as_shipped, kept) = match engine {
        SQLITE => (Bound::AtLeast(250.0), Bound::AtLeast(100.0)),
        _ => (Bound::Shown, Bound::AtLeast(50.0)),
    };
    vec![
        against(Scenario::Deposit, &django(Setting::AsShipped), "deposit / Django, as shipped", as_shipped),
        against(Scenario::Deposit, &django(Setting::Kept), "deposit / Django, kept connections", kept),
    ]
}

fn of_g10(against: Against<'_>) -> Vec<Option<Line>> {
    let one = [Scenario::Deposit];
    let behind_nginx = |nodes, connections, bound| {
        let what = format!("{nodes} nodes / 1 node, behind nginx, {connections} connections");
        against(Scenario::BehindNginx(nodes, connections), &[Scenario::BehindNginx(1, connections)], &what, bound)
    };
    let ping = |nodes| {
        let what = format!("ping, {nodes} nodes / 1 node, behind nginx");
        against(Scenario::PingBehindNginx(nodes), &[Scenario::PingBehindNginx(1)], &what, Bound::Shown)
    };
    vec![
        behind_nginx(2, NARROW, Bound::AtLeast(0.95)),
        behind_nginx(2, WIDE, Bound::AtLeast(0.95)),
        behind_nginx(3, NARROW, Bound::Shown),
        behind_nginx(3, WIDE, Bound::Shown),
        ping(2),
        ping(3),
        against(Scenario::TwoNodes, &one, "2 nodes, the client between them / 1 node", Bound::AtLeast(0.95)),
    ]
}

fn p99(runs: &[Run], scenario: Scenario) -> Option<Spread> {
    spread(runs, scenario, |run| run.latency_ms.map(|latency| latency[1]))
}

fn most_memory(runs: &[Run], scenario: Scenario) -> Option<Spread> {
    spread(runs, scenario, |run| run.memory_mb).map(|memory| Spread::once(memory.high))
}

#[cfg(test)]
mod tests {
    use super::super::machine::Usage;
    use super::*;
    use Scenario::BehindNginx;

    fn run(scenario: Scenario, rate: f64) -> Run {
        let latency_ms = Some([1.0, 5.0, 9.0, 20.0]);
        Run {
            scenario,
            round: 1,
            rate,
            latency_ms,
            usage: Usage::default(),
            memory_mb: Some(80.0),
            is_disturbed: false,
        }
    }

    #[test]
    fn every_scenario_is_needed_once() {
        let needed = scenarios(POSTGRES, &[Goal::G2, Goal::G3, Goal::G6, Goal::G7]);
        let plain = Scenario::Pgbench(Form::Plain, 8);
        assert_eq!(needed.iter().filter(|scenario| **scenario == plain).count(), 1);
        assert!(needed.contains(&Scenario::DepositWide(256)) && needed.contains(&Scenario::Read));
        assert!(scenarios(SQLITE, &[Goal::G3, Goal::G4, Goal::G6]).is_empty());
    }

    #[test]
    fn a_goal_is_judged_by_its_own_runs() {
        let runs = [run(Scenario::Ping, 100.0), run(Scenario::Deposit, 71.0)];
        let lines = lines(SQLITE, &runs, &[Goal::G1, Goal::G2, Goal::G11]);
        let held: Vec<_> = lines.iter().map(|line| (line.goal, line.is_held())).collect();
        assert_eq!(held, [(Goal::G1, Some(true)), (Goal::G1, Some(true)), (Goal::G11, Some(true))]);
    }

    #[test]
    fn django_at_its_best_is_held_to_less_on_postgresql() {
        let kept = django(Setting::Kept);
        let runs = [run(Scenario::Deposit, 6000.0), run(kept[0], 100.0), run(kept[1], 80.0)];
        let held = |engine| lines(engine, &runs, &[Goal::G8]).iter().map(Line::is_held).collect::<Vec<_>>();
        assert_eq!((held(SQLITE), held(POSTGRES)), (vec![Some(false)], vec![Some(true)]));
    }

    #[test]
    fn nodes_are_compared_over_as_many_connections() {
        let (narrow, wide) = ([BehindNginx(1, 64), BehindNginx(2, 64)], [BehindNginx(1, 256), BehindNginx(2, 256)]);
        let runs = [run(narrow[0], 100.0), run(narrow[1], 90.0), run(wide[0], 200.0), run(wide[1], 198.0)];
        let lines = lines(POSTGRES, &runs, &[Goal::G10]);
        let ratios: Vec<_> = lines.iter().map(|line| (line.measured.median, line.is_held())).collect();
        assert_eq!(ratios, [(0.9, Some(false)), (0.99, Some(true))]);
    }

    #[test]
    fn the_better_pgbench_counts() {
        let runs = [
            run(Scenario::Pgbench(Form::Plain, 8), 10.0),
            run(Scenario::Pgbench(Form::Plain, 32), 20.0),
            run(Scenario::DepositKeyed, 100.0),
        ];
        let lines = lines(POSTGRES, &runs, &[Goal::G3]);
        assert_eq!(lines.len(), 1);
        assert_eq!((lines[0].measured.median, lines[0].is_held()), (5.0, Some(false)));
    }
}
