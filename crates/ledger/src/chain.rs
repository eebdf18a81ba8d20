//! The hash chain: a hash a transaction, a Merkle root a batch, each header holding the hash of the one before.
//!
//! What is hashed is said in `canonical_form.rs`.

use florin_money::Asset;
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{Command, Kind, PostedLeg, TransactionId, canonical_form::CanonicalForm};

/// SHA-256.
pub type Hash = [u8; 32];

/// What the first header of a chain points to.
pub const GENESIS_HASH: Hash = [0; 32];

/// Entries that one thread hashes at a time, with the subtree above them: a power of two. Of many another thread takes
/// some, if it is idle: none ever waits for one that has not begun.
pub(crate) const HASHED_AT_ONCE: usize = 64;
/// So many take longer than it takes to wake another thread.
pub(crate) const WORTH_SHARING: usize = 512;

/// How a batch is hashed. Batches that are there keep the form they were written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashForm {
    /// The first: a transaction's hash is an entry of the Merkle tree.
    V1,
    /// Shorter: a transaction's hash is a leaf of the Merkle tree, the transaction being the entry.
    V2,
}

impl HashForm {
    /// That of new batches.
    pub const CURRENT: Self = Self::V2;
}

/// One batch in a writer's chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// How it and its transactions are hashed.
    pub form: HashForm,
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
        form.set_header(self);
        Sha256::digest(form.bytes()).into()
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
pub fn transaction_hash(record: &TransactionRecord<'_>, form: HashForm) -> Hash {
    hash_transaction(record, form, &mut CanonicalForm::default())
}

/// The same, with room that was used before.
pub(crate) fn hash_transaction(record: &TransactionRecord<'_>, form: HashForm, room: &mut CanonicalForm) -> Hash {
    room.set_transaction(record, form);
    Sha256::digest(room.bytes()).into()
}

/// The Merkle root (RFC 9162 section 2.1.1) of a batch whose transactions have these hashes.
#[must_use]
pub fn merkle_root(hashes: &[Hash], form: HashForm) -> Hash {
    match hashes.len() {
        0 => Sha256::digest(b"").into(),
        1..WORTH_SHARING => subtree_root(hashes, form),
        _ => {
            let subtree = |hashes| subtree_root(hashes, form);
            root_above(hashes.par_chunks(HASHED_AT_ONCE).with_max_len(1).map(subtree).collect())
        }
    }
}

/// The root above one transaction or more.
pub(crate) fn subtree_root(hashes: &[Hash], form: HashForm) -> Hash {
    root_above(match form {
        HashForm::V1 => hashes.iter().map(|entry| hash_of_two(0, entry, &[])).collect(),
        HashForm::V2 => hashes.to_vec(),
    })
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

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;
