//! Growth: the same load on databases of different sizes, in turns, and what else grows with them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::client::{Connection, Request, new_histogram};
use super::footprint::bytes_in;
use super::goal::{Bound, Goal, Line, Unit};
use super::run::{Run, Scenario, latency_json, percentiles, rounded};
use super::spread::{Spread, ratio_between, spread};
use super::target::Target;
use super::{Options, judge};
use crate::process::must_capture;
use crate::{Outcome, florin, postgres};

/// Operations for each wallet: two postings each make five postings a wallet. None in the smallest database.
const OPERATIONS_FOR_TWO_WALLETS: u64 = 5;

/// From here on a database is one of G9, G11 and G12.
const LARGE: u32 = 10_000_000;

/// Requests of one kind of reading.
const READS: u32 = 200;

/// Pages that are turned before a deep page is read.
const DEEP: u32 = 100;

/// What `--grow` takes: 10k, 1M.
///
/// # Errors
/// Says what a size looks like.
pub fn parse_size(text: &str) -> Result<u32, String> {
    let (digits, factor) = match text.trim_end_matches(['k', 'K', 'm', 'M']) {
        digits if digits.len() == text.len() => (digits, 1),
        digits if text.ends_with(['k', 'K']) => (digits, 1_000),
        digits => (digits, 1_000_000),
    };
    let number = digits.parse::<u32>().ok().and_then(|number| number.checked_mul(factor)).filter(|number| *number > 0);
    number.ok_or_else(|| format!("{text} is no number of wallets: 10k, 1M and 10M are"))
}

/// A database of some size, with its server.
struct Grown<'a> {
    filled: Filled,
    server: florin::Server,
    target: Target<'a>,
    runs: Vec<Run>,
}

/// What was found out about one size.
#[derive(Debug)]
pub struct Size {
    /// Wallets in it.
    pub wallets: u32,
    /// By name: bytes, seconds, megabytes, milliseconds.
    pub figures: Vec<(&'static str, f64)>,
    /// Made in turns with those of the other sizes.
    pub runs: Vec<Run>,
    history: Value,
}

/// The sizes on one engine, the smallest first, and what they say of the goals.
#[derive(Debug)]
pub struct GrowthReport {
    /// `sqlite` or `postgres`.
    pub engine: &'static str,
    /// In the order asked for.
    pub sizes: Vec<Size>,
    /// Of G9, G11 and G12.
    pub lines: Vec<Line>,
}

impl GrowthReport {
    /// For people.
    pub fn table(&self) -> String {
        let mut text = format!(
            "\n{}: growth\n\n| wallets | operations | filled in | deposit/s | p99 | read/s | database | \
             memory, at most | start | verify | history: first page, deep page, statement (p99) |\n\
             |---|---|---|---|---|---|---|---|---|---|---|\n",
            self.engine
        );
        for size in &self.sizes {
            let of = |name: &str| size.figures.iter().find(|(own, _)| *own == name).map_or(f64::NAN, |(_, own)| *own);
            let median = |scenario: Scenario, figure: fn(&Run) -> Option<f64>| {
                spread(&size.runs, scenario, figure).map_or(f64::NAN, |found| found.median)
            };
            let page =
                |name: &str| size.history[name]["p99"].as_f64().map_or("–".to_owned(), |p99| format!("{p99:.1}"));
            text += &format!(
                "| {} | {:.0} | {:.0} s | {:.0} | {:.1} ms | {:.0} | {:.0} MB | {:.0} MB | {:.2} s | {:.1} s | \
                 {}, {}, {} ms |\n",
                size.wallets,
                of("operations"),
                of("fill_seconds"),
                median(Scenario::Deposit, |run| Some(run.rate)),
                median(Scenario::Deposit, |run| run.latency_ms.map(|latency| latency[1])),
                median(Scenario::Read, |run| Some(run.rate)),
                of("megabytes"),
                of("memory_mb"),
                of("start_again_seconds"),
                of("verify_seconds"),
                page("first_page"),
                page("deep_page"),
                page("statement")
            );
        }
        text
    }

