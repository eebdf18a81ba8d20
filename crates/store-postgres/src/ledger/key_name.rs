//! What a caller's key is called in the table of postings.

use std::{collections::HashMap, hash::Hash};

use florin_ledger::{AccountId, IdempotencyKey, Outcome, Rejection, bucket_of};
use uuid::Uuid;

use super::small;

/// The bucket of what the key's command acts on, and the first 12 bytes of the key's digest. That is ample: of 10^12
/// keys, a thousand million in each bucket, any two have one name by chance once in 160 million such databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct KeyName {
    pub(crate) bucket: i16,
    pub(crate) low: i32,
    pub(crate) high: i64,
}

impl KeyName {
    pub(crate) fn of(key: &IdempotencyKey) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, ..] = key.digest();
        Self {
            bucket: small(bucket_of(key.resource)),
            low: i32::from_be_bytes([i, j, k, l]),
            high: i64::from_be_bytes([a, b, c, d, e, f, g, h]),
        }
    }
}

/// The place in the table of an answer that no posting is: bucket, account, version. In the account's stead there is
/// the whole digest, so that two answers have one place only if their keys have one name.
pub(crate) fn place_of_answer(key: &IdempotencyKey) -> (i16, AccountId, i64) {
    (small(bucket_of(key.resource)), AccountId(Uuid::from_bytes(key.digest())), -1)
}

/// Keys that have the name of another key before them, which no index could tell apart: as used before. Nobody has two
/// such keys by chance, but somebody may search for them, and their batch could never be written.
pub(crate) fn namesakes<N: Eq + Hash>(
    keys: &[&IdempotencyKey],
    name_of: impl Fn(&IdempotencyKey) -> N,
) -> Vec<(IdempotencyKey, Outcome)> {
    let mut first: HashMap<N, &IdempotencyKey> = HashMap::with_capacity(keys.len());
    let mut found = Vec::new();
    for key in keys {
        let before = first.entry(name_of(key)).or_insert(key);
        if (before.scope, &before.key) != (key.scope, &key.key) {
            let fingerprint = key.fingerprint.map(|byte| !byte);
            let other_request = IdempotencyKey { fingerprint, ..(*key).clone() };
            found.push((other_request, Outcome::Rejected(Rejection::IdempotencyKeyReused)));
        }
    }
    found
}

/// Keys of one name that are asked for, as a row answers them that is kept under it: the key of its own request as it
/// is, and any other as used for another request.
pub(crate) fn requests_answered(asked: &[&IdempotencyKey], fingerprint: i64) -> Vec<IdempotencyKey> {
    let own = asked.iter().find(|key| fingerprint_code(key) == fingerprint);
    let text = own.map(|own| (own.scope, &own.key));
    let others = asked.iter().filter(|key| text != Some((key.scope, &key.key)));
    own.map(|own| (*own).clone()).into_iter().chain(others.map(|key| another_request(key, fingerprint))).collect()
}

/// The key of a request that is not the one which is asked for: as far as it is known.
fn another_request(key: &IdempotencyKey, fingerprint: i64) -> IdempotencyKey {
    let mut known = [0; 32];
    known[..8].copy_from_slice(&fingerprint.to_be_bytes());
    IdempotencyKey { fingerprint: known, ..key.clone() }
}

/// Names of keys, for arrays.
#[derive(Default)]
pub(crate) struct KeyNames {
    pub(crate) buckets: Vec<i16>,
    pub(crate) lows: Vec<i32>,
    pub(crate) highs: Vec<i64>,
}

impl KeyNames {
    pub(crate) fn of(keys: &[&IdempotencyKey]) -> Self {
        let mut names = Self::default();
        for KeyName { bucket, low, high } in keys.iter().map(|key| KeyName::of(key)) {
            names.buckets.push(bucket);
            names.lows.push(low);
            names.highs.push(high);
        }
        names
    }
}

/// What is kept of a request's fingerprint: nobody sends two requests under one key that differ and have the same 64
/// bits by chance.
pub(crate) fn fingerprint_code(key: &IdempotencyKey) -> i64 {
    let [a, b, c, d, e, f, g, h, ..] = key.fingerprint;
    i64::from_be_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(key: &str, fingerprint: u8) -> IdempotencyKey {
        let scope = Uuid::from_u128(7);
        IdempotencyKey { scope, resource: scope, key: key.to_owned(), fingerprint: [fingerprint; 32] }
    }

    #[test]
    fn a_kept_answer_is_that_of_its_own_request_whatever_comes_before_it() {
        let (kept, other, changed) = (key("rent-1", 1), key("rent-2", 9), key("rent-1", 5));
        let answered = |asked: &[&IdempotencyKey]| -> Vec<_> {
            let found = requests_answered(asked, fingerprint_code(&kept));
            found.iter().map(|found| (found.key.clone(), found.fingerprint == kept.fingerprint)).collect()
        };
        let (own, used) = (("rent-1".to_owned(), true), ("rent-2".to_owned(), false));
        assert_eq!(answered(&[&other, &kept]), [own.clone(), used.clone()]);
        assert_eq!(answered(&[&kept, &changed]), [own]);
        assert_eq!(answered(&[&other]), [used]);
        assert_eq!(answered(&[&changed]), [("rent-1".to_owned(), false)]);
    }

    #[test]
    fn only_another_key_of_the_same_name_counts_as_used() {
        let keys = [key("rent-1", 1), key("rent-2", 1), key("rent-1", 2), key("gas-1", 1), key("rent-3", 3)];
        let keys: Vec<_> = keys.iter().collect();
        let found = namesakes(&keys, |key| key.key[..3].to_owned());
        let found: Vec<_> = found.iter().map(|(key, _)| (key.key.as_str(), key.fingerprint[0])).collect();
        assert_eq!(found, [("rent-2", !1), ("rent-3", !3)], "as used for another request");
        assert_eq!(namesakes(&keys, KeyName::of), []);
    }
}
