//! What this node wrote last: figures to decide a batch on before the database is asked.
//!
//! A batch does not believe it: whoever decides on it writes the versions behind those, and decides again under locks
//! when another node was there first. Where nodes share wallets that happens often; then they ask first ([`Caution`]).
//!
//! A reader believes it while a [`ReadLease`] says that nobody else can have written since: what was read or written in
//! the tenure that goes on, unless it is just being written.

use std::collections::{HashMap, hash_map::Entry};

use florin_ledger::{Account, AccountId, AccountMap};
use florin_store::ChainHead;
use parking_lot::Mutex;

use super::caution::{Basis, Caution};
use crate::lease::{ReadLease, Tenure};

/// Accounts remembered; beyond it everything is forgotten and gathered anew (about 300 bytes each).
const ACCOUNTS_MAX: usize = 200_000;

#[derive(Debug)]
pub(crate) struct LedgerCache {
    lease: ReadLease,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    accounts: AccountMap<Known>,
    heads: HashMap<u16, ChainHead>,
    /// How many batches that are being written change the account.
    in_flight: AccountMap<u32>,
    /// What batches leave behind that are on their way, if they succeed: for those that are sent behind them, alone.
    sent: AccountMap<Account>,
    sent_heads: HashMap<u16, ChainHead>,
    /// How often something was forgotten.
    forgotten: u64,
    caution: Caution,
}

#[derive(Debug)]
struct Known {
    account: Account,
    /// The tenure in which it was read or written.
    tenure: Option<Tenure>,
}

/// When the database is asked, or written to: before that.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) tenure: Option<Tenure>,
    forgotten: u64,
}

impl LedgerCache {
    pub(crate) fn new(lease: ReadLease) -> Self {
        Self { lease, state: Mutex::default() }
    }

    pub(crate) fn lease(&self) -> &ReadLease {
        &self.lease
    }

    /// The account as it is, if that is known without asking the database.
    pub(crate) fn peek(&self, id: AccountId) -> Option<Account> {
        let tenure = self.lease.tenure_unless_due()?;
        let state = self.state.lock();
        let known = state.accounts.get(&id).filter(|known| known.tenure == Some(tenure))?;
        // The database may have it already: who read it there must not find the old figure here afterwards.
        if state.in_flight.contains_key(&id) { None } else { Some(known.account.clone()) }
    }

    /// To be taken before the database is asked.
    pub(crate) fn moment(&self) -> Moment {
        Moment { tenure: self.lease.tenure(), forgotten: self.state.lock().forgotten }
    }

    /// What the next batch is to be decided on.
    pub(crate) fn basis(&self) -> Basis {
        self.state.lock().caution.basis()
    }

    pub(crate) fn find_accounts(&self, ids: &[AccountId]) -> AccountMap<Account> {
        let state = self.state.lock();
        ids.iter().filter_map(|id| Some((*id, state.accounts.get(id)?.account.clone()))).collect()
    }

