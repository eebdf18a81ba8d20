//! Who is in the demonstration, and which wallets they have.

use florin_ledger::Account;
use florin_store::{
    StoreError, Tx,
    user::{self, UserRow},
    wallet::{WalletRow, insert_wallets},
};
use uuid::Uuid;

use super::{
    dice::Dice,
    plan::{Owner, Plan, Purse},
};

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

/// A wallet to be written.
#[derive(Debug, Clone, Copy)]
struct NewWallet {
    number: u32,
    asset: u8,
    label: &'static str,
}

/// A user and the wallets to be written.
pub struct Person {
    /// None for the first user, who is there already.
    user: Option<UserRow>,
    owner: Owner,
    wallets: Vec<NewWallet>,
}

impl Person {
    /// The wallets, all of them empty.
    pub fn purses(&self) -> impl Iterator<Item = Purse> {
        self.wallets.iter().map(|wallet| Purse { owner: self.owner, asset: wallet.asset, balance_steps: 0 })
    }

    /// How many rows this person comes to, about.
    pub fn rows(&self) -> usize {
        self.wallets.len() + 1
    }

    /// Whether it is somebody new, who needs a number.
    pub fn is_new(&self) -> bool {
        self.user.is_some()
    }
}

/// Writes these people and their wallets; the first new user gets this number, and so on.
///
/// # Errors
/// Those of the engine; a duplicate when the same seed was used before.
pub fn insert_in_tx(tx: &mut dyn Tx, plan: &Plan, people: &[Person], first_number: i64) -> Result<(), StoreError> {
    let strangers = people.iter().filter_map(|person| person.user.as_ref());
    let users: Vec<UserRow> =
        (first_number..).zip(strangers).map(|(number, user)| UserRow { number, ..user.clone() }).collect();
    user::insert_users(tx, &users)?;
    let wallets = people.iter().flat_map(|person| person.wallets.iter().map(|wallet| (person.owner, wallet)));
    let wallets: Vec<(WalletRow, Uuid)> = wallets
        .filter_map(|(owner, wallet)| {
            let account = account(plan, owner, wallet)?;
            Some((WalletRow { account, label: wallet.label.to_owned() }, plan.owner_id(owner)))
        })
        .collect();
    insert_wallets(tx, &wallets)
}

/// Makes people until there are enough wallets.
pub struct Crowd<'a> {
    plan: &'a Plan,
    dice: Dice,
    password_hash: String,
    suffix: String,
    made_people: u64,
    made_wallets: u32,
}

impl<'a> Crowd<'a> {
    /// Everybody shares this password hash.
    pub fn new(plan: &'a Plan, password_hash: String) -> Self {
        Self {
            plan,
            dice: Dice::new(plan.seed),
            password_hash,
            suffix: if plan.seed == 1 { String::new() } else { format!("-s{}", plan.seed) },
            made_people: 0,
            made_wallets: 0,
        }
    }

    /// The next wallet: somebody's `place`th.
    fn wallet(&mut self, place: u32) -> NewWallet {
        let number = self.made_wallets;
        self.made_wallets += 1;
        let is_foreign = (1..3).contains(&place) && self.dice.percent(40);
        let others = self.plan.assets.len().saturating_sub(1);
        let asset = if is_foreign && others > 0 { 1 + self.dice.index(others) } else { 0 };
        let label = match (place, asset) {
            (0, _) => "Everyday",
            (_, 0) => self.dice.pick(&LABELS),
            _ => "Travel",
        };
        NewWallet { number, asset: u8::try_from(asset).unwrap_or_default(), label }
    }

    fn stranger(&mut self, owner: Owner, created_at_us: i64) -> UserRow {
        let (first, last) = (self.dice.pick(&FIRST_NAMES), self.dice.pick(&LAST_NAMES));
        let username = format!("{first}.{last}{}{}", self.made_people, self.suffix);
        UserRow {
            id: self.plan.owner_id(owner),
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

    fn has_more(&self) -> bool {
        self.made_wallets < self.plan.wallets
    }
}

impl Iterator for Crowd<'_> {
    type Item = Person;

    fn next(&mut self) -> Option<Person> {
        if !self.has_more() {
            return None;
        }
        let begins_at = self.made_wallets;
        if let Some(place) = self.plan.own_place(begins_at) {
            return Some(Person { user: None, owner: Owner::first_user(), wallets: vec![self.wallet(place)] });
        }
        self.made_people += 1;
        let owner = Owner::of_wallet(begins_at);
        let user = self.stranger(owner, self.plan.opened_at_us(begins_at));
        let wanted = 1 + self.dice.below(5) / 3 + self.dice.below(10) / 9;
        let mut wallets = Vec::new();
        for place in 0..u32::try_from(wanted).unwrap_or(1) {
            if self.has_more() && self.plan.own_place(self.made_wallets).is_none() {
                wallets.push(self.wallet(place));
            }
        }
        Some(Person { user: Some(user), owner, wallets })
    }
}

/// The empty account of a wallet; none for an asset that the plan does not know.
fn account(plan: &Plan, owner: Owner, wallet: &NewWallet) -> Option<Account> {
    let asset = *plan.assets.get(usize::from(wallet.asset))?;
    let (id, opened_at_us) = (plan.wallet_id(wallet.number), plan.opened_at_us(wallet.number));
    Some(Account::wallet(id, plan.owner_id(owner), asset, opened_at_us))
}

#[cfg(test)]
mod tests {
    use florin_money::Asset;

    use super::{super::calendar::Calendar, *};

    #[test]
    fn every_wallet_is_made_once_and_in_order() {
        let plan = Plan {
            seed: 3,
            calendar: Calendar::before(1_790_000_000_000_000, 120),
            wallets: 1000,
            own: 10,
            first_user: Uuid::nil(),
            assets: Plan::assets(Asset::find_iso("EUR").unwrap()),
        };
        let crowd: Vec<Person> = Crowd::new(&plan, String::new()).collect();
        let numbers: Vec<u32> = crowd.iter().flat_map(|person| &person.wallets).map(|wallet| wallet.number).collect();
        assert_eq!(numbers, (0..1000).collect::<Vec<_>>());
        assert_eq!(crowd.iter().filter(|person| !person.is_new()).count(), 10);
    }
}
