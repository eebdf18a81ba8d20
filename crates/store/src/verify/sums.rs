//! What the postings of one account come to.

use florin_ledger::{PostedLeg, Side};
use florin_money::Asset;

/// What an account's postings come to so far.
pub(super) struct Sums {
    pub(super) asset: Asset,
    normal_side: Side,
    pub(super) debits_minor: i128,
    pub(super) credits_minor: i128,
    pub(super) version: i64,
}

impl Sums {
    pub(super) const fn new(asset: Asset, normal_side: Side) -> Self {
        Self { asset, normal_side, debits_minor: 0, credits_minor: 0, version: 0 }
    }

    /// Adds the account's next posting; false when one before it is not there yet.
    pub(super) fn add(&mut self, posted: &PostedLeg) -> Result<bool, String> {
        let next = self.version + 1;
        if posted.version > next {
            return Ok(false);
        }
        if posted.version < next {
            return Err(format!("{}: it is there twice", place_of(posted)));
        }
        self.version = next;
        match posted.leg.side {
            Side::Debit => self.debits_minor += posted.leg.amount_minor,
            Side::Credit => self.credits_minor += posted.leg.amount_minor,
        }
        let after_minor = match self.normal_side {
            Side::Debit => self.debits_minor - self.credits_minor,
            Side::Credit => self.credits_minor - self.debits_minor,
        };
        if posted.balance.posted_minor == after_minor {
            return Ok(true);
        }
        let said = posted.balance.posted_minor;
        Err(format!("{}: says {said} minor units after it, the sum is {after_minor}", place_of(posted)))
    }
}

/// For messages.
pub(super) fn place_of(posted: &PostedLeg) -> String {
    format!("posting {} of account {}", posted.version, posted.leg.account_id.0)
}

/// An amount by which all balances must come to zero.
pub(super) const fn signed(side: Side, amount_minor: i128) -> i128 {
    match side {
        Side::Debit => -amount_minor,
        Side::Credit => amount_minor,
    }
}