    /// For the file of raw figures.
    pub fn to_json(&self) -> Value {
        let sizes = self.sizes.iter().map(|size| {
            let figures = size.figures.iter().map(|(name, figure)| ((*name).to_owned(), json!(rounded(*figure))));
            json!({
                "wallets": size.wallets,
                "figures": figures.collect::<serde_json::Map<_, _>>(),
                "history": size.history,
                "runs": size.runs.iter().map(Run::to_json).collect::<Vec<_>>(),
            })
        });
        json!({"engine": self.engine, "sizes": sizes.collect::<Vec<_>>()})
    }
}

/// Fills a database of each size, measures them in turns, and verifies each.
///
/// # Errors
/// When something cannot be made or started, the books are not right, or an answer is wrong.
pub fn measure(
    options: &Options,
    sizes: &[u32],
    binary: &Path,
    database: Option<&postgres::Server>,
) -> Outcome<GrowthReport> {
    let mut grown = Vec::new();
    for (wallets, operations) in with_operations(sizes) {
        let filled = make(options, wallets, operations, binary, database)?;
        grown.push(start(options, filled, database)?);
    }
    for round in 1..=options.rounds {
        for one in &mut grown {
            for scenario in [Scenario::Ping, Scenario::Deposit, Scenario::DepositKeyed, Scenario::Read] {
                one.runs.push(one.target.run(scenario, round)?);
            }
        }
    }
    let engine = if database.is_some() { judge::POSTGRES } else { judge::SQLITE };
    let sizes = grown.into_iter().map(|one| finish(one, database)).collect::<Outcome<Vec<Size>>>()?;
    let lines = lines(engine, &sizes);
    Ok(GrowthReport { engine, sizes, lines })
}

/// Only fills the databases, which are kept.
///
/// # Errors
/// When one cannot be made.
pub fn fill_all(options: &Options, sizes: &[u32], binary: &Path, database: Option<&postgres::Server>) -> Outcome<()> {
    for (wallets, operations) in with_operations(sizes) {
        let filled = make(options, wallets, operations, binary, database)?;
        println!("{wallets} wallets, {operations} operations: filled in {:.0} s", filled.seconds);
    }
    Ok(())
}

fn with_operations(sizes: &[u32]) -> impl Iterator<Item = (u32, u64)> + '_ {
    let many = |wallets: u32| u64::from(wallets) * OPERATIONS_FOR_TWO_WALLETS / 2;
    sizes.iter().enumerate().map(move |(index, wallets)| (*wallets, if index == 0 { 0 } else { many(*wallets) }))
}

/// A database that is full, without a server.
struct Filled {
    wallets: u32,
    operations: u64,
    seconds: f64,
    database_name: String,
    place: florin::Place,
}

impl Filled {
    /// What `florin demo` said.
    fn said(&self) -> PathBuf {
        self.place.folder().join("demo.txt")
    }

    /// How long it took, for a database that is kept.
    fn seconds_file(&self) -> PathBuf {
        self.place.folder().join("fill-seconds.txt")
    }
}

/// Fills a database, unless it is there from an earlier time.
fn make(
    options: &Options,
    wallets: u32,
    operations: u64,
    binary: &Path,
    database: Option<&postgres::Server>,
) -> Outcome<Filled> {
    let engine = if database.is_some() { "postgres-" } else { "" };
    let name = format!("grown-{wallets}");
    let database_name = name.replace('-', "_");
    let url = database.map(|database| database.url(&database_name));
    let place = match &options.grow_dir {
        Some(folder) => florin::Place::at(binary, folder.join(format!("{engine}{name}")), url.as_deref())?,
        None => florin::Place::new(binary, &name, url.as_deref())?,
    };
    let mut filled = Filled { wallets, operations, seconds: f64::NAN, database_name, place };
    if filled.said().exists() {
        // It may have been kept by an older version; a server on SQLite sees to that itself.
        if database.is_some() {
            filled.place.migrate()?;
        }
        filled.seconds = fs::read_to_string(filled.seconds_file())?.trim().parse()?;
        return Ok(filled);
    }
    if let Some(database) = database {
        database.sql("postgres", &format!("CREATE DATABASE {}", filled.database_name))?;
        filled.place.migrate()?;
        settle_in(database, "ALTER SYSTEM SET full_page_writes = off")?;
    }
    let begun = Instant::now();
    let said = fill(&filled, options.wallets.min(wallets))?;
    filled.seconds = begun.elapsed().as_secs_f64();
    if let Some(database) = database {
        settle_in(database, "ALTER SYSTEM RESET full_page_writes")?;
        // What autovacuum would do in the middle of the first rounds.
        database.sql(&filled.database_name, "VACUUM (ANALYZE)")?;
        database.sql(&filled.database_name, "CHECKPOINT")?;
    }
    fs::write(filled.seconds_file(), filled.seconds.to_string())?;
    fs::write(filled.said(), said)?;
    Ok(filled)
}

