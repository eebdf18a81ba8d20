//! Typed ids, and the bucket that can be computed from an id alone.

use std::collections::{HashMap, HashSet};

use foldhash::fast::FixedState;
use uuid::Uuid;

/// How many buckets rows are spread over. Stored with every row, so it never changes.
pub const BUCKETS: u16 = 1024;

/// The bucket (0–1023) of the row that this id names: a fixed hash of its 16 bytes (FNV-1a, folded).
#[must_use]
pub fn bucket_of(id: Uuid) -> u16 {
    let mut hash: u32 = 0x811c_9dc5;
    for byte in id.as_bytes() {
        hash = (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    }
    let folded = (hash ^ (hash >> 16)) & 0xffff;
    u16::try_from(folded).unwrap_or_default() % BUCKETS
}

/// Names an account: a wallet, or one stripe of a system account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(pub Uuid);

impl AccountId {
    /// The bucket of the account's rows.
    #[must_use]
    pub fn bucket(self) -> u16 {
        bucket_of(self.0)
    }

    /// Sorts them, and leaves each once.
    pub fn sort(ids: &mut Vec<Self>) {
        // The order of the bytes, compared as a number, which is quicker.
        ids.sort_unstable_by_key(|id| id.0.as_u128());
        ids.dedup();
    }
}

/// What is known of accounts. Callers cannot choose ids, so a quick hash does: nobody can make them collide.
pub type AccountMap<V> = HashMap<AccountId, V, FixedState>;

/// Accounts, each once.
pub type AccountSet = HashSet<AccountId, FixedState>;

/// Names a transaction. Time-ordered (UUIDv7), made by the app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionId(pub Uuid);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_kept_in_storage_and_never_change() {
        let table = [([0; 16], 108), ([1; 16], 315), ([255; 16], 1010)];
        for (bytes, bucket) in table {
            assert_eq!(bucket_of(Uuid::from_bytes(bytes)), bucket, "{bytes:?}");
        }
    }

    #[test]
    fn accounts_are_sorted_as_they_compare() {
        let mut ids: Vec<_> = [7, 1 << 120, 7, 1 << 64, u128::MAX, 256].map(|id| AccountId(Uuid::from_u128(id))).into();
        let by_the_book: std::collections::BTreeSet<_> = ids.iter().copied().collect();
        AccountId::sort(&mut ids);
        assert_eq!(ids, by_the_book.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn ids_spread_over_the_buckets() {
        let mut hits = vec![0_u32; usize::from(BUCKETS)];
        for n in 0..u128::from(BUCKETS) * 100 {
            hits[usize::from(bucket_of(Uuid::from_u128(n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))))] +=
                1;
        }
        assert!(hits.iter().all(|count| (40..250).contains(count)), "{hits:?}");
    }
}
