//! The SQLite engine: one writer behind a fair gate, connections that only read, checkpoints off the write path.

mod ahead;
mod ahead_tx;
mod checkpoint;
mod connection;
pub mod copy;
mod engine;
mod error;
pub mod in_place;
mod ledger;
mod lock_file;
mod migrate;
mod minor;
mod orphaned_log;
mod owner;
mod readers;
mod tx;

pub use engine::{SqliteEngine, SqliteOptions};
pub use lock_file::is_served;
pub use orphaned_log::refuse_orphaned_log;
