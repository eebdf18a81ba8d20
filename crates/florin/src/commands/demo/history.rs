//! What happened in the demonstration: salaries, groceries, money between friends.

use florin_ledger::{AccountId, Command, Kind, Leg, Side, SystemAccount, TransactionId, system_account_id};

use super::{calendar::Calendar, dice::Dice, people::Purse};

const INCOME: [&str; 6] = ["Salary", "Salary", "Card top-up", "Bank transfer", "Refund", "Freelance work"];
const SPENDING: [&str; 10] = [
    "Groceries",
    "Groceries",
    "Coffee",
    "Train ticket",
    "Rent",
    "Pharmacy",
    "Books",
    "Electricity",
    "Phone bill",
    "Lunch",
];
const FRIENDS: [&str; 6] = ["Dinner", "Thank you!", "Concert tickets", "Shared taxi", "Birthday present", "Rent share"];

/// Every so many operations, one is on the first wallet, so that it has something to show.
const SPOTLIGHT: u64 = 40;

/// Operations of one moment: one batch of the ledger.
pub struct Moment {
    /// Microseconds since the Unix epoch, UTC.
    pub at_us: i64,
    /// In order.
    pub commands: Vec<Command>,
}

/// Makes moments, in the order of time. Nobody spends what is not there.
pub struct History {
    dice: Dice,
    calendar: Calendar,
    writer: u16,
    purses: Vec<Purse>,
    opened: usize,
    operations: u64,
    per_moment: u64,
    made: u64,
}

impl History {
    /// `purses` in the order in which they were opened.
    pub fn new(seed: u64, calendar: Calendar, writer: u16, purses: Vec<Purse>, operations: u64) -> Self {
        // Enough moments to look like months, few enough to be written fast.
        let per_moment = (operations / 2500).clamp(1, 1000);
        // The people's dice have rolled with the same seed: these must fall differently.
        let dice = Dice::new(seed ^ 0x6869_7374_6f72_7921);
        Self { dice, calendar, writer, purses, opened: 1, operations, per_moment, made: 0 }
    }

    /// The next moment, if there is one.
    fn moment(&mut self) -> Option<Moment> {
        if self.made >= self.operations || self.purses.is_empty() {
            return None;
        }
        let count = self.per_moment.min(self.operations - self.made);
        // The first operation comes after the first wallet, whatever the rounding.
        let at_us = self.calendar.at(self.made + 1, self.operations + 1);
        while self.purses.get(self.opened).is_some_and(|purse| purse.opened_at_us <= at_us) {
            self.opened += 1;
        }
        let commands = (0..count).filter_map(|_| self.operation(at_us)).collect();
        self.made += count;
        Some(Moment { at_us, commands })
    }

    fn operation(&mut self, at_us: i64) -> Option<Command> {
        let index = if self.dice.below(SPOTLIGHT) == 0 { 0 } else { self.dice.index(self.opened) };
        let purse = *self.purses.get(index)?;
        let unit = 10_i128.pow(u32::from(purse.asset.exponent()));
        let system = system_account_id(SystemAccount::BankSettlement, purse.asset.code(), self.writer);
        if purse.balance_minor < 20 * unit || self.dice.percent(20) {
            let amount_minor = unit * (5 * (10 + i128::from(self.dice.below(500))));
            let reason = self.dice.pick(&INCOME);
            self.add(index, amount_minor);
            let legs = [(purse.id, Side::Credit), (system, Side::Debit)];
            return Some(self.command(at_us, Kind::Deposit, &purse, legs, amount_minor, reason));
        }
        let most = u64::try_from((purse.balance_minor / 2).min(150 * unit)).unwrap_or(1);
        let amount_minor = 1 + i128::from(self.dice.below(most));
        self.add(index, -amount_minor);
        if let Some(friend) = self.friend_of(index, &purse) {
            let reason = self.dice.pick(&FRIENDS);
            let to = self.purses.get(friend).map_or(purse.id, |purse| purse.id);
            self.add(friend, amount_minor);
            let legs = [(purse.id, Side::Debit), (to, Side::Credit)];
            return Some(self.command(at_us, Kind::Transfer, &purse, legs, amount_minor, reason));
        }
        let reason = self.dice.pick(&SPENDING);
        let legs = [(purse.id, Side::Debit), (system, Side::Credit)];
        Some(self.command(at_us, Kind::Withdraw, &purse, legs, amount_minor, reason))
    }

