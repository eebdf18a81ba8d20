//! What a caller asks of the ledger.

use florin_money::Asset;
use uuid::Uuid;

use crate::{AccountId, Side, TransactionId};

/// Why money moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// From a system account to a wallet.
    Deposit,
    /// From a wallet to a system account.
    Withdraw,
    /// Between two wallets.
    Transfer,
    /// A correction by staff, with a reason.
    Adjustment,
}

impl Kind {
    /// The name kept in storage and shown on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deposit => "DEPOSIT",
            Self::Withdraw => "WITHDRAW",
            Self::Transfer => "TRANSFER",
            Self::Adjustment => "ADJUSTMENT",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Deposit, Self::Withdraw, Self::Transfer, Self::Adjustment].into_iter().find(|kind| kind.as_str() == name)
    }
}

/// One side of a command: an amount (> 0) debited or credited to an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leg {
    /// The account.
    pub account_id: AccountId,
    /// Debit or credit.
    pub side: Side,
    /// Minor units of the command's asset, greater than zero.
    pub amount_minor: i128,
}

/// A key given by the caller, so that a repeated request has one effect.
///
/// Scoped to the caller and the resource: `scope` is a UUID derived from both, so keys of one scope have one resource.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey {
    /// Caller and resource, hashed to 16 bytes; gives the bucket of rows that are the key's own.
    pub scope: Uuid,
    /// What the key's command acts on: a wallet, else whatever the scope was derived from. An engine may keep the key
    /// in that account's rows, and so in its bucket.
    pub resource: Uuid,
    /// 1 to 255 printable ASCII characters.
    pub key: String,
    /// SHA-256 of the request (method, path, canonical body).
    pub fingerprint: [u8; 32],
}

/// What must hold about a wallet when the command is applied, checked inside the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Precondition {
    /// The account must be owned by this user.
    pub account_id: AccountId,
    /// The owner.
    pub owner_id: Uuid,
}

/// A transaction that somebody asks for: two or more legs that sum to zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The id that the transaction will have.
    pub transaction_id: TransactionId,
    /// Why money moves.
    pub kind: Kind,
    /// The asset of every leg.
    pub asset: Asset,
    /// The legs; debits equal credits.
    pub legs: Vec<Leg>,
    /// Who asked.
    pub actor_id: Uuid,
    /// A reason or reference, for people (up to 500 characters).
    pub reason: Option<String>,
    /// When it happened, if not now; microseconds since the Unix epoch, UTC.
    pub effective_at_us: Option<i64>,
    /// The caller's key, if given.
    pub idempotency: Option<IdempotencyKey>,
    /// Ownership that must hold.
    pub owners: Vec<Precondition>,
}
