//! The SQLite engine: one writer behind a fair gate, connections that only read, checkpoints off the write path.

mod batch;
mod checkpoint;
mod connection;
pub mod copy;
mod engine;
mod error;
mod lock_file;
mod migrate;
mod readers;
mod tx;

pub use engine::{SqliteEngine, SqliteOptions};
pub use lock_file::is_served;
