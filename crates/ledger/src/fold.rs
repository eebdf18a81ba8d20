//! A batch of commands against facts: each gets its own verdict.

use std::{collections::HashMap, ops::Range};

use rayon::prelude::*;
use uuid::Uuid;

use crate::{
    Account, AccountId, AccountKind, AccountMap, Applied, Command, GENESIS_HASH, Hash, HashForm, IdempotencyKey, Kind,
    Leg, Outcome, PostedLeg, Rejection, Side, TransactionRecord, Verdict,
    canonical_form::CanonicalForm,
    chain::{HASHED_AT_ONCE, WORTH_SHARING, hash_transaction, root_above, subtree_root},
    merkle_root,
};

/// No figure reaches this: storage keeps 38 digits.
const LIMIT_MINOR: i128 = 10_i128.pow(florin_money::MAX_DIGITS);

/// What a batch depends on: read under lock before, written back after.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The accounts that the commands touch. A missing one does not exist.
    pub accounts: AccountMap<Account>,
    /// Earlier answers by (scope, key), with the fingerprint they were given for.
    pub answered: HashMap<(Uuid, String), ([u8; 32], Outcome)>,
}

/// Commands in order of arrival.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// The commands.
    pub commands: &'a [Command],
    /// Ranges of them that are applied whole or not at all: in order, without overlap. Every other command stands
    /// for itself.
    pub atomic: &'a [Range<usize>],
}

impl<'a> Batch<'a> {
    /// A batch whose commands all stand for themselves.
    #[must_use]
    pub const fn each(commands: &'a [Command]) -> Self {
        Self { commands, atomic: &[] }
    }
}

/// What a batch comes to.
#[derive(Debug)]
pub struct Folded {
    /// One verdict a command, in order.
    pub verdicts: Vec<Verdict>,
    /// Indexes of the commands that were newly applied, in order. Their verdicts hold what was applied.
    pub applied: Vec<usize>,
    /// Indexes of the commands whose keys were newly answered, in order.
    pub answered: Vec<usize>,
    /// The accounts that changed, sorted, each once.
    pub changed: Vec<AccountId>,
    /// The Merkle root of the hashes of what was applied: [`merkle_root`].
    pub merkle_root: Hash,
}

impl Folded {
    /// The newly applied commands of the folded batch, in order, with what was applied.
    pub fn applied_of<'a>(&'a self, commands: &'a [Command]) -> impl Iterator<Item = (&'a Command, &'a Applied)> {
        self.applied.iter().filter_map(|&index| match &self.verdicts.get(index)?.outcome {
            Outcome::Applied(applied) => Some((commands.get(index)?, applied)),
            Outcome::Rejected(_) => None,
        })
    }

    /// The newly answered keys of the folded batch, in order, with their answers.
    pub fn answers_of<'a>(
        &'a self,
        commands: &'a [Command],
    ) -> impl Iterator<Item = (&'a IdempotencyKey, &'a Outcome)> {
        self.answered
            .iter()
            .filter_map(|&index| Some((commands.get(index)?.idempotency.as_ref()?, &self.verdicts.get(index)?.outcome)))
    }
}

/// Runs `batch` in order over `facts`, whose accounts it changes to what they are after the batch.
///
/// A command that is refused changes no account and harms no other, unless both are in one atomic range: then nothing
/// of the range is applied, the refused command keeps its own refusal, and the others are refused because of it. A
/// command whose key was answered before, in an earlier batch or in this one, gets the first answer again if its
/// fingerprint is the same.
///
/// `recorded_at_us` is the batch's time, microseconds since the Unix epoch, UTC.
#[must_use]
pub fn fold(batch: Batch<'_>, facts: &mut Facts, recorded_at_us: i64) -> Folded {
    let count = batch.commands.len();
    let mut folding = Folding {
        commands: batch.commands,
        facts,
        recorded_at_us,
        folded: Folded {
            verdicts: Vec::with_capacity(count),
            applied: Vec::with_capacity(count),
            answered: Vec::new(),
            changed: Vec::new(),
            merkle_root: GENESIS_HASH,
        },
        undo: None,
        answered_here: HashMap::new(),
        again: Vec::new(),
    };
    for range in batch.atomic {
        let start = range.start.clamp(folding.folded.verdicts.len(), count);
        folding.each(start);
        folding.whole(start..range.end.clamp(start, count));
    }
    folding.each(count);
    folding.hash();
    let mut folded = folding.folded;
    AccountId::sort(&mut folded.changed);
    folded
}