    /// Another wallet in the same asset, in one of three cases.
    fn friend_of(&mut self, index: usize, purse: &Purse) -> Option<usize> {
        if !self.dice.percent(35) {
            return None;
        }
        let friend = self.dice.index(self.opened);
        let is_fit = friend != index && self.purses.get(friend).is_some_and(|other| other.asset == purse.asset);
        is_fit.then_some(friend)
    }

    fn add(&mut self, index: usize, amount_minor: i128) {
        if let Some(purse) = self.purses.get_mut(index) {
            purse.balance_minor += amount_minor;
        }
    }

    fn command(
        &mut self,
        at_us: i64,
        kind: Kind,
        purse: &Purse,
        legs: [(AccountId, Side); 2],
        amount_minor: i128,
        reason: &str,
    ) -> Command {
        Command {
            transaction_id: TransactionId(self.dice.id_at(at_us)),
            kind,
            asset: purse.asset,
            legs: legs.into_iter().map(|(account_id, side)| Leg { account_id, side, amount_minor }).collect(),
            actor_id: purse.owner_id,
            reason: self.dice.percent(70).then(|| reason.to_owned()),
            effective_at_us: None,
            idempotency: None,
            owners: Vec::new(),
        }
    }
}

impl Iterator for History {
    type Item = Moment;

    fn next(&mut self) -> Option<Moment> {
        self.moment()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use florin_money::Asset;
    use uuid::Uuid;

    use super::*;

    fn history(seed: u64) -> Vec<Moment> {
        let calendar = Calendar::before(1_790_000_000_000_000, 120);
        let asset = Asset::find_iso("EUR").unwrap();
        let purse = |index: u64| Purse {
            id: AccountId(Uuid::from_u128(u128::from(index))),
            owner_id: Uuid::nil(),
            asset,
            balance_minor: 0,
            opened_at_us: calendar.at(index, 60),
        };
        History::new(seed, calendar, 0, (0..20).map(purse).collect(), 3000).collect()
    }

    #[test]
    fn nobody_spends_what_is_not_there_and_nothing_happens_before_its_time() {
        let moments = history(7);
        assert!(moments.is_sorted_by_key(|moment| moment.at_us));
        assert_eq!(moments.iter().map(|moment| moment.commands.len()).sum::<usize>(), 3000);
        let system = system_account_id(SystemAccount::BankSettlement, Asset::find_iso("EUR").unwrap().code(), 0);
        let mut balances: HashMap<AccountId, i128> = HashMap::new();
        for leg in moments.iter().flat_map(|moment| &moment.commands).flat_map(|command| &command.legs) {
            assert!(leg.amount_minor > 0);
            let signed = if leg.side == Side::Credit { leg.amount_minor } else { -leg.amount_minor };
            let balance = balances.entry(leg.account_id).or_default();
            *balance += signed;
            assert!(*balance >= 0 || leg.account_id == system, "{leg:?}");
        }
        assert_eq!(balances.values().sum::<i128>(), 0);
        assert_eq!(balances.len(), 21, "every wallet has a history");
    }

    #[test]
    fn the_same_seed_tells_the_same_story() {
        let story = |seed| history(seed).into_iter().flat_map(|moment| moment.commands).collect::<Vec<_>>();
        assert!(story(1) == story(1));
        assert!(story(1) != story(2));
    }
}
