//! What is not a rate: memory when idle, the time to the first answer, the bytes that an operation leaves behind.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::goal::{Bound, Goal, Line, Unit};
use super::machine::memory_mb;
use super::rounds::POSTGRES_SETTINGS;
use super::run::Scenario;
use super::spread::Spread;
use super::target::Target;
use super::{Engine, Options, judge};
use crate::{Outcome, florin, postgres};

/// How long a server is left alone before its memory is read.
const IDLE: Duration = Duration::from_secs(2);

/// Everything that these goals ask.
///
/// # Errors
/// When something cannot be started, or the server gives a wrong answer.
pub fn lines(options: &Options, goals: &[Goal], binary: &Path) -> Outcome<Vec<Line>> {
    let mut lines = Vec::new();
    if options.engine != Engine::Postgres {
        if goals.contains(&Goal::G11) || goals.contains(&Goal::G12) {
            lines.extend(starts(options, goals, binary)?);
        }
        if goals.contains(&Goal::G13) {
            lines.extend(bytes_on_sqlite(options, binary)?);
        }
    }
    if options.engine != Engine::Sqlite && goals.contains(&Goal::G13) {
        lines.extend(bytes_on_postgres(options, binary)?);
    }
    Ok(lines)
}

/// Starts on an empty folder, one after the other, and the memory of the last.
fn starts(options: &Options, goals: &[Goal], binary: &Path) -> Outcome<Vec<Line>> {
    let mut seconds = Vec::new();
    let mut memory = Vec::new();
    for number in 1..=options.rounds {
        eprintln!("bench: start {number}");
        let server = florin::Server::start(binary, "start", None)?;
        seconds.push(server.ready_after().as_secs_f64());
        if number == options.rounds {
            thread::sleep(IDLE);
            memory.push(memory_mb(server.pid()).0);
        }
    }
    let what = "sqlite: start to first answer, empty";
    let start = Line::of(Goal::G12, what, Spread::of(seconds), Unit::Seconds, Bound::AtMost(0.3));
    let what = "sqlite: memory, idle";
    let idle = Line::of(Goal::G11, what, Spread::of(memory), Unit::Megabytes, Bound::AtMost(40.0));
    Ok([start, idle].into_iter().flatten().filter(|line| goals.contains(&line.goal)).collect())
}

fn bytes_on_sqlite(options: &Options, binary: &Path) -> Outcome<Vec<Line>> {
    let place = florin::Place::new(binary, "bytes", None)?;
    let data = place.folder().join("data");
    bytes_by_key(options, &place, None, judge::SQLITE, &|| bytes_in(&data))
}

fn bytes_on_postgres(options: &Options, binary: &Path) -> Outcome<Vec<Line>> {
    let database = postgres::Server::start(&POSTGRES_SETTINGS)?;
    database.sql("postgres", "CREATE DATABASE florin")?;
    let place = florin::Place::new(binary, "bytes", Some(&database.url("florin")))?;
    place.migrate()?;
    let size = || {
        database.sql("florin", "CHECKPOINT")?;
        Ok(database.sql("florin", "SELECT pg_database_size('florin')")?.trim().parse()?)
    };
    bytes_by_key(options, &place, Some(&database), judge::POSTGRES, &size)
}

/// Bytes of an operation without and with a key. Sizes are read while no server runs.
fn bytes_by_key(
    options: &Options,
    place: &florin::Place,
    database: Option<&postgres::Server>,
    engine: &str,
    size: &dyn Fn() -> Outcome<u64>,
) -> Outcome<Vec<Line>> {
    let server = place.start()?;
    let token = Target::with_new_wallets(options, &server, database)?.token().to_owned();
    drop(server);
    let mut lines = Vec::new();
    for (scenario, kind) in [(Scenario::Deposit, "without a key"), (Scenario::DepositKeyed, "with a key")] {
        eprintln!("bench: bytes of an operation {kind} on {engine}");
        let before = size()?;
        let server = place.start()?;
        let target = Target::with_wallets_of(options, &server, database, &token)?;
        let mut load = target.load(target.requests(scenario), options.connections);
        load.warm_up = Duration::ZERO;
        let sample = target.runtime().block_on(load.run(|| {}))?;
        drop(server);
        let bytes = per_operation(before, size()?, sample.answers);
        let what = format!("{engine}: durable bytes of an operation {kind}");
        lines.extend(Line::of(Goal::G13, &what, bytes, Unit::Bytes, Bound::AtMost(350.0)));
    }
    Ok(lines)
}

fn per_operation(before: u64, after: u64, operations: u64) -> Option<Spread> {
    let grown = f64::from(u32::try_from(after.saturating_sub(before)).ok()?);
    let operations = f64::from(u32::try_from(operations).ok()?);
    (operations > 0.0).then(|| Spread::once(grown / operations))
}

/// The files of a folder, logs of the database included.
///
/// # Errors
/// When it cannot be read.
pub fn bytes_in(folder: &Path) -> Outcome<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() { bytes_in(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shared_out_over_the_operations() {
        assert_eq!(per_operation(1000, 4000, 10), Some(Spread::once(300.0)));
        assert_eq!(per_operation(1000, 4000, 0), None);
    }

    #[test]
    fn every_file_counts() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("inner")).unwrap();
        fs::write(folder.path().join("a"), [0; 10]).unwrap();
        fs::write(folder.path().join("inner/b"), [0; 5]).unwrap();
        assert_eq!(bytes_in(folder.path()).unwrap(), 15);
    }
}
