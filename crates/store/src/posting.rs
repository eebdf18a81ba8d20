//! What an engine gives back of the ledger: postings of an account, and batches with their transactions.

use florin_ledger::{
    AccountId, Balance, BatchHeader, Hash, HashForm, Kind, PostedLeg, Side, TransactionId, TransactionRecord,
    transaction_hash,
};
use florin_money::Asset;
use uuid::Uuid;

/// One line of an account's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posting {
    /// The account.
    pub account_id: AccountId,
    /// The account's number of postings after it: the line's place.
    pub version: i64,
    /// The transaction.
    pub transaction_id: TransactionId,
    /// Why money moved.
    pub kind: Kind,
    /// Debit or credit.
    pub side: Side,
    /// Minor units.
    pub amount_minor: i128,
    /// The account's balance after it.
    pub balance: Balance,
    /// The account on the other side.
    pub counterpart_id: AccountId,
    /// The reason given, if any.
    pub reason: Option<String>,
    /// Microseconds since the Unix epoch, UTC.
    pub recorded_at_us: i64,
}

/// Which postings to list. Every bound is always there: the widest one lets everything pass.
#[derive(Debug, Clone, Copy)]
pub struct PostingFilter {
    /// Only places before this one.
    pub before_version: i64,
    /// Only this kind; all if there is none.
    pub kind: Option<Kind>,
    /// Recorded at or after, microseconds since the Unix epoch, UTC.
    pub from_us: i64,
    /// Recorded before, microseconds since the Unix epoch, UTC.
    pub to_us: i64,
    /// Amount at least, minor units.
    pub min_minor: i128,
    /// Amount at most, minor units.
    pub max_minor: i128,
    /// At most so many.
    pub limit: usize,
}

impl PostingFilter {
    /// Every posting, newest first, at most `limit`.
    #[must_use]
    pub const fn newest(limit: usize) -> Self {
        Self {
            before_version: i64::MAX,
            kind: None,
            from_us: i64::MIN,
            to_us: i64::MAX,
            min_minor: 0,
            max_minor: i128::MAX,
            limit,
        }
    }

    /// Whether a posting passes, but for its place and the limit.
    #[must_use]
    pub fn admits(&self, kind: Kind, amount_minor: i128, recorded_at_us: i64) -> bool {
        self.kind.is_none_or(|wanted| wanted == kind)
            && (self.min_minor..=self.max_minor).contains(&amount_minor)
            && (self.from_us..self.to_us).contains(&recorded_at_us)
    }
}

/// How many postings one page may look at: a filter that admits few gives a short page and a place to go on from, never
/// a request that walks through millions of rows.
pub const POSTINGS_LOOKED_AT_MAX: i64 = 20_000;

/// A page of postings, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PostingPage {
    /// The lines; they may be fewer than asked for, also none, before the end.
    pub postings: Vec<Posting>,
    /// Where to go on: the next `before_version`. None at the end of the history.
    pub next_before_version: Option<i64>,
}

/// A transaction as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTransaction {
    /// Its id.
    pub transaction_id: TransactionId,
    /// Why money moved.
    pub kind: Kind,
    /// The asset of every leg.
    pub asset: Asset,
    /// Who asked.
    pub actor_id: Uuid,
    /// A reason or reference, for people.
    pub reason: Option<String>,
    /// The text of the caller's key.
    pub idempotency_key: Option<String>,
    /// When it happened, microseconds since the Unix epoch, UTC.
    pub effective_at_us: i64,
    /// When the ledger learned of it, microseconds since the Unix epoch, UTC.
    pub recorded_at_us: i64,
    /// Its legs, in the command's order.
    pub legs: Vec<PostedLeg>,
}

impl StoredTransaction {
    /// The hash, recomputed from what is stored, in the form of its batch.
    #[must_use]
    pub fn hash(&self, form: HashForm) -> Hash {
        let record = TransactionRecord {
            transaction_id: self.transaction_id,
            kind: self.kind,
            asset: self.asset,
            actor_id: self.actor_id,
            reason: self.reason.as_deref(),
            idempotency_key: self.idempotency_key.as_deref(),
            effective_at_us: self.effective_at_us,
            recorded_at_us: self.recorded_at_us,
            legs: &self.legs,
        };
        transaction_hash(&record, form)
    }

    /// The postings of its legs.
    pub fn postings(&self) -> impl Iterator<Item = Posting> + '_ {
        self.legs.iter().map(|posted| Posting {
            account_id: posted.leg.account_id,
            version: posted.version,
            transaction_id: self.transaction_id,
            kind: self.kind,
            side: posted.leg.side,
            amount_minor: posted.leg.amount_minor,
            balance: posted.balance,
            counterpart_id: counterpart_of(&self.legs, posted.leg.side).unwrap_or(posted.leg.account_id),
            reason: self.reason.clone(),
            recorded_at_us: self.recorded_at_us,
        })
    }
}

/// The account on the other side of a leg on `side`: the first with the other direction.
fn counterpart_of(legs: &[PostedLeg], side: Side) -> Option<AccountId> {
    legs.iter().find(|posted| posted.leg.side != side).map(|posted| posted.leg.account_id)
}

/// A batch as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBatch {
    /// The header's fields.
    pub header: BatchHeader,
    /// The header's hash as it was stored.
    pub hash: Hash,
    /// Its transactions, in order.
    pub transactions: Vec<StoredTransaction>,
}

/// The end of a writer's chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainHead {
    /// The last batch's number.
    pub number: i64,
    /// The last header's hash.
    pub hash: Hash,
    /// The last batch's time, microseconds since the Unix epoch, UTC.
    pub recorded_at_us: i64,
}
