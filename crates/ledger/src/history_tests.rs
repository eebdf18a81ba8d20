//! Random histories against a naive model: a plain list of accepted postings, summed anew for every question.

use florin_money::Asset;
use proptest::prelude::*;
use uuid::Uuid;

use super::{tests::fold_on, *};
use crate::{AccountKind, Kind, Limits, Precondition, TransactionId};

const NOW_US: i64 = 1_000_000;

/// The accounts of every history; an id past the end does not exist.
fn world() -> Vec<Account> {
    let euro = Asset::find_iso("EUR").unwrap();
    let yen = Asset::find_iso("JPY").unwrap();
    let account = |number: u8, asset, normal_side, floor, ceiling, held| Account {
        id: id(number),
        asset,
        kind: if normal_side == Side::Debit { AccountKind::System } else { AccountKind::Wallet },
        owner_id: (normal_side == Side::Credit).then(|| owner(number)),
        normal_side,
        limits: Limits { floor_minor: floor, ceiling_minor: ceiling },
        posted_debits_minor: 0,
        posted_credits_minor: 0,
        pending_debits_minor: held,
        pending_credits_minor: 0,
        version: 0,
        created_at_us: 1,
        updated_at_us: 1,
        closed_at_us: None,
    };
    vec![
        account(0, euro, Side::Debit, None, None, 0),
        account(1, euro, Side::Debit, None, None, 0),
        account(2, euro, Side::Credit, Some(0), None, 0),
        account(3, euro, Side::Credit, Some(0), None, 20),
        account(4, euro, Side::Credit, Some(-50), Some(120), 0),
        account(5, euro, Side::Credit, None, None, 0),
        account(6, yen, Side::Debit, None, None, 0),
        account(7, yen, Side::Credit, Some(0), None, 0),
        Account { closed_at_us: Some(1), ..account(8, euro, Side::Credit, Some(0), None, 0) },
        // Limited, and debit-normal: credits lower it.
        account(9, euro, Side::Debit, Some(-30), Some(500), 0),
    ]
}

fn id(number: u8) -> AccountId {
    AccountId(Uuid::from_u128(100 + u128::from(number)))
}

fn owner(number: u8) -> Uuid {
    Uuid::from_u128(200 + u128::from(number % 2))
}

fn facts() -> Facts {
    let accounts = world().into_iter().map(|account| (account.id, account)).collect();
    Facts { accounts, answered: HashMap::new() }
}

/// What the model answers: the postings' balances after, or the refusal.
type ModelOutcome = Result<Vec<(i128, i128, i64)>, Rejection>;

#[derive(Default, Clone)]
struct Model {
    postings: Vec<Leg>,
    answers: Vec<(IdempotencyKey, ModelOutcome)>,
}

impl Model {
    fn answer(&mut self, command: &Command) -> (ModelOutcome, bool) {
        if let Some(key) = &command.idempotency {
            let same = |(earlier, _): &&(IdempotencyKey, _)| earlier.scope == key.scope && earlier.key == key.key;
            match self.answers.iter().find(same) {
                Some((first, outcome)) if first.fingerprint == key.fingerprint => return (outcome.clone(), true),
                Some(_) => return (Err(Rejection::IdempotencyKeyReused), false),
                None => {}
            }
        }
        let before = self.postings.len();
        let outcome = self.attempt(command);
        if outcome.is_err() {
            self.postings.truncate(before);
        }
        if let Some(key) = &command.idempotency {
            self.answers.push((key.clone(), outcome.clone()));
        }
        (outcome, false)
    }

    /// Answers to commands that are applied whole or not at all.
    fn answer_whole(&mut self, range: &[Command]) -> Vec<(ModelOutcome, bool)> {
        let before = self.clone();
        let mut answers = Vec::new();
        for (at, command) in range.iter().enumerate() {
            let answer = self.answer(command);
            if let (Err(rejection), _) = answer {
                *self = before;
                let because = Rejection::BatchRefused { item: u32::try_from(at).unwrap() };
                let refusal = |other| if other == at { rejection.clone() } else { because.clone() };
                return range.iter().enumerate().map(|(at, command)| self.refuse(command, refusal(at))).collect();
            }
            answers.push(answer);
        }
        answers
    }

