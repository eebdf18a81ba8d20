//! What is kept: the door to a database engine, the repositories, and SQL written once for both engines.
//!
//! To add a repository: write its statements in `sql.rs` of the subject (`$1` parameters, no dialect), its functions
//! over `&mut dyn Tx` beside them, and its table as a pair of migrations with one number and name.

pub mod audit;
pub mod codes;
mod engine;
mod error;
pub mod import;
pub mod ledger;
pub mod migrations;
mod outcome;
mod posting;
pub mod request_answer;
pub mod restored;
pub mod session;
pub mod sign_in_failures;
pub mod signing_key;
pub mod user;
mod value;
pub mod verify;
pub mod wallet;

pub use engine::{
    BatchFacts, BatchRows, Begun, Engine, EngineKind, EngineStatus, Interruption, NotDone, Ticket, Tx, Work, probe,
    read, write,
};
pub use error::StoreError;
pub use outcome::{hex, outcome_from_text, outcome_to_text};
pub use posting::{
    ChainHead, POSTINGS_LOOKED_AT_MAX, Posting, PostingFilter, PostingPage, StoredBatch, StoredTransaction,
};
pub use value::{Row, Value, minor_from_bytes, minor_to_bytes};
