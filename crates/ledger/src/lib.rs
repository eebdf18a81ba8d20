//! The ledger's rules as pure functions: no clock, no storage, no I/O.
//!
//! [`fold`] takes a batch of commands and the facts they depend on (accounts, earlier answers) and gives each
//! command its own verdict; what it leaves in [`Facts`] is exactly what must be written.

mod account;
mod canonical_form;
mod chain;
mod command;
mod fold;
mod ids;
mod key_digest;
mod system_account;
mod varint;
mod verdict;

pub use account::{Account, AccountKind, Limits, Side};
pub use chain::{BatchHeader, GENESIS_HASH, Hash, HashForm, TransactionRecord, merkle_root, transaction_hash};
pub use command::{Command, IdempotencyKey, Kind, Leg, Precondition};
pub use fold::{Batch, Facts, Folded, fold};
pub use ids::{AccountId, AccountMap, AccountSet, BUCKETS, TransactionId, bucket_of};
pub use key_digest::{KeyDigest, key_digest};
pub use system_account::{SystemAccount, system_account_id};
pub use varint::{put_signed, put_unsigned};
pub use verdict::{Applied, Balance, Outcome, PostedLeg, Rejection, Verdict};