    /// An earlier answer, else this refusal.
    fn refuse(&mut self, command: &Command, rejection: Rejection) -> (ModelOutcome, bool) {
        if let Some(key) = &command.idempotency {
            let same = |(earlier, _): &&(IdempotencyKey, _)| earlier.scope == key.scope && earlier.key == key.key;
            match self.answers.iter().find(same) {
                Some((first, outcome)) if first.fingerprint == key.fingerprint => return (outcome.clone(), true),
                Some(_) => return (Err(Rejection::IdempotencyKeyReused), false),
                None => self.answers.push((key.clone(), Err(rejection.clone()))),
            }
        }
        (Err(rejection), false)
    }

    fn attempt(&mut self, command: &Command) -> ModelOutcome {
        let world = world();
        let find = |id| world.iter().find(|account| account.id == id);
        let sum = |side| command.legs.iter().filter(|leg| leg.side == side).map(|leg| leg.amount_minor).sum::<i128>();
        if command.legs.len() < 2 {
            return Err(Rejection::Malformed { reason: "fewer than two legs" });
        }
        if command.legs.iter().any(|leg| leg.amount_minor < 1) {
            return Err(Rejection::Malformed { reason: "an amount is not above zero" });
        }
        if sum(Side::Debit) != sum(Side::Credit) {
            return Err(Rejection::Malformed { reason: "debits differ from credits" });
        }
        for Precondition { account_id, owner_id } in command.owners.iter().copied() {
            if find(account_id).and_then(|account| account.owner_id) != Some(owner_id) {
                return Err(Rejection::AccountNotFound { account_id });
            }
        }
        for Leg { account_id, .. } in command.legs.iter().copied() {
            find(account_id).ok_or(Rejection::AccountNotFound { account_id })?;
        }
        for Leg { account_id, .. } in command.legs.iter().copied() {
            let account = find(account_id).unwrap();
            if account.closed_at_us.is_some() {
                return Err(Rejection::AccountClosed { account_id });
            }
            if account.asset != command.asset {
                return Err(Rejection::AssetMismatch { account_id });
            }
        }
        let posted_before: Vec<_> = world.iter().map(|account| self.posted(account)).collect();
        let mut after = Vec::new();
        for leg in &command.legs {
            let at = world.iter().position(|account| account.id == leg.account_id).unwrap();
            self.postings.push(*leg);
            after.push(self.check(&world[at], leg, posted_before[at], command)?);
        }
        Ok(after)
    }

    fn check(
        &self,
        account: &Account,
        leg: &Leg,
        before: i128,
        command: &Command,
    ) -> Result<(i128, i128, i64), Rejection> {
        let account_id = account.id;
        let held = account.pending_debits_minor;
        let posted = self.posted(account);
        let lowers = |leg: &&Leg| leg.account_id == account_id && leg.side != account.normal_side;
        if leg.side != account.normal_side && posted - held < account.limits.floor_minor.unwrap_or(i128::MIN) {
            return Err(Rejection::InsufficientFunds {
                account_id,
                posted_minor: before,
                available_minor: before - held,
                required_minor: command.legs.iter().filter(lowers).map(|leg| leg.amount_minor).sum(),
            });
        }
        let is_above = leg.side == account.normal_side && posted > account.limits.ceiling_minor.unwrap_or(i128::MAX);
        let most = 10_i128.pow(38) - 1;
        let figures = [self.sum(account_id, Side::Debit), self.sum(account_id, Side::Credit), posted, posted - held];
        if is_above || figures.iter().any(|figure| figure.abs() > most) {
            return Err(Rejection::CeilingExceeded { account_id });
        }
        let version = self.postings.iter().filter(|posting| posting.account_id == account_id).count();
        Ok((posted, posted - held, i64::try_from(version).unwrap()))
    }

