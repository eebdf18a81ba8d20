//! What this node wrote last: figures to decide a batch on before the database is asked.
//!
//! Nothing here is believed. Whoever decides on it compares versions when the batch is written, and decides again under
//! locks when another node was there first. Where nodes share wallets that happens often, so it is then tried less
//! often.

use std::collections::HashMap;

use florin_ledger::{Account, AccountId, AccountMap};
use florin_store::ChainHead;
use parking_lot::Mutex;

/// Accounts remembered; beyond it everything is forgotten and gathered anew (about 300 bytes each).
const ACCOUNTS_MAX: usize = 200_000;
/// Batches under locks after a conflict; doubled with each that follows, up to the greatest.
const LOCKED_BATCHES_MIN: u32 = 16;
const LOCKED_BATCHES_MAX: u32 = 4_096;

#[derive(Debug, Default)]
pub(crate) struct LedgerCache {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    accounts: AccountMap<Account>,
    heads: HashMap<u16, ChainHead>,
    /// How many batches are still to be decided under locks.
    locked_batches: u32,
    penalty: u32,
}

impl LedgerCache {
    /// Whether the next batch may be decided on what is remembered.
    pub(crate) fn may_assume(&self) -> bool {
        let mut state = self.state.lock();
        if state.locked_batches == 0 {
            return true;
        }
        state.locked_batches -= 1;
        false
    }

    pub(crate) fn find_accounts(&self, ids: &[AccountId]) -> Vec<Account> {
        let state = self.state.lock();
        ids.iter().filter_map(|id| state.accounts.get(id).cloned()).collect()
    }

    /// Accounts as they were read.
    pub(crate) fn seen(&self, accounts: &[Account]) {
        let mut state = self.state.lock();
        state.make_room();
        for account in accounts {
            state.remember(account);
        }
    }

    pub(crate) fn find_head(&self, writer: u16) -> Option<ChainHead> {
        self.state.lock().heads.get(&writer).copied()
    }

    /// A batch was committed.
    pub(crate) fn committed(&self, accounts: &[Account], head: Option<(u16, ChainHead)>, was_assumed: bool) {
        let mut state = self.state.lock();
        state.make_room();
        accounts.iter().for_each(|account| state.remember(account));
        state.heads.extend(head);
        if was_assumed {
            state.penalty /= 2;
        }
    }

    /// A batch was not committed, or nobody knows.
    pub(crate) fn forget(&self, accounts: impl Iterator<Item = AccountId>, writer: Option<u16>) {
        let mut state = self.state.lock();
        for id in accounts {
            state.accounts.remove(&id);
        }
        if let Some(writer) = writer {
            state.heads.remove(&writer);
        }
    }

    /// Nothing is remembered any more.
    pub(crate) fn clear(&self) {
        let mut state = self.state.lock();
        state.accounts.clear();
        state.heads.clear();
    }

    /// Another node had been there first.
    pub(crate) fn conflicted(&self) {
        let mut state = self.state.lock();
        state.penalty = (state.penalty * 2).clamp(LOCKED_BATCHES_MIN, LOCKED_BATCHES_MAX);
        state.locked_batches = state.penalty;
    }
}

impl State {
    /// Unless something newer is remembered: another node may have been read meanwhile.
    fn remember(&mut self, account: &Account) {
        let known = self.accounts.get(&account.id).map_or(i64::MIN, |known| known.version);
        if known < account.version {
            self.accounts.insert(account.id, account.clone());
        }
    }

    fn make_room(&mut self) {
        if self.accounts.len() > ACCOUNTS_MAX {
            self.accounts.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_replaces_only_what_is_older() {
        let cache = LedgerCache::default();
        let euro = florin_money::Asset::new("EUR", 2).unwrap();
        let bank = florin_ledger::SystemAccount::ALL[0].open(euro, 1, 0);
        let of_version = |version| Account { version, ..bank.clone() };
        for (seen, remembered) in [(3, 3), (2, 3), (4, 4)] {
            cache.seen(&[of_version(seen)]);
            assert_eq!(cache.find_accounts(&[bank.id])[0].version, remembered);
        }
    }

    #[test]
    fn conflicts_make_it_cautious_and_peace_makes_it_bold() {
        let cache = LedgerCache::default();
        assert!(cache.may_assume());
        cache.conflicted();
        let cautious = |cache: &LedgerCache| (0..).take_while(|_| !cache.may_assume()).count();
        assert_eq!(cautious(&cache), 16);
        cache.conflicted();
        assert_eq!(cautious(&cache), 32);
        (0..10).for_each(|_| cache.committed(&[], None, true));
        cache.conflicted();
        assert_eq!(cautious(&cache), 16);
        (0..20).for_each(|_| cache.conflicted());
        assert_eq!(cautious(&cache), 4_096);
    }
}
