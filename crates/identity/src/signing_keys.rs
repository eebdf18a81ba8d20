//! The life of a key that signs access tokens: next, active, retiring, deleted.

/// What a key does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// Published, and signs nothing yet.
    Next,
    /// Signs.
    Active,
    /// Signs nothing any more; what it signed counts until this time, microseconds since the Unix epoch, UTC.
    Retiring {
        /// When the last token that it signed is over.
        until_us: i64,
    },
}

/// What is known of a key. Deleted and revoked ones are not among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyFacts {
    /// What it does.
    pub state: KeyState,
    /// When it was made, microseconds since the Unix epoch, UTC.
    pub created_at_us: i64,
}

/// How long everything takes, microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyRules {
    /// How long a key is published before it signs: until everybody who keeps the published keys has it.
    pub lead_us: i64,
    /// How long a token counts after its key stopped to sign, with room for clocks that differ.
    pub token_life_us: i64,
    /// After how long a key is replaced; none for never.
    pub key_life_us: Option<i64>,
}

/// What somebody wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyWish {
    /// Only what time brings.
    Nothing,
    /// A next key, if there is none yet.
    Next,
    /// The next key signs from now on, however short it has been published.
    Now,
}

/// One step. Keys are named by their place in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyChange {
    /// Make a key that is published and does not sign yet.
    MakeNext,
    /// Make a key that signs at once.
    MakeActive,
    /// The next key signs from now on.
    Activate(usize),
    /// The active key stops to sign. Its private part is not needed any more.
    Retire {
        /// Which.
        key: usize,
        /// See [`KeyState::Retiring`].
        until_us: i64,
    },
    /// No token that this key signed counts any more.
    Delete(usize),
}

/// Decides what happens to the keys at `now_us`, in this order.
#[must_use]
pub fn decide_keys(keys: &[KeyFacts], wish: KeyWish, now_us: i64, rules: &KeyRules) -> Vec<KeyChange> {
    let place = |wanted: fn(KeyState) -> bool| keys.iter().position(|key| wanted(key.state));
    let next = place(|state| state == KeyState::Next);
    let until_us = now_us.saturating_add(rules.token_life_us);
    let mut changes = Vec::new();
    for (index, key) in keys.iter().enumerate() {
        match key.state {
            KeyState::Retiring { until_us } if until_us <= now_us => changes.push(KeyChange::Delete(index)),
            _ => {}
        }
    }
    let Some(active) = place(|state| state == KeyState::Active) else {
        changes.push(next.map_or(KeyChange::MakeActive, KeyChange::Activate));
        return changes;
    };
    let age_of = |index: usize| keys.get(index).map_or(0, |key| now_us.saturating_sub(key.created_at_us));
    let is_old = rules.key_life_us.is_some_and(|life_us| age_of(active) >= life_us.saturating_sub(rules.lead_us));
    match (next, wish) {
        (Some(next), _) if wish == KeyWish::Now || age_of(next) >= rules.lead_us => {
            changes.extend([KeyChange::Retire { key: active, until_us }, KeyChange::Activate(next)]);
        }
        (None, KeyWish::Now) => {
            changes.extend([KeyChange::Retire { key: active, until_us }, KeyChange::MakeActive]);
        }
        (None, KeyWish::Next) => changes.push(KeyChange::MakeNext),
        (None, KeyWish::Nothing) if is_old => changes.push(KeyChange::MakeNext),
        _ => {}
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::{
        KeyChange::{Activate, Delete, MakeActive, MakeNext, Retire},
        *,
    };

    const NOW: i64 = 1_000_000;
    const RULES: KeyRules = KeyRules { lead_us: 100, token_life_us: 1000, key_life_us: Some(90_000) };

    fn key(state: KeyState, age_us: i64) -> KeyFacts {
        KeyFacts { state, created_at_us: NOW - age_us }
    }

    #[test]
    fn keys_are_decided_by_the_table() {
        let active = key(KeyState::Active, 5000);
        let old = key(KeyState::Active, 89_900);
        let (fresh, ripe) = (key(KeyState::Next, 99), key(KeyState::Next, 100));
        let retiring = key(KeyState::Retiring { until_us: NOW + 1 }, 9000);
        let over = key(KeyState::Retiring { until_us: NOW }, 9000);
        let retire = |key| Retire { key, until_us: NOW + 1000 };
        let table: [(&str, &[KeyFacts], KeyWish, &[KeyChange]); 15] = [
            ("the first start", &[], KeyWish::Nothing, &[MakeActive]),
            ("one key that signs", &[active], KeyWish::Nothing, &[]),
            ("a next key is wanted", &[active], KeyWish::Next, &[MakeNext]),
            ("a next key is there already", &[fresh, active], KeyWish::Next, &[]),
            ("published too short", &[fresh, active], KeyWish::Nothing, &[]),
            ("published long enough", &[ripe, active], KeyWish::Nothing, &[retire(1), Activate(0)]),
            ("at once, with a next key", &[fresh, active], KeyWish::Now, &[retire(1), Activate(0)]),
            ("at once, without one", &[active], KeyWish::Now, &[retire(0), MakeActive]),
            ("still counts", &[active, retiring], KeyWish::Nothing, &[]),
            ("over", &[active, over, retiring], KeyWish::Nothing, &[Delete(1)]),
            ("over, and more at once", &[ripe, active, over], KeyWish::Next, &[Delete(2), retire(1), Activate(0)]),
            ("not quite old", &[key(KeyState::Active, 89_899)], KeyWish::Nothing, &[]),
            ("old", &[old], KeyWish::Nothing, &[MakeNext]),
            ("old, and replaced soon", &[fresh, old], KeyWish::Nothing, &[]),
            ("the active one was revoked", &[fresh, retiring], KeyWish::Nothing, &[Activate(0)]),
        ];
        for (what, keys, wish, expected) in table {
            assert_eq!(decide_keys(keys, wish, NOW, &RULES), expected, "{what}");
        }
    }

    #[test]
    fn a_key_without_an_end_is_never_replaced_by_time() {
        let rules = KeyRules { key_life_us: None, ..RULES };
        assert_eq!(decide_keys(&[key(KeyState::Active, i64::MAX)], KeyWish::Nothing, NOW, &rules), []);
    }

    #[test]
    fn a_clock_that_went_back_activates_nothing_early() {
        let keys = [key(KeyState::Next, -500), key(KeyState::Active, 5000)];
        assert_eq!(decide_keys(&keys, KeyWish::Nothing, NOW, &RULES), []);
    }
}
