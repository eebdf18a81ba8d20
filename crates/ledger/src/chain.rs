//! The hash chain: a hash a transaction, a Merkle root a batch, each header holding the hash of the one before.
//!
//! Everything is hashed in one canonical binary form: a name that says what it is, then every field with its length (32
//! bits, big-endian) before it, integers big-endian in their full width. No two records share a form.

use florin_money::Asset;
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{Command, Kind, PostedLeg, Side, TransactionId};

/// SHA-256.
pub type Hash = [u8; 32];

/// What the first header of a chain points to.
pub const GENESIS_HASH: Hash = [0; 32];

/// Entries that one thread hashes at a time, with the subtree above them: a power of two. Of many another thread takes
/// some, if it is idle: none ever waits for one that has not begun.
pub(crate) const HASHED_AT_ONCE: usize = 64;
/// So many take longer than it takes to wake another thread.
pub(crate) const WORTH_SHARING: usize = 512;

/// One batch in a writer's chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// Whose chain.
    pub writer: u16,
    /// 1, 2, 3 …
    pub number: i64,
    /// Hash of the header before, or [`GENESIS_HASH`].
    pub previous_hash: Hash,
    /// Merkle root of the transactions' hashes, in order.
    pub merkle_root: Hash,
    /// How many transactions.
    pub transactions: u32,
    /// Microseconds since the Unix epoch, UTC.
    pub recorded_at_us: i64,
}

impl BatchHeader {
    /// The header's own hash.
    #[must_use]
    pub fn hash(&self) -> Hash {
        let mut form = CanonicalForm::default();
        form.begin("florin.batch.v1");
        form.field(&self.writer.to_be_bytes());
        form.field(&self.number.to_be_bytes());
        form.field(&self.previous_hash);
        form.field(&self.merkle_root);
        form.field(&self.transactions.to_be_bytes());
        form.field(&self.recorded_at_us.to_be_bytes());
        form.hash()
    }
}

/// What is hashed of a transaction: everything that is kept of it, so that stored rows can be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionRecord<'a> {
    /// Its id.
    pub transaction_id: TransactionId,
    /// Why money moved.
    pub kind: Kind,
    /// The asset of every leg: code and exponent.
    pub asset: Asset,
    /// Who asked.
    pub actor_id: Uuid,
    /// A reason or reference, for people.
    pub reason: Option<&'a str>,
    /// The text of the caller's key, if one was given.
    pub idempotency_key: Option<&'a str>,
    /// When it happened; microseconds since the Unix epoch, UTC.
    pub effective_at_us: i64,
    /// When the ledger learned of it; microseconds since the Unix epoch, UTC.
    pub recorded_at_us: i64,
    /// Its legs in the command's order, each with the balance after it.
    pub legs: &'a [PostedLeg],
}

impl<'a> TransactionRecord<'a> {
    /// The record of `command`, applied at `recorded_at_us` as `legs`.
    #[must_use]
    pub fn of_command(command: &'a Command, recorded_at_us: i64, legs: &'a [PostedLeg]) -> Self {
        Self {
            transaction_id: command.transaction_id,
            kind: command.kind,
            asset: command.asset,
            actor_id: command.actor_id,
            reason: command.reason.as_deref(),
            idempotency_key: command.idempotency.as_ref().map(|idempotency| idempotency.key.as_str()),
            effective_at_us: command.effective_at_us.unwrap_or(recorded_at_us),
            recorded_at_us,
            legs,
        }
    }
}

/// The hash of a transaction and its postings.
#[must_use]
pub fn transaction_hash(record: &TransactionRecord<'_>) -> Hash {
    hash_transaction(record, &mut CanonicalForm::default())
}

/// The same in a form that was used before.
pub(crate) fn hash_transaction(record: &TransactionRecord<'_>, form: &mut CanonicalForm) -> Hash {
    form.begin("florin.transaction.v1");
    form.field(record.transaction_id.0.as_bytes());
    form.field(record.kind.as_str().as_bytes());
    form.field(record.asset.code().as_str().as_bytes());
    form.field(&[record.asset.exponent()]);
    form.field(record.actor_id.as_bytes());
    form.optional(record.reason);
    form.optional(record.idempotency_key);
    form.field(&record.effective_at_us.to_be_bytes());
    form.field(&record.recorded_at_us.to_be_bytes());
    form.count(record.legs.len());
    for posted in record.legs {
        form.field(posted.leg.account_id.0.as_bytes());
        form.field(match posted.leg.side {
            Side::Debit => b"D",
            Side::Credit => b"C",
        });
        form.field(&posted.leg.amount_minor.to_be_bytes());
        form.field(&posted.version.to_be_bytes());
        form.field(&posted.balance.posted_minor.to_be_bytes());
        form.field(&posted.balance.pending_minor.to_be_bytes());
    }
    form.hash()
}

/// The Merkle root (RFC 9162 section 2.1.1) of a list whose entries are `hashes`.
#[must_use]
pub fn merkle_root(hashes: &[Hash]) -> Hash {
    match hashes.len() {
        0 => Sha256::digest(b"").into(),
        1..WORTH_SHARING => subtree_root(hashes),
        _ => root_above(hashes.par_chunks(HASHED_AT_ONCE).with_max_len(1).map(subtree_root).collect()),
    }
}

/// The root above one entry or more.
pub(crate) fn subtree_root(hashes: &[Hash]) -> Hash {
    root_above(hashes.iter().map(|entry| hash_of_two(0, entry, &[])).collect())
}

/// The root above one subtree or more, of as many entries each, but for the last: a power of two.
pub(crate) fn root_above(mut level: Vec<Hash>) -> Hash {
    // Pairing neighbours and carrying an odd last one up gives the RFC's tree, which splits at powers of two.
    while level.len() > 1 {
        let pair_up = |pair: &[Hash]| match pair {
            [left, right] => hash_of_two(1, left, right),
            odd => odd[0],
        };
        level = level.chunks(2).map(pair_up).collect();
    }
    level[0]
}

/// Of two hashes at most.
fn hash_of_two(prefix: u8, left: &[u8], right: &[u8]) -> Hash {
    let mut bytes = [0; 65];
    let both = left.len() + right.len();
    bytes[0] = prefix;
    bytes[1..=left.len()].copy_from_slice(left);
    bytes[1 + left.len()..=both].copy_from_slice(right);
    Sha256::digest(&bytes[..=both]).into()
}

/// Fields, each with its length before it. They are hashed together: SHA-256 takes many small pieces slowly.
#[derive(Default)]
pub(crate) struct CanonicalForm(Vec<u8>);

impl CanonicalForm {
    /// Of a record of this name, without fields.
    fn begin(&mut self, name: &str) {
        self.0.clear();
        self.0.reserve(512);
        self.field(name.as_bytes());
    }

    fn count(&mut self, count: usize) {
        // No record comes near 2^32 bytes or legs; the length that is fed says so even there, by never wrapping.
        self.0.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes());
    }

    fn field(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    /// One byte that says whether there is a text, then the text: none and an empty one differ.
    fn optional(&mut self, text: Option<&str>) {
        self.0.push(u8::from(text.is_some()));
        if let Some(text) = text {
            self.field(text.as_bytes());
        }
    }

    fn hash(&self) -> Hash {
        Sha256::digest(&self.0).into()
    }
}

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;
