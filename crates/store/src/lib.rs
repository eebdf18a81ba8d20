//! What is kept: the door to a database engine, the repositories, and SQL written once for both engines.
//!
//! To add a repository: write its statements in `sql.rs` of the subject (`$1` parameters, no dialect), its functions
//! over `&mut dyn Tx` beside them, and its table as a pair of migrations with one number and name.

mod engine;
mod error;
pub mod ledger;
pub mod migrations;
mod value;

pub use engine::{BatchRows, Engine, EngineKind, EngineStatus, Tx, Work, read, write};
pub use error::StoreError;
pub use value::{Row, Value, minor_from_bytes, minor_to_bytes};