/// A fold under way: the next command is the one after the last verdict.
struct Folding<'a> {
    commands: &'a [Command],
    facts: &'a mut Facts,
    recorded_at_us: i64,
    folded: Folded,
    /// The accounts as they were before each change of an atomic range.
    undo: Option<Vec<Account>>,
    /// The command that was answered first, by its key's scope and text.
    answered_here: HashMap<(Uuid, &'a str), usize>,
    /// Commands that got the answer of an earlier one of this batch, with that one.
    again: Vec<(usize, usize)>,
}

impl<'a> Folding<'a> {
    /// Up to `end`, each command for itself.
    fn each(&mut self, end: usize) {
        for index in self.folded.verdicts.len()..end {
            self.step(index, None);
        }
    }

    /// All of `range` or none.
    fn whole(&mut self, range: Range<usize>) {
        let (applied, answered, changed) =
            (self.folded.applied.len(), self.folded.answered.len(), self.folded.changed.len());
        self.undo = Some(Vec::new());
        let refusal = range.clone().find_map(|index| match self.step(index, None) {
            Outcome::Rejected(rejection) => Some((index, rejection.clone())),
            Outcome::Applied(_) => None,
        });
        let undo = self.undo.take().unwrap_or_default();
        let Some((refused, rejection)) = refusal else { return };
        for account in undo.into_iter().rev() {
            self.facts.accounts.insert(account.id, account);
        }
        for index in self.folded.answered.drain(answered..) {
            if let Some(key) = &self.commands[index].idempotency {
                self.answered_here.remove(&(key.scope, key.key.as_str()));
            }
        }
        self.again.retain(|(index, _)| *index < range.start);
        self.folded.applied.truncate(applied);
        self.folded.changed.truncate(changed);
        self.folded.verdicts.truncate(range.start);
        let others = Rejection::BatchRefused { item: u32::try_from(refused - range.start).unwrap_or(u32::MAX) };
        for index in range {
            let rejection = if index == refused { &rejection } else { &others };
            self.step(index, Some(rejection.clone()));
        }
    }

    /// The next command's verdict: an earlier answer, else `refusal` if there is one, else what the rules say.
    fn step(&mut self, index: usize, refusal: Option<Rejection>) -> &Outcome {
        let commands = self.commands;
        let command = &commands[index];
        let verdict = match (self.earlier_answer(index), refusal) {
            (Some(verdict), _) => verdict,
            (None, Some(rejection)) => self.answer(index, Outcome::Rejected(rejection)),
            (None, None) => {
                let outcome = match decide(command, &self.facts.accounts) {
                    Ok(decision) => Outcome::Applied(self.commit(index, decision)),
                    Err(rejection) => Outcome::Rejected(rejection),
                };
                self.answer(index, outcome)
            }
        };
        self.folded.verdicts.push(verdict);
        &self.folded.verdicts[index].outcome
    }

    /// A new answer, kept beside the command's key.
    fn answer(&mut self, index: usize, outcome: Outcome) -> Verdict {
        if let Some(key) = &self.commands[index].idempotency {
            self.answered_here.insert((key.scope, key.key.as_str()), index);
            self.folded.answered.push(index);
        }
        Verdict { outcome, replayed: false }
    }

    /// Makes a decision fact. Nothing refuses it from here on, but an atomic range may take it back whole.
    fn commit(&mut self, index: usize, decision: Decision) -> Applied {
        let Decision { figures, legs } = decision;
        let (command, recorded_at_us) = (&self.commands[index], self.recorded_at_us);
        for (id, figures) in figures {
            let Some(account) = self.facts.accounts.get_mut(&id) else { continue };
            if let Some(undo) = &mut self.undo {
                undo.push(account.clone());
            }
            account.posted_debits_minor = figures.posted_debits_minor;
            account.posted_credits_minor = figures.posted_credits_minor;
            account.version = figures.version;
            // The clock may step back between batches; an account's history does not.
            account.updated_at_us = account.updated_at_us.max(recorded_at_us);
            self.folded.changed.push(id);
        }
        self.folded.applied.push(index);
        // Hashed when all is decided.
        Applied { transaction_id: command.transaction_id, recorded_at_us, legs, hash: GENESIS_HASH }
    }

