//! What the ledger answers.

use thiserror::Error;

use crate::{AccountId, Hash, Leg, TransactionId};

/// The three figures of every answer that carries a balance, in minor units, from one atomic read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Balance {
    /// Settled.
    pub posted_minor: i128,
    /// Held (outgoing).
    pub pending_minor: i128,
    /// `posted - pending`.
    pub available_minor: i128,
}

/// A leg as posted, with the account's state after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PostedLeg {
    /// The leg.
    pub leg: Leg,
    /// The account's number of postings, this one included.
    pub version: i64,
    /// The account's balance after it.
    pub balance: Balance,
}

/// A command that was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The transaction.
    pub transaction_id: TransactionId,
    /// When the ledger learned of it; microseconds since the Unix epoch, UTC.
    pub recorded_at_us: i64,
    /// Its legs, in the command's order.
    pub legs: Vec<PostedLeg>,
    /// Its hash in the chain.
    pub hash: Hash,
}

impl Applied {
    /// The state of `account_id` after the command.
    #[must_use]
    pub fn leg_of(&self, account_id: AccountId) -> Option<&PostedLeg> {
        self.legs.iter().rev().find(|posted| posted.leg.account_id == account_id)
    }
}

/// Why a command was refused. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Rejection {
    /// No such account (or not the caller's).
    #[error("account not found")]
    AccountNotFound {
        /// The account asked for.
        account_id: AccountId,
    },
    /// The account is closed.
    #[error("account is closed")]
    AccountClosed {
        /// The account.
        account_id: AccountId,
    },
    /// The account counts another asset.
    #[error("account holds another asset")]
    AssetMismatch {
        /// The account.
        account_id: AccountId,
    },
    /// The balance would pass the account's floor.
    #[error("insufficient funds")]
    InsufficientFunds {
        /// The account.
        account_id: AccountId,
        /// What was there (posted), minor units.
        posted_minor: i128,
        /// What was available, minor units.
        available_minor: i128,
        /// What was needed, minor units.
        required_minor: i128,
    },
    /// The balance would pass the account's ceiling, or 38 digits.
    #[error("balance would exceed its ceiling")]
    CeilingExceeded {
        /// The account.
        account_id: AccountId,
    },
    /// The command is not balanced, has a leg of zero or less, or fewer than two legs.
    #[error("command is malformed: {reason}")]
    Malformed {
        /// What is wrong.
        reason: &'static str,
    },
    /// The idempotency key was used with another request.
    #[error("idempotency key reused with another request")]
    IdempotencyKeyReused,
    /// The command was to be applied with others or not at all, and another one was refused.
    #[error("refused because of item {item}")]
    BatchRefused {
        /// The other one's place in the atomic range, from 0.
        item: u32,
    },
}

impl Rejection {
    /// The stable name of the cause, for programs and metrics.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::AccountNotFound { .. } => "wallet_not_found",
            Self::AccountClosed { .. } => "wallet_closed",
            Self::AssetMismatch { .. } => "asset_mismatch",
            Self::InsufficientFunds { .. } => "insufficient_funds",
            Self::CeilingExceeded { .. } => "ceiling_exceeded",
            Self::Malformed { .. } => "malformed_command",
            Self::IdempotencyKeyReused => "idempotency_key_reused",
            Self::BatchRefused { .. } => "batch_refused",
        }
    }
}

/// A final answer, as kept beside the idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was applied.
    Applied(Applied),
    /// It was refused.
    Rejected(Rejection),
}

/// The answer to one command of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Applied or refused.
    pub outcome: Outcome,
    /// Whether this is the first answer again.
    pub replayed: bool,
}