    /// Accounts as they were read after `since`.
    pub(crate) fn seen<'a>(&self, accounts: impl IntoIterator<Item = &'a Account>, since: Moment) {
        let mut state = self.state.lock();
        state.make_room();
        // What was forgotten meanwhile may have been newer.
        if state.forgotten == since.forgotten {
            accounts.into_iter().for_each(|account| state.remember(account, since.tenure));
        }
    }

    /// What a batch may be decided on.
    pub(crate) fn find(&self, writer: u16, ids: &[AccountId]) -> (Option<ChainHead>, AccountMap<Account>) {
        let accounts = self.find_accounts(ids);
        (self.state.lock().heads.get(&writer).copied(), accounts)
    }

    /// What a batch may be decided on that is sent behind the one before on the same connection.
    pub(crate) fn find_sent(&self, writer: u16, ids: &[AccountId]) -> (Option<ChainHead>, AccountMap<Account>) {
        let state = self.state.lock();
        let known = |id: &AccountId| state.accounts.get(id).map(|known| &known.account);
        let last = |id| state.sent.get(id).or_else(|| known(id)).cloned();
        let accounts = ids.iter().filter_map(|id| Some((*id, last(id)?))).collect();
        (state.sent_heads.get(&writer).or_else(|| state.heads.get(&writer)).copied(), accounts)
    }

    /// A batch is on its way that makes the accounts like this.
    pub(crate) fn sent(&self, accounts: &[Account], head: Option<(u16, ChainHead)>) {
        let mut state = self.state.lock();
        state.sent.extend(accounts.iter().map(|account| (account.id, account.clone())));
        state.sent_heads.extend(head);
    }

    /// A batch that changes these accounts is about to be written.
    pub(crate) fn writing(&self, accounts: &[Account]) {
        let mut state = self.state.lock();
        for account in accounts {
            *state.in_flight.entry(account.id).or_default() += 1;
        }
    }

    /// The server has nothing to do any more for a batch that was [about to be written](Self::writing).
    pub(crate) fn ended(&self, accounts: &[Account]) {
        self.state.lock().land(accounts);
    }

    /// A batch was committed that was begun after `since`, and whether something was not as it had been remembered.
    pub(crate) fn committed(
        &self,
        accounts: &[Account],
        head: Option<(u16, ChainHead)>,
        since: Moment,
        (basis, had_changed): (Basis, bool),
    ) {
        let mut state = self.state.lock();
        state.make_room();
        // Never believed, only tried: an old one would cost the next batch a conflict.
        state.heads.extend(head);
        if state.forgotten == since.forgotten {
            accounts.iter().for_each(|account| state.remember(account, since.tenure));
        } else {
            // Somebody may have read them before this batch, and think that it is the last that happened.
            state.forget(accounts.iter().map(|account| account.id));
        }
        state.land(accounts);
        state.arrive(accounts, head);
        state.caution.committed(basis, had_changed);
    }

    /// A batch was not committed, or nobody knows.
    pub(crate) fn forget(&self, accounts: impl Iterator<Item = AccountId>, writer: Option<u16>) {
        let mut state = self.state.lock();
        state.forget(accounts);
        if let Some(writer) = writer {
            state.heads.remove(&writer);
        }
        // What is behind a batch that came to nothing comes to nothing, too.
        state.sent.clear();
        state.sent_heads.clear();
    }

    /// Nothing is remembered any more.
    pub(crate) fn clear(&self) {
        let mut state = self.state.lock();
        state.forgotten += 1;
        state.accounts.clear();
        state.heads.clear();
    }

    /// A connection was thrown away in the middle of a write, which the server may still be at.
    pub(crate) fn renounce(&self) {
        self.lease.renounce();
        // Nothing is believed before those who write it are gone.
        self.state.lock().in_flight.clear();
    }

    /// Another node had been there first.
    pub(crate) fn overtaken(&self, basis: Basis) {
        self.state.lock().caution.overtaken(basis);
    }
}

impl State {
    /// Unless something newer is remembered: another node may have been read meanwhile. Closing an account does not
    /// change its version.
    fn remember(&mut self, account: &Account, tenure: Option<Tenure>) {
        match self.accounts.get_mut(&account.id) {
            None => drop(self.accounts.insert(account.id, Known { account: account.clone(), tenure })),
            Some(known) if known.account.version < account.version || account.closed_at_us.is_some() => {
                *known = Known { account: account.clone(), tenure };
            }
            Some(known) if known.account.version == account.version => known.tenure = known.tenure.max(tenure),
            Some(_) => {}
        }
    }

    fn forget(&mut self, accounts: impl Iterator<Item = AccountId>) {
        self.forgotten += 1;
        for id in accounts {
            self.accounts.remove(&id);
        }
    }

    fn land(&mut self, accounts: &[Account]) {
        for account in accounts {
            if let Entry::Occupied(mut count) = self.in_flight.entry(account.id) {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
            }
        }
    }

    /// What was sent is there: nothing newer is on its way behind it, or that stays.
    fn arrive(&mut self, accounts: &[Account], head: Option<(u16, ChainHead)>) {
        for account in accounts {
            if self.sent.get(&account.id).is_some_and(|sent| sent.version <= account.version) {
                self.sent.remove(&account.id);
            }
        }
        if let Some((writer, head)) = head
            && self.sent_heads.get(&writer).is_some_and(|sent| sent.number <= head.number)
        {
            self.sent_heads.remove(&writer);
        }
    }

