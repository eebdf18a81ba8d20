//! The PostgreSQL engine: a pool, statements over arrays, locks in the order of ids, whole transactions retried.

mod ahead;
mod batch;
mod codec;
mod connect;
mod copy;
mod driver;
mod engine;
mod error;
mod lease;
mod ledger;
mod migrate;
mod numeric;
mod statements;
mod tx;

pub use engine::{PostgresEngine, PostgresOptions};
pub use lease::Process;
