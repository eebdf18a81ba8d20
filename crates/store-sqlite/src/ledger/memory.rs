//! The newest figures of accounts, and the places of keys that are not in their index yet.

use florin_ledger::{Account, AccountId, AccountMap, KeyDigest};
use parking_lot::RwLock;

use super::{KeyMap, record::Place};

/// Accounts remembered; beyond it, those that are in their table are forgotten (about 300 bytes each).
const ACCOUNTS_MAX: usize = 500_000;

/// An account and the place of its last posting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) account: Account,
    pub(crate) place: Place,
}

/// Shared by the writer, who changes it after each commit, and the readers.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    accounts: AccountMap<Held>,
    keys: KeyMap<Place>,
    moment: Moment,
}

/// How much can be read from what is missing in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Moment {
    /// Grows whenever something is forgotten.
    pub(crate) generation: u64,
    /// Whether memory holds all that the tables lack. While it does, and nothing is forgotten, what is missing here is
    /// in its table.
    pub(crate) is_complete: bool,
}

impl Memory {
    pub(crate) fn moment(&self) -> Moment {
        self.state.read().moment
    }

    pub(crate) fn find_account(&self, id: AccountId) -> Option<Held> {
        self.state.read().accounts.get(&id).cloned()
    }

    /// What `look` makes of the accounts that are remembered; a commit waits for it.
    pub(crate) fn look_at_accounts<T>(&self, look: impl FnOnce(&AccountMap<Held>) -> T) -> T {
        look(&self.state.read().accounts)
    }

    /// Those of `ids` that are remembered, all as of one moment, and that moment.
    pub(crate) fn find_accounts(&self, ids: &[AccountId]) -> (AccountMap<Held>, Moment) {
        let state = self.state.read();
        let found = ids.iter().filter_map(|id| Some((*id, state.accounts.get(id)?.clone()))).collect();
        (found, state.moment)
    }

    pub(crate) fn find_key(&self, digest: &KeyDigest) -> Option<Place> {
        self.state.read().keys.get(digest).copied()
    }

    /// What a commit has changed or loaded: with it, memory is complete.
    pub(crate) fn publish(
        &self,
        accounts: impl Iterator<Item = (AccountId, Held)>,
        keys: impl Iterator<Item = (KeyDigest, Place)>,
    ) {
        let mut state = self.state.write();
        state.accounts.extend(accounts);
        state.keys.extend(keys);
        state.moment.is_complete = true;
    }

    /// Forgets keys that are in their index now.
    pub(crate) fn forget_keys(&self, settled: &[KeyDigest]) {
        let mut state = self.state.write();
        for digest in settled {
            state.keys.remove(digest);
        }
        state.moment.generation += 1;
    }

    /// Forgets about half of the accounts that `may_forget` allows, when there are too many.
    pub(crate) fn make_room(&self, may_forget: impl Fn(AccountId) -> bool) {
        if self.state.read().accounts.len() <= ACCOUNTS_MAX {
            return;
        }
        let mut state = self.state.write();
        let mut is_kept = false;
        state.accounts.retain(|id, _| {
            if !may_forget(*id) {
                return true;
            }
            is_kept = !is_kept;
            is_kept
        });
        state.moment.generation += 1;
    }

    /// Forgets everything: the database is the truth again.
    pub(crate) fn clear(&self) {
        let mut state = self.state.write();
        let generation = state.moment.generation + 1;
        *state = State { moment: Moment { generation, is_complete: false }, ..State::default() };
    }
}