    fn make_room(&mut self) {
        if self.accounts.len() > ACCOUNTS_MAX {
            self.forgotten += 1;
            self.accounts.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, time::Duration};

    use super::*;
    use crate::lease::Process;

    thread_local! {
        static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    }

    const MEMORY: (Basis, bool) = (Basis::Memory, false);

    fn pass(ms: u64) {
        NOW.set(NOW.get() + Duration::from_millis(ms));
    }

    fn alone() -> LedgerCache {
        let cache = LedgerCache::new(ReadLease::new(Some(Process { name: 7, uptime: || NOW.get() })));
        ask(&cache);
        cache
    }

    fn ask(cache: &LedgerCache) {
        let asked = cache.lease().ask_if_due().unwrap();
        cache.lease().answered(asked, true).unwrap();
    }

    fn of_version(version: i64) -> Account {
        let euro = florin_money::Asset::new("EUR", 2).unwrap();
        Account { version, ..florin_ledger::SystemAccount::ALL[0].open(euro, 1, 0) }
    }

    fn peeked(cache: &LedgerCache) -> Option<i64> {
        cache.peek(of_version(0).id).map(|account| account.version)
    }

    #[test]
    fn what_was_read_replaces_only_what_is_older() {
        let cache = LedgerCache::new(ReadLease::new(None));
        for (seen, remembered) in [(3, 3), (2, 3), (4, 4)] {
            cache.seen(&[of_version(seen)], cache.moment());
            assert_eq!(cache.find_accounts(&[of_version(0).id])[&of_version(0).id].version, remembered);
        }
        assert_eq!(peeked(&cache), None, "without a lease nothing is believed");
    }

    #[test]
    fn what_was_read_or_written_in_this_tenure_is_believed() {
        let cache = alone();
        assert_eq!(peeked(&cache), None);
        cache.seen(&[of_version(3)], cache.moment());
        assert_eq!(peeked(&cache), Some(3));
        cache.committed(&[of_version(4)], None, cache.moment(), MEMORY);
        assert_eq!(peeked(&cache), Some(4));
        pass(1000);
        ask(&cache);
        assert_eq!(peeked(&cache), None, "somebody may have come and gone");
        cache.seen(&[of_version(4)], cache.moment());
        assert_eq!(peeked(&cache), Some(4));
    }

    #[test]
    fn what_is_being_written_is_not_believed() {
        let cache = alone();
        cache.seen(&[of_version(3)], cache.moment());
        let before = cache.moment();
        cache.writing(&[of_version(4)]);
        assert_eq!(peeked(&cache), None);
        cache.seen(&[of_version(3)], before);
        assert_eq!(peeked(&cache), None);
        cache.committed(&[of_version(4)], None, before, MEMORY);
        assert_eq!(peeked(&cache), Some(4));
    }

    #[test]
    fn what_was_asked_before_something_was_forgotten_is_not_remembered() {
        let cache = alone();
        let before = cache.moment();
        cache.committed(&[of_version(4)], None, before, MEMORY);
        cache.clear();
        cache.seen(&[of_version(3)], before);
        assert_eq!(peeked(&cache), None);
        // A batch that was on its way meanwhile: who read behind the clearing may have been before it.
        let between = cache.moment();
        cache.seen(&[of_version(4)], between);
        cache.committed(&[of_version(5)], None, before, MEMORY);
        assert_eq!(peeked(&cache), None);
        cache.seen(&[of_version(4)], between);
        assert_eq!(peeked(&cache), None);
    }

    #[test]
    fn the_end_of_the_chain_is_known_whatever_was_forgotten() {
        let cache = LedgerCache::new(ReadLease::new(None));
        let head = |number| Some((3, ChainHead { number, hash: [0; 32], recorded_at_us: 0 }));
        cache.committed(&[], head(1), cache.moment(), MEMORY);
        let since = cache.moment();
        cache.forget(std::iter::empty(), None);
        cache.committed(&[], head(2), since, MEMORY);
        assert_eq!(cache.find(3, &[]).0.map(|head| head.number), Some(2));
    }

    #[test]
    fn what_is_sent_is_for_what_is_sent_behind_it_alone() {
        let cache = alone();
        let head = |number| Some((3, ChainHead { number, hash: [0; 32], recorded_at_us: 0 }));
        let versions = |(head, accounts): (Option<ChainHead>, AccountMap<Account>)| {
            (head.map(|head| head.number), accounts.values().map(|account| account.version).collect::<Vec<_>>())
        };
        let ids = [of_version(0).id];
        let since = cache.moment();
        cache.committed(&[of_version(1)], head(1), since, MEMORY);
        cache.sent(&[of_version(2)], head(2));
        cache.sent(&[of_version(3)], head(3));
        assert_eq!(versions(cache.find(3, &ids)), (Some(1), vec![1]));
        assert_eq!(versions(cache.find_sent(3, &ids)), (Some(3), vec![3]));
        cache.committed(&[of_version(2)], head(2), since, MEMORY);
        assert_eq!(versions(cache.find_sent(3, &ids)), (Some(3), vec![3]), "the other one is still on its way");
        cache.forget(ids.into_iter(), Some(3));
        assert_eq!(versions(cache.find_sent(3, &ids)), (None, vec![]), "it came to nothing");
        cache.sent(&[of_version(2)], head(2));
        cache.committed(&[of_version(2)], head(2), cache.moment(), MEMORY);
        cache.seen(&[of_version(5)], cache.moment());
        assert_eq!(versions(cache.find_sent(3, &ids)), (Some(2), vec![5]), "what arrived hides nothing newer");
    }

    #[test]
    fn a_tenure_that_began_after_the_question_does_not_count_for_its_answer() {
        let cache = alone();
        let before = cache.moment();
        pass(1000);
        ask(&cache);
        cache.seen(&[of_version(3)], before);
        assert_eq!(peeked(&cache), None);
        cache.committed(&[of_version(4)], None, before, MEMORY);
        assert_eq!(peeked(&cache), None);
    }
}
