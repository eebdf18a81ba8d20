//! The newest figures of accounts, and the places of keys that are not in their index yet.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use florin_ledger::{Account, AccountId, AccountMap, KeyDigest};
use florin_store::ChainHead;
use parking_lot::{Condvar, Mutex, RwLock};

use super::{KeyMap, key_filter::KnownKeys, record::Place, staged::Staged};

/// How long a reader waits for what a commit has changed. It takes as long as to copy that: milliseconds.
const PATIENCE: Duration = Duration::from_millis(250);

/// An account and the place of its last posting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) account: Account,
    pub(crate) place: Place,
}

/// Shared by the writer, who changes it after each commit, and the readers.
#[derive(Debug)]
pub(crate) struct Memory {
    state: RwLock<State>,
    /// Accounts remembered; beyond it, those that are in their table are forgotten.
    accounts_max: usize,
    /// What may be in the index, or in the table of refusals.
    pub(crate) known_keys: Mutex<KnownKeys>,
    writes: AtomicU64,
    /// How many readers wait for what a commit has changed, and what tells them.
    waiting: Mutex<usize>,
    published: Condvar,
}

/// Names a database transaction that changes the ledger, in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct WriteId(u64);

/// Where the ledger stands. What is decided there fits only there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tip {
    /// The last that changed it.
    pub(crate) write: WriteId,
    /// The journal's last row; none until the tail has been read.
    pub(crate) last_sequence: Option<i64>,
}

#[derive(Debug, Default)]
struct State {
    accounts: AccountMap<Held>,
    keys: KeyMap<Place>,
    tip: Tip,
    /// By writer, those of this process's batches.
    heads: HashMap<u16, ChainHead>,
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
    pub(crate) fn new(accounts_max: usize) -> Self {
        let (state, known_keys) = (RwLock::default(), Mutex::default());
        let (writes, waiting, published) = Default::default();
        Self { state, accounts_max, known_keys, writes, waiting, published }
    }

    pub(crate) fn moment(&self) -> Moment {
        self.state.read().moment
    }

    pub(crate) fn find_account(&self, id: AccountId) -> Option<Held> {
        self.state.read().accounts.get(&id).cloned()
    }

    /// Where the account's last posting stands, if the account is remembered.
    pub(crate) fn find_place(&self, id: AccountId) -> Option<Place> {
        self.state.read().accounts.get(&id).map(|held| held.place)
    }

    /// The accounts that `staged` has or that are remembered, and the ids of the others. `picked` gets the place of the
    /// last posting of each, as of the same moment.
    pub(crate) fn pick_accounts(
        &self,
        ids: &[AccountId],
        staged: &AccountMap<Held>,
        mut picked: impl FnMut(AccountId, Place),
    ) -> (AccountMap<Account>, Vec<AccountId>) {
        let mut accounts = AccountMap::with_capacity_and_hasher(ids.len(), Default::default());
        let mut missing = Vec::new();
        let state = self.state.read();
        for id in ids {
            match staged.get(id).or_else(|| state.accounts.get(id)) {
                Some(held) => {
                    picked(*id, held.place);
                    accounts.insert(*id, held.account.clone());
                }
                None => missing.push(*id),
            }
        }
        (accounts, missing)
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

    /// The place of this key, and the moment at which it is there or not.
    pub(crate) fn find_key_and_moment(&self, digest: &KeyDigest) -> (Option<Place>, Moment) {
        let state = self.state.read();
        (state.keys.get(digest).copied(), state.moment)
    }

    pub(crate) fn tip(&self) -> Tip {
        self.state.read().tip
    }

    pub(crate) fn find_head(&self, writer: u16) -> Option<ChainHead> {
        self.state.read().heads.get(&writer).copied()
    }

    /// Waits until memory is not behind the journal's row `sequence`, which is committed: a reader sees a commit in the
    /// file a moment before it is here. False if it does not come.
    pub(crate) fn wait_for(&self, sequence: i64) -> bool {
        let is_behind = || self.tip().last_sequence.is_some_and(|last| last < sequence);
        if !is_behind() {
            return true;
        }
        let mut waiting = self.waiting.lock();
        *waiting += 1;
        let waited = self.published.wait_while_for(&mut waiting, |_| is_behind(), PATIENCE);
        *waiting -= 1;
        !waited.timed_out()
    }

    #[cfg(test)]
    pub(crate) fn is_waited_for(&self) -> bool {
        *self.waiting.lock() > 0
    }

    fn tell_waiting(&self) {
        if *self.waiting.lock() > 0 {
            self.published.notify_all();
        }
    }

    /// A name for the next database transaction that changes the ledger.
    pub(crate) fn name_write(&self) -> WriteId {
        WriteId(self.writes.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// One was committed that memory has nothing of.
    pub(crate) fn set_write(&self, write: WriteId) {
        self.state.write().tip.write = write;
    }

    /// What a commit has changed or loaded: with it, memory is complete.
    pub(crate) fn publish(&self, staged: &Staged, tip: Tip) {
        let mut state = self.state.write();
        // Copied: what is decided behind it looks at it.
        state.accounts.extend(staged.accounts.iter().map(|(id, held)| (*id, held.clone())));
        state.keys.extend(&staged.keys);
        state.heads.extend(staged.head);
        state.tip = tip;
        state.moment.is_complete = true;
        drop(state);
        self.tell_waiting();
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
        if self.state.read().accounts.len() <= self.accounts_max {
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
        let tip = Tip { write: self.name_write(), last_sequence: None };
        *state = State { tip, moment: Moment { generation, is_complete: false }, ..State::default() };
        drop(state);
        self.tell_waiting();
    }
}