    /// The answer that the command's key already has, if any. A key used with another request stays with its first
    /// answer.
    fn earlier_answer(&mut self, index: usize) -> Option<Verdict> {
        let key = self.commands[index].idempotency.as_ref()?;
        let here = self.answered_here.get(&(key.scope, key.key.as_str())).copied();
        let (fingerprint, outcome) = match here {
            Some(first) => {
                (self.commands[first].idempotency.as_ref()?.fingerprint, &self.folded.verdicts[first].outcome)
            }
            None if self.facts.answered.is_empty() => return None,
            None => {
                let (fingerprint, outcome) = self.facts.answered.get(&(key.scope, key.key.clone()))?;
                (*fingerprint, outcome)
            }
        };
        if fingerprint != key.fingerprint {
            return Some(Verdict { outcome: Outcome::Rejected(Rejection::IdempotencyKeyReused), replayed: false });
        }
        let verdict = Verdict { outcome: outcome.clone(), replayed: true };
        self.again.extend(here.map(|first| (index, first)));
        Some(verdict)
    }

    /// Hashes what was applied, and the tree above it.
    fn hash(&mut self) {
        let applied = self.folded.applied.as_slice();
        let mut hashes = vec![GENESIS_HASH; applied.len()];
        self.folded.merkle_root = if applied.len() < WORTH_SHARING {
            self.hash_some(applied, &mut hashes);
            merkle_root(&hashes, HashForm::CURRENT)
        } else {
            let pieces = applied.par_chunks(HASHED_AT_ONCE).zip(hashes.par_chunks_mut(HASHED_AT_ONCE));
            let subtree = |(applied, hashes): (&[usize], &mut [Hash])| {
                self.hash_some(applied, hashes);
                subtree_root(hashes, HashForm::CURRENT)
            };
            root_above(pieces.with_max_len(1).map(subtree).collect())
        };
        for (index, hash) in self.folded.applied.iter().zip(hashes) {
            if let Outcome::Applied(applied) = &mut self.folded.verdicts[*index].outcome {
                applied.hash = hash;
            }
        }
        for (index, first) in std::mem::take(&mut self.again) {
            self.folded.verdicts[index].outcome = self.folded.verdicts[first].outcome.clone();
        }
    }

    /// Those of these commands, which were applied.
    fn hash_some(&self, applied: &[usize], hashes: &mut [Hash]) {
        let mut room = CanonicalForm::default();
        for (&index, hash) in applied.iter().zip(hashes) {
            if let Outcome::Applied(applied) = &self.folded.verdicts[index].outcome {
                let record = TransactionRecord::of_command(&self.commands[index], self.recorded_at_us, &applied.legs);
                *hash = hash_transaction(&record, HashForm::CURRENT, &mut room);
            }
        }
    }
}

/// What a command would do: the figures of each account it touches as they are after it, and its legs as posted.
struct Decision {
    figures: Vec<(AccountId, Figures)>,
    legs: Vec<PostedLeg>,
}

/// What a leg changes in its account.
#[derive(Clone, Copy)]
struct Figures {
    posted_debits_minor: i128,
    posted_credits_minor: i128,
    version: i64,
}

impl Figures {
    const fn of(account: &Account) -> Self {
        Self {
            posted_debits_minor: account.posted_debits_minor,
            posted_credits_minor: account.posted_credits_minor,
            version: account.version,
        }
    }
}

fn decide(command: &Command, accounts: &AccountMap<Account>) -> Result<Decision, Rejection> {
    check_shape(&command.legs)?;
    let touched = load(command, accounts)?;
    let mut figures: Vec<_> = touched.iter().map(|account| (account.id, Figures::of(account))).collect();
    let mut legs = Vec::with_capacity(command.legs.len());
    for leg in &command.legs {
        let missing = Rejection::AccountNotFound { account_id: leg.account_id };
        let own = touched.iter().zip(&mut figures).find(|(account, _)| account.id == leg.account_id);
        let (account, (_, figures)) = own.ok_or(missing)?;
        match post(account, figures, leg) {
            Ok(posted) => legs.push(posted),
            Err(Barrier::Floor) => return Err(insufficient_funds(command, account)),
            Err(Barrier::Ceiling) => return Err(Rejection::CeilingExceeded { account_id: leg.account_id }),
        }
    }
    Ok(Decision { figures, legs })
}

