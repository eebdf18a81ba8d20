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
    fn ids_spread_over_the_buckets() {
        let mut hits = vec![0_u32; usize::from(BUCKETS)];
        for n in 0..u128::from(BUCKETS) * 100 {
            hits[usize::from(bucket_of(Uuid::from_u128(n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))))] +=
                1;
        }
        assert!(hits.iter().all(|count| (40..250).contains(count)), "{hits:?}");
    }
}
