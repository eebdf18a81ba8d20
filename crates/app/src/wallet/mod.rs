//! Wallets: opening, reading, moving money.

mod batch;
pub(crate) mod meta;
mod open;
mod operate;
mod read;
pub(crate) mod read_lane;
mod refusal;
mod statement;

use florin_ledger::{AccountId, Balance, Kind, Rejection, Side, TransactionId};
use florin_money::Asset;
use sha2::{Digest, Sha256};
use thiserror::Error;
use uuid::Uuid;

pub use batch::{
    BatchAnswer, BatchError, BatchItem, BatchMove, BatchOutcome, BatchRights, ItemOutcome, ItemRefusal, PreparedBatch,
};
pub use operate::Movement;
pub use refusal::explain;
pub use statement::Statement;

use crate::Failure;

/// A wallet with its figures, from one atomic read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wallet {
    /// Its id.
    pub id: AccountId,
    /// Whose it is.
    pub owner_id: Uuid,
    /// What it counts.
    pub asset: Asset,
    /// The owner's name for it; may be empty. Only filled where a wallet is opened or listed or read on its own.
    pub label: String,
    /// Posted, pending, available.
    pub balance: Balance,
    /// Number of postings.
    pub version: i64,
    /// Microseconds since the Unix epoch, UTC.
    pub created_at_us: i64,
    /// Microseconds since the Unix epoch, UTC.
    pub updated_at_us: i64,
}

/// One line of a wallet's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// The transaction.
    pub transaction_id: TransactionId,
    /// Why money moved.
    pub kind: Kind,
    /// Credit: into the wallet; debit: out of it.
    pub side: Side,
    /// Minor units.
    pub amount_minor: i128,
    /// The wallet's balance after it.
    pub balance: Balance,
    /// The wallet's number of postings after it: the line's place.
    pub version: i64,
    /// The other account.
    pub counterpart_id: AccountId,
    /// The reason given, if any.
    pub reason: Option<String>,
    /// Microseconds since the Unix epoch, UTC.
    pub recorded_at_us: i64,
}

/// What to show of a history. All bounds are inclusive but `before_version`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HistoryFilter {
    /// Only this kind.
    pub kind: Option<Kind>,
    /// Recorded at or after; microseconds since the Unix epoch, UTC.
    pub from_us: Option<i64>,
    /// Recorded before; microseconds since the Unix epoch, UTC.
    pub to_us: Option<i64>,
    /// Amount at least, minor units.
    pub min_minor: Option<i128>,
    /// Amount at most, minor units.
    pub max_minor: Option<i128>,
    /// Only lines before this place (the cursor): newest first.
    pub before_version: Option<i64>,
    /// At most so many lines (1–200).
    pub limit: u16,
}

/// A page, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The lines.
    pub items: Vec<T>,
    /// Where the next page starts; none at the end.
    pub next: Option<String>,
}

/// The caller's idempotency key with the fingerprint of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestKey {
    /// 1 to 255 printable ASCII characters.
    pub key: String,
    /// SHA-256 of method, path and body.
    pub fingerprint: [u8; 32],
}

/// A movement that was applied, or its first answer again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The transaction.
    pub transaction_id: TransactionId,
    /// The wallet after it (of a transfer: the source). Its label is not filled.
    pub wallet: Wallet,
    /// Whether this is a repeated answer.
    pub replayed: bool,
    /// The transaction's hash in the chain.
    pub hash: [u8; 32],
}

/// Why a wallet's use case was refused.
#[derive(Debug, Error)]
pub enum WalletError {
    /// No such wallet, or not the caller's.
    #[error("wallet not found")]
    NotFound,
    /// The asset is not known.
    #[error("unknown asset")]
    UnknownAsset,
    /// Users may not do this themselves here.
    #[error("not permitted")]
    Forbidden,
    /// The ledger refused; its figures are in the wallet's asset. `replayed`: it is the first answer again.
    #[error("refused: {rejection}")]
    Rejected {
        /// Why.
        rejection: Rejection,
        /// The asset of its figures.
        asset: Asset,
        /// Whether this is a repeated answer.
        replayed: bool,
    },
    /// See [`Failure`].
    #[error(transparent)]
    Failure(#[from] Failure),
}

/// The scope of an idempotency key: the caller and the resource it acts on, as a UUID of version 8 (RFC 9562 section
/// 5.8). Its bucket leads rows that are the key's own.
pub(crate) fn scope_of(caller: Uuid, resource: Uuid) -> Uuid {
    let mut hasher = Sha256::new();
    hasher.update(caller.as_bytes());
    hasher.update(resource.as_bytes());
    let digest = hasher.finalize();
    let mut bytes = [0_u8; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}