fn check_shape(legs: &[Leg]) -> Result<(), Rejection> {
    let malformed = |reason| Rejection::Malformed { reason };
    if legs.len() < 2 {
        return Err(malformed("fewer than two legs"));
    }
    if legs.iter().any(|leg| leg.amount_minor <= 0) {
        return Err(malformed("an amount is not above zero"));
    }
    let sum = |side| {
        let amounts = legs.iter().filter(|leg| leg.side == side).map(|leg| leg.amount_minor);
        amounts.into_iter().try_fold(0_i128, i128::checked_add).ok_or(malformed("amounts are too large"))
    };
    if sum(Side::Debit)? == sum(Side::Credit)? { Ok(()) } else { Err(malformed("debits differ from credits")) }
}

/// The accounts that the command touches, each once, if it may touch them.
fn load<'a>(command: &Command, accounts: &'a AccountMap<Account>) -> Result<Vec<&'a Account>, Rejection> {
    // Ownership comes first: a caller learns nothing of the others from an account that is not the caller's, and
    // "not yours" reads exactly like "not there".
    for owner in &command.owners {
        let owned = accounts.get(&owner.account_id).is_some_and(|account| account.owner_id == Some(owner.owner_id));
        if !owned {
            return Err(Rejection::AccountNotFound { account_id: owner.account_id });
        }
    }
    let mut touched: Vec<&Account> = Vec::with_capacity(command.legs.len());
    for leg in &command.legs {
        if touched.iter().any(|account| account.id == leg.account_id) {
            continue;
        }
        let missing = Rejection::AccountNotFound { account_id: leg.account_id };
        touched.push(accounts.get(&leg.account_id).ok_or(missing)?);
    }
    for account in &touched {
        // Whoever transfers names the other account, and may know the id of one of the house.
        if command.kind == Kind::Transfer && account.kind == AccountKind::System {
            return Err(Rejection::AccountNotFound { account_id: account.id });
        }
        if account.closed_at_us.is_some() {
            return Err(Rejection::AccountClosed { account_id: account.id });
        }
        if account.asset != command.asset {
            return Err(Rejection::AssetMismatch { account_id: account.id });
        }
    }
    Ok(touched)
}

/// What stops a leg.
enum Barrier {
    Floor,
    Ceiling,
}

/// Applies one leg to the figures of its account.
fn post(account: &Account, figures: &mut Figures, leg: &Leg) -> Result<PostedLeg, Barrier> {
    let figure = match leg.side {
        Side::Debit => &mut figures.posted_debits_minor,
        Side::Credit => &mut figures.posted_credits_minor,
    };
    *figure = figure.saturating_add(leg.amount_minor);
    let figure_fits = *figure < LIMIT_MINOR;
    let balance = account.balance_with(figures.posted_debits_minor, figures.posted_credits_minor);
    // A leg is stopped only by the limit it moves towards: an account that is past a limit may come back.
    let (floor, ceiling) = (account.limits.floor_minor, account.limits.ceiling_minor);
    if leg.side != account.normal_side && floor.is_some_and(|floor| balance.available_minor < floor) {
        return Err(Barrier::Floor);
    }
    if leg.side == account.normal_side && ceiling.is_some_and(|ceiling| balance.posted_minor > ceiling) {
        return Err(Barrier::Ceiling);
    }
    if !figure_fits || !fits(balance.posted_minor) || !fits(balance.available_minor) {
        return Err(Barrier::Ceiling);
    }
    figures.version = figures.version.saturating_add(1);
    Ok(PostedLeg { leg: *leg, version: figures.version, balance })
}

const fn fits(figure: i128) -> bool {
    -LIMIT_MINOR < figure && figure < LIMIT_MINOR
}

/// The refusal in figures of the whole command: what was there before it, and all that it takes from the account.
fn insufficient_funds(command: &Command, account: &Account) -> Rejection {
    let balance = account.balance();
    let taken = command.legs.iter().filter(|leg| leg.account_id == account.id && leg.side != account.normal_side);
    Rejection::InsufficientFunds {
        account_id: account.id,
        posted_minor: balance.posted_minor,
        available_minor: balance.available_minor,
        required_minor: taken.map(|leg| leg.amount_minor).sum(),
    }
}

#[cfg(test)]
#[path = "fold_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "history_tests.rs"]
mod history_tests;
