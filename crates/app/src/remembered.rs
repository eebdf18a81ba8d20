//! What was looked up before, by its key: a bounded memory that costs a lookup no allocation and no housekeeping.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, Hash},
    mem,
};

use foldhash::quality::RandomState;
use parking_lot::RwLock;

/// Parts with a lock each, so that threads seldom meet.
const SHARDS: usize = 16;

/// Two generations: what is asked for moves to the young one, and when that is full it becomes the old one, whose rest
/// is forgotten. So what is in use stays, and no more than the bound is ever held.
struct Generations<K, V> {
    young: HashMap<K, V, RandomState>,
    old: HashMap<K, V, RandomState>,
}

/// At most so many values by their keys. Which of those not used lately are forgotten is not defined.
///
/// Nobody may choose the keys of what is inserted (ids and digests that this house made): a quick hash does for them.
pub(crate) struct Remembered<K, V> {
    shards: Vec<RwLock<Generations<K, V>>>,
    choice: RandomState,
    young_max: usize,
}

impl<K: Hash + Eq + Copy, V: Clone> Remembered<K, V> {
    /// An empty memory for about `max` values.
    pub(crate) fn new(max: usize) -> Self {
        let empty = || RwLock::new(Generations { young: HashMap::default(), old: HashMap::default() });
        let shards = std::iter::repeat_with(empty).take(SHARDS).collect();
        Self { shards, choice: RandomState::default(), young_max: (max / SHARDS / 2).max(1) }
    }

    /// The value, if it is still remembered.
    pub(crate) fn get(&self, key: &K) -> Option<V> {
        let value = {
            let generations = self.shard(key)?.read();
            if let Some(value) = generations.young.get(key) {
                return Some(value.clone());
            }
            generations.old.get(key)?.clone()
        };
        self.renew(*key);
        Some(value)
    }

    /// What is remembered of many keys, in their order; each lock is taken once.
    pub(crate) fn get_all<T>(&self, keys: &[K], what: impl Fn(&V) -> T) -> Vec<Option<T>> {
        let mut to_renew = Vec::new();
        // All in one order: nobody waits in a circle.
        let shards: Vec<_> = self.shards.iter().map(RwLock::read).collect();
        let look = |key: &K| {
            let generations = shards.get(self.place(key))?;
            if let Some(value) = generations.young.get(key) {
                return Some(what(value));
            }
            let value = generations.old.get(key)?;
            to_renew.push(*key);
            Some(what(value))
        };
        let values = keys.iter().map(look).collect();
        drop(shards);
        for key in to_renew {
            self.renew(key);
        }
        values
    }

    /// Remembers a value; an earlier one is replaced.
    pub(crate) fn insert(&self, key: K, value: V) {
        let Some(shard) = self.shard(&key) else { return };
        // What is forgotten may be much: it is dropped when the lock is free again.
        let forgotten = shard.write().insert(key, value, self.young_max);
        drop(forgotten);
    }

    fn renew(&self, key: K) {
        let Some(shard) = self.shard(&key) else { return };
        let forgotten = shard.write().renew(key, self.young_max);
        drop(forgotten);
    }

    fn shard(&self, key: &K) -> Option<&RwLock<Generations<K, V>>> {
        self.shards.get(self.place(key))
    }

    /// That of the key's shard.
    fn place(&self, key: &K) -> usize {
        let hash = self.choice.hash_one(key);
        usize::try_from(hash % SHARDS as u64).unwrap_or_default()
    }
}

impl<K: Hash + Eq, V> Generations<K, V> {
    /// Gives what is forgotten for it.
    fn insert(&mut self, key: K, value: V, young_max: usize) -> Option<HashMap<K, V, RandomState>> {
        let is_full = self.young.len() >= young_max && !self.young.contains_key(&key);
        let forgotten = is_full.then(|| mem::replace(&mut self.old, mem::take(&mut self.young)));
        // An earlier value must not come back.
        self.old.remove(&key);
        self.young.insert(key, value);
        forgotten
    }

    /// Moves a value to the young ones, unless somebody else did or it was replaced.
    fn renew(&mut self, key: K, young_max: usize) -> Option<HashMap<K, V, RandomState>> {
        let value = self.old.remove(&key)?;
        self.insert(key, value, young_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl<K, V> Remembered<K, V> {
        fn len(&self) -> usize {
            self.shards.iter().map(|shard| shard.read().young.len() + shard.read().old.len()).sum()
        }
    }

    #[test]
    fn the_last_value_counts() {
        let memory = Remembered::new(100);
        assert_eq!(memory.get(&1), None);
        memory.insert(1, "a");
        memory.insert(1, "b");
        assert_eq!((memory.get(&1), memory.len()), (Some("b"), 1));
    }

    #[test]
    fn what_is_used_stays_and_the_bound_holds() {
        let memory = Remembered::new(1600);
        for key in 0..100_000 {
            memory.insert(key, key);
            assert_eq!(memory.get(&0), Some(0), "after {key}");
            assert_eq!(memory.get(&key), Some(key));
        }
        assert!(memory.len() <= 1600, "{}", memory.len());
        assert!((1..90_000).all(|key| memory.get(&key).is_none()));
    }

    #[test]
    fn many_are_found_at_once_and_stay() {
        let memory = Remembered::new(1600);
        for key in 0..100_000 {
            memory.insert(key, key);
            let found = memory.get_all(&[-1, 0, key, 0], |value| *value);
            assert_eq!(found, [None, Some(0), Some(key), Some(0)], "after {key}");
        }
        assert!(memory.len() <= 1600, "{}", memory.len());
    }

    #[test]
    fn an_outdated_value_never_comes_back() {
        let memory = Remembered::new(1);
        memory.insert(0, 0);
        // Every insert makes the generation before it old.
        for round in 1..100 {
            memory.insert(round, round);
            memory.insert(0, round);
            assert_eq!(memory.get(&0), Some(round));
            assert_eq!(memory.get(&0), Some(round));
        }
    }
}