fn settle_in(database: &postgres::Server, setting: &str) -> Outcome<()> {
    database.sql("postgres", setting)?;
    database.sql("postgres", "SELECT pg_reload_conf()")?;
    Ok(())
}

fn fill(filled: &Filled, own: u32) -> Outcome<String> {
    let Filled { wallets, operations, .. } = filled;
    eprintln!("bench: filling a database with {wallets} wallets and {operations} operations");
    let [wallets, operations, own] = [wallets.to_string(), operations.to_string(), own.to_string()];
    let arguments = ["demo", "--wallets", &wallets, "--operations", &operations, "--own", &own];
    must_capture(&mut filled.place.command(&arguments))
}

fn start<'a>(options: &'a Options, filled: Filled, database: Option<&'a postgres::Server>) -> Outcome<Grown<'a>> {
    let server = filled.place.start()?;
    let text = fs::read_to_string(filled.said())?;
    let token = server.api().sign_in_as("demo", password_in(&text).ok_or("the demonstration names no password")?)?;
    let target = Target::with_wallets_of(options, &server, database, &token)?;
    Ok(Grown { filled, server, target, runs: Vec::new() })
}

fn password_in(text: &str) -> Option<&str> {
    text.split("with the password ").nth(1)?.split(';').next()
}

fn finish(one: Grown<'_>, database: Option<&postgres::Server>) -> Outcome<Size> {
    let hot = one.target.wallets().first().cloned().unwrap_or_default();
    let history = histories(&one.target, &one.server, &hot)?;
    let mut figures = vec![
        ("start_seconds", one.server.ready_after().as_secs_f64()),
        ("memory_mb", one.target.memory_mb().1),
        ("operations", whole(one.filled.operations)),
        ("fill_seconds", one.filled.seconds),
    ];
    drop(one.server);
    let bytes = match database {
        None => bytes_in(&one.filled.place.folder().join("data"))?,
        Some(database) => {
            let name = &one.filled.database_name;
            let size = database.sql(name, &format!("SELECT pg_database_size('{name}')"))?;
            size.trim().parse()?
        }
    };
    figures.push(("megabytes", whole(bytes) / 1e6));
    eprintln!("bench: verifying {} wallets", one.filled.wallets);
    let begun = Instant::now();
    must_capture(&mut one.filled.place.command(&["verify"]))?;
    figures.push(("verify_seconds", begun.elapsed().as_secs_f64()));
    let again = one.filled.place.start()?.ready_after().as_secs_f64();
    figures.push(("start_again_seconds", again));
    Ok(Size { wallets: one.filled.wallets, figures, runs: one.runs, history })
}

/// Latencies of reading the history of the wallet that has the longest: the first page, one far back, a statement.
fn histories(target: &Target<'_>, server: &florin::Server, wallet: &str) -> Outcome<Value> {
    let path = format!("/api/v1/wallets/{wallet}/operations?limit=50");
    let (mut deep, mut statement) = (path.clone(), format!("/api/v1/wallets/{wallet}/statement?limit=50"));
    for _ in 0..DEEP {
        let page = server.api().get(&deep, target.token())?;
        let Some(next) = page["next_cursor"].as_str() else { break };
        deep = format!("{path}&cursor={next}");
        // Of a period that ended as far back.
        if let Some(recorded_at) = page["items"][0]["recorded_at"].as_str() {
            statement = format!("/api/v1/wallets/{wallet}/statement?limit=50&to={recorded_at}");
        }
    }
    let mut found = serde_json::Map::new();
    for (name, path) in [("first_page", path), ("deep_page", deep), ("statement", statement)] {
        if let Some(latency) = target.runtime().block_on(read_again_and_again(target, &path))? {
            found.insert(name.to_owned(), latency_json(latency));
        }
    }
    Ok(Value::Object(found))
}

