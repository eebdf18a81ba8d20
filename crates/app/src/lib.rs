//! The use cases: one file a verb. Rules are in the domain crates, statements in the store, wires in `http`.

mod app;
mod audit;
mod blocking;
mod caller;
mod commit_queue;
mod error;
pub mod import;
mod ledger_batch;
mod ledger_bulks;
mod ledger_writer;
mod own_threads;
pub mod port;
pub mod priority;
mod remembered;
pub mod restored;
pub mod session;
mod settings;
pub mod user;
pub mod wallet;

pub use app::{App, Parts};
pub use caller::Caller;
pub use commit_queue::{Bulk, BulkAnswer, CommitQueue, Companion, KeyedAnswer, QueueSettings, Submitted};
pub use error::Failure;
pub use ledger_writer::LedgerWriter;
pub use settings::Settings;
