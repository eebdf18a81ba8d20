//! The demonstration's wallets: who has which is computed from their numbers, so that ten million fit in memory.

use florin_ledger::AccountId;
use florin_money::Asset;
use uuid::Uuid;

use super::{calendar::Calendar, dice::Dice};

/// Currencies that some second wallets are in.
const OTHER_CURRENCIES: [&str; 4] = ["USD", "GBP", "BRL", "ZAR"];

/// In place of the number of somebody's first wallet: the first user, who is there already.
const FIRST_USER: u32 = u32::MAX;

/// Sets the ids of wallets, users and operations apart.
const WALLETS: u64 = 0x7761_6c6c_6574_7300;
const USERS: u64 = 0x7573_6572_7300_0000;

/// What follows from the arguments alone. Wallets are numbered in the order in which they are opened.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Which people and payments.
    pub seed: u64,
    /// When everything happens.
    pub calendar: Calendar,
    /// How many wallets there are.
    pub wallets: u32,
    /// How many of them are the first user's, spread evenly over all.
    pub own: u32,
    /// The first user.
    pub first_user: Uuid,
    /// What wallets count: the default first.
    pub assets: Vec<Asset>,
}

/// Who has a wallet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner(u32);

impl Owner {
    /// The first user.
    pub const fn first_user() -> Self {
        Self(FIRST_USER)
    }

    /// The one whose first wallet this is.
    pub const fn of_wallet(wallet: u32) -> Self {
        Self(wallet)
    }
}

impl Plan {
    /// The default asset and the other currencies.
    pub fn assets(default: Asset) -> Vec<Asset> {
        std::iter::once(default).chain(OTHER_CURRENCIES.iter().filter_map(|code| Asset::find_iso(code))).collect()
    }

    /// Everybody is there after a third of the time. Microseconds since the Unix epoch, UTC.
    pub fn opened_at_us(&self, wallet: u32) -> i64 {
        self.calendar.at(u64::from(wallet), u64::from(self.wallets).saturating_mul(3))
    }

    /// The wallet's id.
    pub fn wallet_id(&self, wallet: u32) -> AccountId {
        AccountId(self.id(WALLETS, wallet))
    }

    /// The owner's id.
    pub fn owner_id(&self, owner: Owner) -> Uuid {
        if owner.0 == FIRST_USER { self.first_user } else { self.id(USERS, owner.0) }
    }

    /// Whether this wallet is the first user's: which of his it is.
    pub fn own_place(&self, wallet: u32) -> Option<u32> {
        let stride = (self.wallets / self.own.max(1)).max(1);
        (wallet.is_multiple_of(stride) && wallet / stride < self.own).then_some(wallet / stride)
    }

    fn id(&self, what: u64, number: u32) -> Uuid {
        let start = (self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ what).wrapping_add(u64::from(number) << 1);
        Dice::new(start).id_at(self.opened_at_us(number))
    }
}

/// A wallet as the demonstration keeps it in mind: 16 bytes.
#[derive(Debug, Clone, Copy)]
pub struct Purse {
    /// Whose it is.
    pub owner: Owner,
    /// Place of its asset in [`Plan::assets`].
    pub asset: u8,
    /// What is in it, in steps of its asset.
    pub balance_steps: u64,
}

/// The smallest sum that the demonstration moves, minor units: a hundredth where the asset has that many places.
pub fn step_minor(asset: Asset) -> i128 {
    10_i128.pow(u32::from(asset.exponent().saturating_sub(2)))
}

/// One whole unit of the asset, in steps.
pub fn unit_steps(asset: Asset) -> u64 {
    10_u64.pow(u32::from(asset.exponent().min(2)))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn plan(wallets: u32, own: u32) -> Plan {
        Plan {
            seed: 1,
            calendar: Calendar::before(1_790_000_000_000_000, 120),
            wallets,
            own,
            first_user: Uuid::nil(),
            assets: Plan::assets(Asset::find_iso("EUR").unwrap()),
        }
    }

    #[test]
    fn ids_differ_and_the_first_users_wallets_are_spread() {
        let plan = plan(10_000, 7);
        let ids: HashSet<Uuid> = (0..10_000)
            .flat_map(|number| [plan.wallet_id(number).0, plan.owner_id(Owner::of_wallet(number))])
            .collect();
        assert_eq!(ids.len(), 20_000);
        let own: Vec<u32> = (0..10_000).filter(|number| plan.own_place(*number).is_some()).collect();
        assert_eq!(own.len(), 7);
        assert!(own[0] == 0 && own[6] > 8000, "{own:?}");
    }

    #[test]
    fn more_wanted_than_there_are_is_all_of_them() {
        assert_eq!((0..5).filter(|number| plan(5, 9).own_place(*number).is_some()).count(), 5);
    }

    #[test]
    fn a_step_is_a_hundredth_where_there_are_hundredths() {
        let (yen, euro) = (Asset::find_iso("JPY").unwrap(), Asset::find_iso("EUR").unwrap());
        assert_eq!((step_minor(yen), unit_steps(yen)), (1, 1));
        assert_eq!((step_minor(euro), unit_steps(euro)), (1, 100));
        let dinar = Asset::find_iso("KWD").unwrap();
        assert_eq!((step_minor(dinar), unit_steps(dinar)), (10, 100));
    }
}