/// One request after the other over one connection; none if the route is not there.
async fn read_again_and_again(target: &Target<'_>, path: &str) -> Outcome<Option<[f64; 4]>> {
    let request = Request::new("GET", path, target.token(), "", false);
    let mut connection = Connection::open(target.port()).await?;
    let mut latency = new_histogram()?;
    for _ in 0..READS {
        let sent = Instant::now();
        match connection.exchange(request.bytes()).await?.status {
            200 => latency.saturating_record(micros(sent.elapsed())),
            400 | 404 | 405 | 406 => return Ok(None),
            status => return Err(format!("GET {path}: {status}").into()),
        }
    }
    Ok(Some(percentiles(&latency)))
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// A count as a figure; large ones lose their last digits, which nobody reads.
fn whole(count: u64) -> f64 {
    let (high, low) = (count >> 32, count & 0xffff_ffff);
    let part = |count: u64| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    part(high) * 4_294_967_296.0 + part(low)
}

fn lines(engine: &str, sizes: &[Size]) -> Vec<Line> {
    let Some((first, larger)) = sizes.split_first() else { return Vec::new() };
    let mut lines = Vec::new();
    for size in larger {
        let is_large = size.wallets >= LARGE;
        let bound = if is_large { Bound::AtLeast(0.85) } else { Bound::Shown };
        for (scenario, kind) in [(Scenario::Deposit, "deposit"), (Scenario::DepositKeyed, "deposit with a key")] {
            let of = |size: &Size| size.runs.iter().filter(|run| run.scenario == scenario).cloned().collect::<Vec<_>>();
            let (above, below) = (of(size), of(first));
            let found = ratio_between(&above.iter().collect::<Vec<_>>(), &below.iter().collect::<Vec<_>>());
            let what = format!("{engine}: {kind}, {} wallets / {} wallets", size.wallets, first.wallets);
            lines.extend(Line::of(Goal::G9, &what, found, Unit::Ratio, bound));
        }
        if engine == judge::SQLITE {
            lines.extend(footprint(size, is_large));
        }
    }
    lines
}

fn footprint(size: &Size, is_large: bool) -> Vec<Line> {
    let figure =
        |name: &str| size.figures.iter().find(|(own, _)| *own == name).map(|(_, figure)| Spread::once(*figure));
    let most = |most: f64| if is_large { Bound::AtMost(most) } else { Bound::Shown };
    let named = |what: &str| format!("sqlite: {what}, {} wallets", size.wallets);
    let memory = figure("memory_mb");
    let start = figure("start_again_seconds");
    [
        Line::of(Goal::G11, &named("memory, at most"), memory, Unit::Megabytes, most(3000.0)),
        Line::of(Goal::G12, &named("start to first answer"), start, Unit::Seconds, most(10.0)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// For the plot: a figure of the runs of this scenario, over the number of wallets.
pub fn curve(report: &GrowthReport, scenario: Scenario, figure: impl Fn(&Run) -> Option<f64>) -> Vec<(f64, f64)> {
    let at = |size: &Size| Some((f64::from(size.wallets), spread(&size.runs, scenario, &figure)?.median));
    report.sizes.iter().filter_map(at).collect()
}

/// For the plot: a figure by its name, over the number of wallets.
pub fn figures(report: &GrowthReport, name: &str) -> Vec<(f64, f64)> {
    let found = |size: &Size| size.figures.iter().find(|(own, _)| *own == name).map(|(_, figure)| *figure);
    report.sizes.iter().filter_map(|size| Some((f64::from(size.wallets), found(size)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::machine::Usage;
    use super::*;

    #[test]
    fn sizes_are_read() {
        assert_eq!(["10k", "1M", "10M", "7"].map(parse_size), [Ok(10_000), Ok(1_000_000), Ok(10_000_000), Ok(7)]);
        for text in ["", "k", "0", "10G", "5000M", "1.5M"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_password_is_found() {
        let text = "Sign in as demo with the password Florin-01; all the others have the same one.";
        assert_eq!(password_in(text), Some("Florin-01"));
    }

    #[test]
    fn large_counts_keep_their_size() {
        assert!((whole(5_000_000_000) - 5e9).abs() < 1.0);
    }

    #[test]
    fn a_large_database_is_judged_against_the_first() {
        let size = |wallets, rate| Size {
            wallets,
            figures: vec![("memory_mb", 10.0)],
            runs: vec![Run {
                scenario: Scenario::Deposit,
                round: 1,
                rate,
                latency_ms: None,
                usage: Usage::default(),
                memory_mb: None,
                is_disturbed: false,
            }],
            history: Value::Null,
        };
        let lines = lines(judge::SQLITE, &[size(10_000, 100.0), size(1_000_000, 90.0), size(LARGE, 80.0)]);
        let ratios: Vec<_> = lines
            .iter()
            .filter(|line| line.goal == Goal::G9)
            .map(|line| (line.measured.median, line.is_held()))
            .collect();
        assert_eq!(ratios, [(0.9, None), (0.8, Some(false))]);
    }
}
