//! The commit queue and the store on one thread, from a seed: clients, nodes, crashes, lost answers, jumping clocks.
//!
//! Everything that happens is decided by the seed: which request comes when, when a writer takes its batch, and at
//! every call of the port whether something goes wrong. The database is SQLite's own engine on a disk in memory, behind
//! [`FaultyEngine`](engine::FaultyEngine). At the end faults stop, clients ask again for whatever they do not know, and
//! [`check`] compares what is stored with what was acknowledged.
//!
//! `cargo xtask simulate --seeds N --seed S` runs it.

#![expect(clippy::expect_used, reason = "a simulation that cannot begin ends its test")]

pub mod book;
pub mod bulks;
pub mod check;
pub mod clock;
pub mod disk;
pub mod engine;
pub mod faults;
pub mod machine;
pub mod random;
mod wishes;
mod world;

use std::{fmt, path::PathBuf};

use florin_store::Engine;
use florin_store_sqlite::{SqliteEngine, SqliteOptions};
use tempfile::TempDir;

pub use engine::Lie;
pub use faults::Injected;

/// What happened in a simulation that held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Requests sent.
    pub requests: u64,
    /// Movements that were acknowledged.
    pub applied: u64,
    /// Movements that were refused.
    pub refused: u64,
    /// Answers that were the first answer again.
    pub replayed: u64,
    /// What went wrong on the way.
    pub injected: Injected,
}

impl Tally {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let (mine, theirs) = (self.injected, other.injected);
        Self {
            requests: self.requests + other.requests,
            applied: self.applied + other.applied,
            refused: self.refused + other.refused,
            replayed: self.replayed + other.replayed,
            injected: Injected {
                failures: mine.failures + theirs.failures,
                retries: mine.retries + theirs.retries,
                unknown: mine.unknown + theirs.unknown,
                kills: mine.kills + theirs.kills,
                torn: mine.torn + theirs.torn,
                jumps: mine.jumps + theirs.jumps,
            },
        }
    }
}

/// A promise that does not hold.
#[derive(Debug)]
pub struct Violation {
    /// What begins it again.
    pub seed: u64,
    /// What is wrong.
    pub text: String,
    /// What happened; empty unless it was recorded.
    pub trace: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}\nseed {}: {}\n", self.trace, self.seed, self.text)?;
        write!(formatter, "again: cargo xtask simulate --seeds 1 --seed {}", self.seed)
    }
}

/// An empty database, made once, from which every simulation begins.
pub struct Simulator {
    _folder: TempDir,
    template: PathBuf,
}

impl Simulator {
    /// Makes the database.
    ///
    /// # Panics
    /// It cannot be made.
    #[must_use]
    pub fn new() -> Self {
        let folder = TempDir::new().expect("a folder for the empty database");
        let template = folder.path().join("empty.db");
        let engine = SqliteEngine::open(&template, SqliteOptions::default()).expect("an empty database");
        engine.migrate().expect("its schema");
        drop(engine);
        Self { _folder: folder, template }
    }

    /// Runs one seed; `lie` puts a defect into the engine.
    ///
    /// # Errors
    /// The first promise that does not hold, with the record of what led to it.
    pub fn run(&self, seed: u64, lie: Option<Lie>) -> Result<Tally, Violation> {
        world::run(&self.template, seed, lie, false).map(|(tally, _)| tally).map_err(|(text, _)| {
            // The same again, with a record: it is not kept while all is well.
            let trace = self.record(seed, lie);
            Violation { seed, text, trace }
        })
    }

    /// The record of one seed.
    #[must_use]
    pub fn record(&self, seed: u64, lie: Option<Lie>) -> String {
        match world::run(&self.template, seed, lie, true) {
            Ok((_, trace)) | Err((_, trace)) => trace,
        }
    }
}

impl Default for Simulator {
    fn default() -> Self {
        Self::new()
    }
}
