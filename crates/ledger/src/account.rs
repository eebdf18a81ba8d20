//! An account: one asset, a normal side, limits and four figures.

use florin_money::Asset;
use uuid::Uuid;

use crate::{AccountId, verdict::Balance};

/// Debit or credit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The left side.
    Debit,
    /// The right side.
    Credit,
}

/// What an account is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AccountKind {
    /// Owned by a user.
    Wallet,
    /// The other side of the world; not limited.
    System,
}

/// How far a balance may go, in minor units of the account's asset. `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// The least the available balance may be (wallets: 0; an overdraft lowers it).
    pub floor_minor: Option<i128>,
    /// The most the posted balance may be.
    pub ceiling_minor: Option<i128>,
}

/// An account as stored: the facts a decision needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// What it counts.
    pub asset: Asset,
    /// Wallet or system.
    pub kind: AccountKind,
    /// The user who owns it; none for system accounts.
    pub owner_id: Option<Uuid>,
    /// Where its balance grows (wallets: credit).
    pub normal_side: Side,
    /// How far its balance may go.
    pub limits: Limits,
    /// Sum of posted debits.
    pub posted_debits_minor: i128,
    /// Sum of posted credits.
    pub posted_credits_minor: i128,
    /// Sum of pending debits (holds).
    pub pending_debits_minor: i128,
    /// Sum of pending credits.
    pub pending_credits_minor: i128,
    /// How many postings it has; the last posting carries this number.
    pub version: i64,
    /// When it was opened, microseconds since the Unix epoch, UTC.
    pub created_at_us: i64,
    /// When it last changed, microseconds since the Unix epoch, UTC.
    pub updated_at_us: i64,
    /// When it was closed, if it was.
    pub closed_at_us: Option<i64>,
}

impl Account {
    /// A wallet as it is before its first posting, which may not be overdrawn.
    #[must_use]
    pub fn wallet(id: AccountId, owner_id: Uuid, asset: Asset, created_at_us: i64) -> Self {
        Self {
            kind: AccountKind::Wallet,
            owner_id: Some(owner_id),
            limits: Limits { floor_minor: Some(0), ceiling_minor: None },
            ..Self::empty(id, asset, Side::Credit, created_at_us)
        }
    }

    /// A system account without an owner or limits, before its first posting.
    pub(crate) fn empty(id: AccountId, asset: Asset, normal_side: Side, created_at_us: i64) -> Self {
        Self {
            id,
            asset,
            kind: AccountKind::System,
            owner_id: None,
            normal_side,
            limits: Limits::default(),
            posted_debits_minor: 0,
            posted_credits_minor: 0,
            pending_debits_minor: 0,
            pending_credits_minor: 0,
            version: 0,
            created_at_us,
            updated_at_us: created_at_us,
            closed_at_us: None,
        }
    }

    /// Posted, pending and available, seen from the normal side. Figures past 128 bits stop there.
    #[must_use]
    pub fn balance(&self) -> Balance {
        self.balance_with(self.posted_debits_minor, self.posted_credits_minor)
    }

    /// The same, if these were the sums of its postings.
    pub(crate) fn balance_with(&self, posted_debits_minor: i128, posted_credits_minor: i128) -> Balance {
        let (plus, minus, hold) = match self.normal_side {
            Side::Credit => (posted_credits_minor, posted_debits_minor, self.pending_debits_minor),
            Side::Debit => (posted_debits_minor, posted_credits_minor, self.pending_credits_minor),
        };
        let posted_minor = plus.saturating_sub(minus);
        Balance { posted_minor, pending_minor: hold, available_minor: posted_minor.saturating_sub(hold) }
    }
}