    fn sum(&self, id: AccountId, side: Side) -> i128 {
        let postings = self.postings.iter().filter(|posting| posting.account_id == id && posting.side == side);
        postings.map(|posting| posting.amount_minor).sum()
    }

    fn posted(&self, account: &Account) -> i128 {
        let (debits, credits) = (self.sum(account.id, Side::Debit), self.sum(account.id, Side::Credit));
        if account.normal_side == Side::Credit { credits - debits } else { debits - credits }
    }
}

/// Mostly small amounts, sometimes one that is none, sometimes one near the end of the figures.
fn amount() -> impl Strategy<Value = i128> {
    prop_oneof![
        20 => 1_i128..=60,
        6 => 60_i128..=400,
        1 => -1_i128..=0,
        2 => Just(4 * 10_i128.pow(37)),
    ]
}

/// Mostly the accounts that can deal with each other.
fn account_number() -> impl Strategy<Value = u8> {
    prop_oneof![30 => 0_u8..=5, 2 => 6_u8..=7, 1 => Just(8), 3 => Just(9), 1 => Just(10)]
}

fn legs() -> impl Strategy<Value = Vec<Leg>> {
    let leg = |number, side, amount_minor| Leg { account_id: id(number), side, amount_minor };
    let one_move = (account_number(), account_number(), amount())
        .prop_map(move |(from, to, amount)| vec![leg(from, Side::Debit, amount), leg(to, Side::Credit, amount)])
        .boxed();
    let yen_move = amount().prop_map(move |amount| vec![leg(6, Side::Debit, amount), leg(7, Side::Credit, amount)]);
    let stray = (account_number(), any::<bool>(), amount())
        .prop_map(move |(number, debit, amount)| {
            vec![leg(number, if debit { Side::Debit } else { Side::Credit }, amount)]
        })
        .boxed();
    let moves = |most| proptest::collection::vec(one_move.clone(), 1..=most).prop_map(|moves| moves.concat());
    prop_oneof![
        20 => moves(1),
        6 => moves(3).prop_shuffle(),
        3 => yen_move,
        1 => stray.clone(),
        1 => (moves(1), stray).prop_map(|(moves, stray)| [moves, stray].concat()),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    let key = (0_u128..2, 0_u8..6, prop_oneof![9 => Just(0_u8), 1 => Just(1)]).prop_map(|(scope, key, fingerprint)| {
        let scope = Uuid::from_u128(scope);
        IdempotencyKey { scope, resource: scope, key: key.to_string(), fingerprint: [fingerprint; 32] }
    });
    let precondition = (0_u8..=10, 0_u8..2)
        .prop_map(|(number, whose)| Precondition { account_id: id(number), owner_id: owner(whose) });
    let owners = prop_oneof![6 => Just(Vec::new()), 1 => proptest::collection::vec(precondition, 1..3)];
    (legs(), proptest::option::weighted(0.3, key), owners, any::<u128>(), any::<bool>()).prop_map(
        |(legs, idempotency, owners, number, is_mostly_yen)| {
            let is_yen = legs.iter().any(|leg| leg.account_id == id(7)) && is_mostly_yen;
            Command {
                transaction_id: TransactionId(Uuid::from_u128(number)),
                kind: Kind::Adjustment,
                asset: Asset::find_iso(if is_yen { "JPY" } else { "EUR" }).unwrap(),
                legs,
                actor_id: Uuid::nil(),
                reason: None,
                effective_at_us: None,
                idempotency,
                owners,
            }
        },
    )
}

fn history() -> impl Strategy<Value = Vec<Command>> {
    proptest::collection::vec(command(), 1..30)
}

fn in_models_words(outcome: &Outcome) -> ModelOutcome {
    match outcome {
        Outcome::Rejected(rejection) => Err(rejection.clone()),
        Outcome::Applied(applied) => Ok(applied
            .legs
            .iter()
            .map(|posted| (posted.balance.posted_minor, posted.balance.available_minor, posted.version))
            .collect()),
    }
}

/// Every balance is the sum of the model's postings, and each asset's balances sum to zero.
fn check_books(facts: &Facts, model: &Model) -> Result<(), TestCaseError> {
    let mut totals: HashMap<Asset, i128> = HashMap::new();
    for account in world() {
        let stored = &facts.accounts[&account.id];
        prop_assert_eq!(stored.posted_debits_minor, model.sum(account.id, Side::Debit));
        prop_assert_eq!(stored.posted_credits_minor, model.sum(account.id, Side::Credit));
        let postings = model.postings.iter().filter(|posting| posting.account_id == account.id).count();
        prop_assert_eq!(stored.version, i64::try_from(postings).unwrap());
        *totals.entry(account.asset).or_default() += stored.posted_credits_minor - stored.posted_debits_minor;
        // Holds may start an account below its floor; nothing takes it further down.
        let start = account.balance().available_minor;
        let floor = account.limits.floor_minor.unwrap_or(i128::MIN);
        prop_assert!(stored.balance().available_minor >= floor.min(start), "{stored:?}");
        prop_assert!(stored.balance().posted_minor <= account.limits.ceiling_minor.unwrap_or(i128::MAX));
    }
    prop_assert!(totals.values().all(|total| *total == 0), "{totals:?}");
    Ok(())
}

/// Folds the history in batches that end at `cuts`.
fn fold_in_batches(history: &[Command], cuts: &[usize]) -> (Vec<Verdict>, Facts, Vec<usize>) {
    let mut facts = facts();
    let (mut verdicts, mut applied, mut start) = (Vec::new(), Vec::new(), 0);
    let mut ends: Vec<_> = cuts.iter().map(|cut| cut % (history.len() + 1)).chain([history.len()]).collect();
    ends.sort_unstable();
    for end in ends {
        let folded = fold_on(Batch::each(&history[start..end]), &mut facts, NOW_US);
        applied.extend(folded.applied.iter().map(|index| start + index));
        verdicts.extend(folded.verdicts);
        start = end;
    }
    (verdicts, facts, applied)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn every_step_agrees_with_the_model(history in history()) {
        let (mut facts, mut model) = (facts(), Model::default());
        for command in &history {
            let (accounts, answered) = (facts.accounts.clone(), facts.answered.clone());
            let folded = fold_on(Batch::each(std::slice::from_ref(command)), &mut facts, NOW_US);
            let verdict = &folded.verdicts[0];
            let (expected, replayed) = model.answer(command);
            prop_assert_eq!((in_models_words(&verdict.outcome), verdict.replayed), (expected, replayed));
            check_books(&facts, &model)?;

            let is_new = matches!(verdict.outcome, Outcome::Applied(_)) && !verdict.replayed;
            prop_assert_eq!(folded.applied.len(), usize::from(is_new));
            let differs = |id: &AccountId| accounts[id] != facts.accounts[id];
            let mut changed: Vec<_> = accounts.keys().copied().filter(differs).collect();
            changed.sort_unstable();
            // What is refused, or answered again, changes nothing.
            prop_assert!(is_new || changed.is_empty());
            prop_assert_eq!(&folded.changed, &changed);
            prop_assert_eq!(facts.answered.len(), answered.len() + folded.answered.len());
            for (key, answer) in &answered {
                prop_assert_eq!(&facts.answered[key], answer);
            }
        }
    }

    #[test]
    fn atomic_ranges_agree_with_the_model(
        history in history(),
        cuts in proptest::collection::vec((0_usize..30, any::<bool>()), 0..8),
    ) {
        let mut cuts: Vec<_> = cuts.into_iter().filter(|(at, _)| *at < history.len()).collect();
        cuts.sort_unstable();
        let (mut facts, mut model, mut expected, mut atomic) = (facts(), Model::default(), Vec::new(), Vec::new());
        for (number, (start, is_whole)) in cuts.iter().copied().chain([(history.len(), false)]).enumerate() {
            if number == 0 {
                expected.extend(history[..start].iter().map(|command| model.answer(command)));
            }
            let end = cuts.get(number + 1).map_or(history.len(), |(end, _)| *end);
            if is_whole {
                atomic.push(start..end);
                expected.extend(model.answer_whole(&history[start..end]));
            } else {
                expected.extend(history[start..end].iter().map(|command| model.answer(command)));
            }
        }
        let before = facts.accounts.clone();
        let folded = fold_on(Batch { commands: &history, atomic: &atomic }, &mut facts, NOW_US);
        let answers = folded.verdicts.iter().map(|verdict| (in_models_words(&verdict.outcome), verdict.replayed));
        prop_assert_eq!(answers.collect::<Vec<_>>(), expected);
        check_books(&facts, &model)?;
        prop_assert_eq!(facts.answered.len(), model.answers.len());
        prop_assert_eq!(folded.answered.len(), model.answers.len());
        let mut changed: Vec<_> = before.keys().copied().filter(|id| before[id] != facts.accounts[id]).collect();
        changed.sort_unstable();
        prop_assert_eq!(&folded.changed, &changed);
        let is_new = |verdict: &Verdict| !verdict.replayed && matches!(verdict.outcome, Outcome::Applied(_));
        let new: Vec<_> = (0..history.len()).filter(|at| is_new(&folded.verdicts[*at])).collect();
        prop_assert_eq!(folded.applied, new);
    }

    #[test]
    fn batch_sizes_make_no_difference(history in history(), cuts in proptest::collection::vec(any::<usize>(), 0..8)) {
        let every: Vec<_> = (0..history.len()).collect();
        let (one_by_one, at_once) = (fold_in_batches(&history, &every), fold_in_batches(&history, &[]));
        let cut_anywhere = fold_in_batches(&history, &cuts);
        for (verdicts, facts, applied) in [at_once, cut_anywhere] {
            prop_assert_eq!(&verdicts, &one_by_one.0);
            prop_assert_eq!(&facts.accounts, &one_by_one.1.accounts);
            prop_assert_eq!(&facts.answered, &one_by_one.1.answered);
            prop_assert_eq!(&applied, &one_by_one.2);
        }
    }

    #[test]
    fn whatever_is_sent_again_is_applied_once(
        mut history in history(),
        again in proptest::collection::vec(any::<prop::sample::Index>(), 1..20),
    ) {
        for (number, command) in history.iter_mut().enumerate() {
            let (scope, resource) = (Uuid::nil(), Uuid::nil());
            let key = IdempotencyKey { scope, resource, key: number.to_string(), fingerprint: [0; 32] };
            command.idempotency = Some(key);
        }
        let (first, once, _) = fold_in_batches(&history, &[]);
        let repeats: Vec<_> = again.iter().map(|index| index.index(history.len())).collect();
        let longer: Vec<_> = history.iter().chain(repeats.iter().map(|at| &history[*at])).cloned().collect();
        let cuts = [history.len() / 2, history.len() + again.len() / 2];
        let (verdicts, twice, applied) = fold_in_batches(&longer, &cuts);
        prop_assert_eq!(&verdicts[..history.len()], &first[..]);
        for (verdict, at) in verdicts[history.len()..].iter().zip(repeats) {
            prop_assert_eq!(&verdict.outcome, &first[at].outcome);
            prop_assert!(verdict.replayed);
        }
        prop_assert!(applied.iter().all(|index| *index < history.len()));
        prop_assert_eq!(once.accounts, twice.accounts);
    }
}
