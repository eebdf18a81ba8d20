//! Who is in the demonstration, and which wallets they have.

use florin_ledger::{Account, AccountId, AccountKind, Limits, Side};
use florin_money::Asset;
use florin_store::{
    StoreError, Tx,
    user::{self, UserRow},
    wallet::insert_wallet,
};
use uuid::Uuid;

use super::{calendar::Calendar, dice::Dice};

const FIRST_NAMES: [&str; 32] = [
    "ada", "amara", "anton", "bruno", "carla", "chidi", "clara", "dario", "elif", "emil", "farah", "fiona", "hugo",
    "ines", "jonas", "kenji", "lena", "lucia", "marek", "mina", "nadia", "nils", "olga", "pedro", "priya", "rosa",
    "sami", "tariq", "thandi", "vera", "yusuf", "zoe",
];

const LAST_NAMES: [&str; 32] = [
    "almeida",
    "andersen",
    "bauer",
    "costa",
    "dlamini",
    "ekberg",
    "ferrari",
    "garcia",
    "haddad",
    "horvath",
    "ivanova",
    "jansen",
    "kaya",
    "kowalski",
    "lindqvist",
    "lopes",
    "martin",
    "mbeki",
    "moreau",
    "nakamura",
    "novak",
    "okafor",
    "oliveira",
    "petrov",
    "rossi",
    "santos",
    "schmidt",
    "silva",
    "tanaka",
    "weber",
    "yilmaz",
    "zhang",
];

const LABELS: [&str; 6] = ["Savings", "Holiday", "Household", "Business", "Rainy day", "Kids"];

/// Currencies that some second wallets are in.
const OTHER_CURRENCIES: [&str; 4] = ["USD", "GBP", "BRL", "ZAR"];

/// A wallet as the demonstration keeps it in mind.
#[derive(Debug, Clone, Copy)]
pub struct Purse {
    /// Its account.
    pub id: AccountId,
    /// Whose it is.
    pub owner_id: Uuid,
    /// What it counts.
    pub asset: Asset,
    /// What is in it, minor units.
    pub balance_minor: i128,
    /// When it was opened, microseconds since the Unix epoch, UTC.
    pub opened_at_us: i64,
}

/// A user and the wallets to be written.
pub struct Person {
    user: UserRow,
    is_there: bool,
    wallets: Vec<(Purse, &'static str)>,
}

impl Person {
    /// The wallets.
    pub fn purses(&self) -> impl Iterator<Item = Purse> {
        self.wallets.iter().map(|(purse, _)| *purse)
    }

    /// How many rows this person comes to, about.
    pub fn rows(&self) -> usize {
        self.wallets.len() + 1
    }

    /// Writes the user and the wallets.
    ///
    /// # Errors
    /// Those of the engine; a duplicate when the same seed was used before.
    pub fn insert_in_tx(&self, tx: &mut dyn Tx) -> Result<(), StoreError> {
        if !self.is_there {
            let row = UserRow { number: user::take_number(tx)?, ..self.user.clone() };
            user::insert_user(tx, &row)?;
            user::claim(tx, user::USERNAME, &row.username, row.id)?;
            user::claim(tx, user::NUMBER, &user::number_claim(row.number), row.id)?;
        }
        for (purse, label) in &self.wallets {
            insert_wallet(tx, &account(purse), purse.owner_id, label)?;
        }
        Ok(())
    }
}

/// Makes people until there are enough wallets.
pub struct Crowd {
    dice: Dice,
    calendar: Calendar,
    asset: Asset,
    password_hash: String,
    suffix: String,
    wallets: u64,
    made_people: u64,
    made_wallets: u64,
    first: Option<UserRow>,
}

impl Crowd {
    /// `first` is there already and gets the first three wallets; everybody shares his password's hash.
    pub fn new(seed: u64, calendar: Calendar, asset: Asset, wallets: u64, first: UserRow) -> Self {
        Self {
            dice: Dice::new(seed),
            calendar,
            asset,
            password_hash: first.password_hash.clone(),
            suffix: if seed == 1 { String::new() } else { format!("-s{seed}") },
            wallets,
            made_people: 0,
            made_wallets: 0,
            first: Some(first),
        }
    }

    fn purse(&mut self, owner_id: Uuid, asset: Asset) -> Purse {
        // Everybody is there after a third of the time.
        let opened_at_us = self.calendar.at(self.made_wallets, self.wallets.saturating_mul(3));
        self.made_wallets += 1;
        Purse { id: AccountId(self.dice.id_at(opened_at_us)), owner_id, asset, balance_minor: 0, opened_at_us }
    }

    fn stranger(&mut self) -> UserRow {
        let created_at_us = self.calendar.at(self.made_wallets, self.wallets.saturating_mul(3));
        let (first, last) = (self.dice.pick(&FIRST_NAMES), self.dice.pick(&LAST_NAMES));
        let username = format!("{first}.{last}{}{}", self.made_people, self.suffix);
        UserRow {
            id: self.dice.id_at(created_at_us),
            number: 0,
            email: format!("{username}@example.com"),
            username,
            password_hash: self.password_hash.clone(),
            is_active: !self.dice.percent(2),
            is_staff: false,
            is_superuser: false,
            token_version: 0,
            created_at_us,
            deleted_at_us: None,
        }
    }
}

impl Iterator for Crowd {
    type Item = Person;

    fn next(&mut self) -> Option<Person> {
        if self.made_wallets >= self.wallets {
            return None;
        }
        let first = self.first.take();
        let is_there = first.is_some();
        let user = first.unwrap_or_else(|| self.stranger());
        let wanted = if is_there { 3 } else { 1 + self.dice.below(5) / 3 + self.dice.below(10) / 9 };
        let mut wallets = Vec::new();
        for index in 0..wanted.min(self.wallets - self.made_wallets) {
            let is_foreign = index > 0 && self.dice.percent(40);
            let foreign = if is_foreign { Asset::find_iso(self.dice.pick(&OTHER_CURRENCIES)) } else { None };
            let label = match (index, foreign) {
                (0, _) => "Everyday",
                (_, Some(_)) => "Travel",
                _ => self.dice.pick(&LABELS),
            };
            wallets.push((self.purse(user.id, foreign.unwrap_or(self.asset)), label));
        }
        self.made_people += 1;
        Some(Person { user, is_there, wallets })
    }
}

fn account(purse: &Purse) -> Account {
    Account {
        id: purse.id,
        asset: purse.asset,
        kind: AccountKind::Wallet,
        owner_id: Some(purse.owner_id),
        normal_side: Side::Credit,
        limits: Limits { floor_minor: Some(0), ceiling_minor: None },
        posted_debits_minor: 0,
        posted_credits_minor: 0,
        pending_debits_minor: 0,
        pending_credits_minor: 0,
        version: 0,
        created_at_us: purse.opened_at_us,
        updated_at_us: purse.opened_at_us,
        closed_at_us: None,
    }
}
