//! What happened in the demonstration: salaries, groceries, money between friends.

use florin_ledger::{AccountId, Command, Kind, Leg, Side, SystemAccount, TransactionId, system_account_id};
use florin_money::Asset;

use super::{
    dice::Dice,
    plan::{Plan, Purse, step_minor, unit_steps},
};

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
const SPOTLIGHT: u64 = 20;

/// Operations of one moment at most: one batch of the ledger.
const PER_MOMENT_MAX: u64 = 10_000;

/// Operations of one moment: one batch of the ledger.
pub struct Moment {
    /// Microseconds since the Unix epoch, UTC.
    pub at_us: i64,
    /// In order.
    pub commands: Vec<Command>,
}

/// Makes moments, in the order of time. Nobody spends what is not there.
pub struct History<'a> {
    plan: &'a Plan,
    dice: Dice,
    writer: u16,
    purses: Vec<Purse>,
    opened: usize,
    operations: u64,
    per_moment: u64,
    made: u64,
}

impl<'a> History<'a> {
    /// `purses` in the order in which they were opened.
    pub fn new(plan: &'a Plan, writer: u16, purses: Vec<Purse>, operations: u64) -> Self {
        // Enough moments to look like months, few enough to be written fast.
        let per_moment = (operations / 2500).clamp(1, PER_MOMENT_MAX);
        // The people's dice have rolled with the same seed: these must fall differently.
        let dice = Dice::new(plan.seed ^ 0x6869_7374_6f72_7921);
        Self { plan, dice, writer, purses, opened: 1, operations, per_moment, made: 0 }
    }

    /// The next moment, if there is one.
    fn moment(&mut self) -> Option<Moment> {
        if self.made >= self.operations || self.purses.is_empty() {
            return None;
        }
        let count = self.per_moment.min(self.operations - self.made);
        // The first operation comes after the first wallet, whatever the rounding.
        let at_us = self.plan.calendar.at(self.made + 1, self.operations + 1);
        while self.opened < self.purses.len() && self.plan.opened_at_us(number(self.opened)) <= at_us {
            self.opened += 1;
        }
        let commands = (0..count).filter_map(|_| self.operation(at_us)).collect();
        self.made += count;
        Some(Moment { at_us, commands })
    }

    fn operation(&mut self, at_us: i64) -> Option<Command> {
        let index = if self.dice.below(SPOTLIGHT) == 0 { 0 } else { self.dice.index(self.opened) };
        let purse = *self.purses.get(index)?;
        let asset = *self.plan.assets.get(usize::from(purse.asset))?;
        let (id, unit) = (self.plan.wallet_id(number(index)), unit_steps(asset));
        let system = system_account_id(SystemAccount::BankSettlement, asset.code(), self.writer);
        if purse.balance_steps < 20 * unit || self.dice.percent(20) {
            let steps = unit * (5 * (10 + self.dice.below(500)));
            let reason = self.dice.pick(&INCOME);
            self.change(index, |balance| balance.saturating_add(steps));
            let legs = [(id, Side::Credit), (system, Side::Debit)];
            return Some(self.command(at_us, Kind::Deposit, (&purse, asset), legs, steps, reason));
        }
        let steps = 1 + self.dice.below((purse.balance_steps / 2).min(150 * unit));
        self.change(index, |balance| balance.saturating_sub(steps));
        if let Some(friend) = self.friend_of(index, &purse) {
            let reason = self.dice.pick(&FRIENDS);
            self.change(friend, |balance| balance.saturating_add(steps));
            let legs = [(id, Side::Debit), (self.plan.wallet_id(number(friend)), Side::Credit)];
            return Some(self.command(at_us, Kind::Transfer, (&purse, asset), legs, steps, reason));
        }
        let reason = self.dice.pick(&SPENDING);
        let legs = [(id, Side::Debit), (system, Side::Credit)];
        Some(self.command(at_us, Kind::Withdraw, (&purse, asset), legs, steps, reason))
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

    fn change(&mut self, index: usize, to: impl FnOnce(u64) -> u64) {
        if let Some(purse) = self.purses.get_mut(index) {
            purse.balance_steps = to(purse.balance_steps);
        }
    }

    fn command(
        &mut self,
        at_us: i64,
        kind: Kind,
        (purse, asset): (&Purse, Asset),
        legs: [(AccountId, Side); 2],
        steps: u64,
        reason: &str,
    ) -> Command {
        let amount_minor = i128::from(steps) * step_minor(asset);
        Command {
            transaction_id: TransactionId(self.dice.id_at(at_us)),
            kind,
            asset,
            legs: legs.into_iter().map(|(account_id, side)| Leg { account_id, side, amount_minor }).collect(),
            actor_id: self.plan.owner_id(purse.owner),
            reason: self.dice.percent(70).then(|| reason.to_owned()),
            effective_at_us: None,
            idempotency: None,
            owners: Vec::new(),
        }
    }
}

/// An index as a wallet's number; there are no more than the plan has.
fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

impl Iterator for History<'_> {
    type Item = Moment;

    fn next(&mut self) -> Option<Moment> {
        self.moment()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use uuid::Uuid;

    use super::{
        super::{calendar::Calendar, plan::Owner},
        *,
    };

    fn history(seed: u64) -> Vec<Moment> {
        let plan = Plan {
            seed,
            calendar: Calendar::before(1_790_000_000_000_000, 120),
            wallets: 20,
            own: 1,
            first_user: Uuid::nil(),
            assets: Plan::assets(Asset::find_iso("EUR").unwrap()),
        };
        let purse = Purse { owner: Owner::first_user(), asset: 0, balance_steps: 0 };
        History::new(&plan, 0, vec![purse; 20], 3000).collect()
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
