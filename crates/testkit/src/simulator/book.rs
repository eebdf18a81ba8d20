//! What the clients asked for, what they were told, and what follows from it.

use std::{
    collections::HashMap,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use florin_app::{Failure, Submitted};
use florin_ledger::{
    AccountId, Applied, Command, IdempotencyKey, Kind, Leg, Outcome, Precondition, Rejection, Side, SystemAccount,
    TransactionId, Verdict, system_account_id,
};
use florin_money::Asset;
use uuid::Uuid;

use super::bulks::{BulkAttempt, WantedBulk};

/// The owner of every wallet.
pub const OWNER: Uuid = Uuid::from_u128(0x5151);

/// A movement that somebody wants, once.
#[derive(Debug)]
pub struct Intent {
    /// Deposit, withdrawal or transfer.
    pub kind: Kind,
    /// The wallet; of a transfer the source.
    pub wallet: usize,
    /// Of a transfer the destination.
    pub to: Option<usize>,
    /// Minor units.
    pub amount_minor: i128,
    /// The number of its key; none: it is sent once.
    pub key: Option<usize>,
    /// The final answer, once somebody got it.
    pub answer: Option<Outcome>,
    /// Whether the request that was decided first has heard its answer.
    pub is_made: bool,
    /// The bulk it is part of.
    pub bulk: Option<usize>,
}

impl Intent {
    /// What it is, in a few words.
    pub fn short(&self) -> String {
        let Self { kind, wallet, to, amount_minor, key, .. } = self;
        format!("{} {amount_minor} wallet {wallet} to {to:?} key {key:?} bulk {:?}", kind.as_str(), self.bulk)
    }

    /// The wallets it moves, with the side of each.
    pub fn sides(&self) -> Vec<(usize, Side)> {
        let own = if self.kind == Kind::Deposit { Side::Credit } else { Side::Debit };
        std::iter::once((self.wallet, own)).chain(self.to.map(|to| (to, Side::Credit))).collect()
    }
}

/// How a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The queue was full: it must never have an effect.
    Refused,
    /// Waiting for its answer.
    Waiting,
    /// No answer, or one that says that it is not known.
    Unknown,
    /// Answered.
    Answered,
}

pub(super) type Answer = Pin<Box<dyn Future<Output = Result<Verdict, Failure>>>>;

/// One request for an intent.
pub struct Attempt {
    /// What it is for.
    pub intent: usize,
    /// The id that the transaction will have if this request makes it.
    pub transaction_id: TransactionId,
    /// How it stands.
    pub standing: Standing,
    /// For each wallet that it moves: the newest version that somebody knew when it was sent.
    known: Vec<(usize, i64)>,
    answer: Option<Answer>,
}

/// A wallet as its clients know it.
#[derive(Debug)]
pub struct KnownWallet {
    /// Its id.
    pub id: AccountId,
    /// Whether somebody was told that it is open.
    pub is_open: bool,
    /// The newest version that somebody was told of.
    pub version: i64,
}

/// Everything the clients know.
#[derive(Default)]
pub struct Book {
    /// The wallets.
    pub wallets: Vec<KnownWallet>,
    /// What was asked for, in order.
    pub intents: Vec<Intent>,
    /// Every request, in order; a bulk counts once for each of its movements.
    pub attempts: Vec<Attempt>,
    /// What was asked for in one request, in order.
    pub bulks: Vec<WantedBulk>,
    /// Every request for a bulk, in order.
    pub bulk_attempts: Vec<BulkAttempt>,
    /// Which request has which transaction's id.
    pub by_transaction: HashMap<TransactionId, usize>,
    /// Number of keys given out.
    pub keys: usize,
    /// Answers that were the first answer again.
    pub replayed: u64,
}

/// What all wallets count.
///
/// # Errors
/// Never.
pub fn asset() -> Result<Asset, String> {
    Asset::find_iso("EUR").ok_or_else(|| "EUR is not a currency".to_owned())
}

impl Book {
    /// The command of a request for this intent through `node`.
    ///
    /// # Errors
    /// Never.
    pub fn command(&self, intent: usize, node: u16, transaction_id: TransactionId) -> Result<Command, String> {
        let (wanted, asset) = (&self.intents[intent], asset()?);
        let system = system_account_id(SystemAccount::BankSettlement, asset.code(), node);
        let mut legs: Vec<Leg> = wanted
            .sides()
            .into_iter()
            .map(|(wallet, side)| Leg { account_id: self.wallets[wallet].id, side, amount_minor: wanted.amount_minor })
            .collect();
        if let [only] = legs[..] {
            let side = if only.side == Side::Debit { Side::Credit } else { Side::Debit };
            legs.push(Leg { account_id: system, side, amount_minor: wanted.amount_minor });
        }
        let own = self.wallets[wanted.wallet].id;
        let mut fingerprint = [0; 32];
        fingerprint[..8].copy_from_slice(&u64::try_from(intent).unwrap_or_default().to_be_bytes());
        Ok(Command {
            transaction_id,
            kind: wanted.kind,
            asset,
            legs,
            actor_id: OWNER,
            reason: None,
            effective_at_us: None,
            idempotency: wanted.key.map(|key| IdempotencyKey {
                scope: Uuid::from_u128(0xface),
                resource: Uuid::from_u128(0xface),
                key: format!("key-{key}"),
                fingerprint,
            }),
            owners: vec![Precondition { account_id: own, owner_id: OWNER }],
        })
    }

    /// Enters a request that was handed over (or not, when the queue was full).
    pub fn enter(&mut self, intent: usize, transaction_id: TransactionId, submitted: Result<Submitted, Failure>) {
        let answer: Option<Answer> = submitted.ok().map(|submitted| Box::pin(submitted.verdict()) as Answer);
        let standing = if answer.is_some() { Standing::Waiting } else { Standing::Refused };
        self.enter_with(intent, transaction_id, standing, answer);
    }

    pub(super) fn enter_with(
        &mut self,
        intent: usize,
        transaction_id: TransactionId,
        standing: Standing,
        answer: Option<Answer>,
    ) {
        let known = self.intents[intent].sides();
        let known = known.into_iter().map(|(wallet, _)| (wallet, self.wallets[wallet].version)).collect();
        self.by_transaction.insert(transaction_id, self.attempts.len());
        self.attempts.push(Attempt { intent, transaction_id, standing, known, answer });
    }

    /// A client that goes away: it will never hear its answer.
    pub fn walk_away(&mut self, attempt: usize) {
        let attempt = &mut self.attempts[attempt];
        if attempt.standing == Standing::Waiting && attempt.answer.is_some() {
            attempt.standing = Standing::Unknown;
            attempt.answer = None;
        }
    }

    /// Takes every answer that has come; gives a line for each.
    ///
    /// # Errors
    /// What was promised and is not so.
    pub fn hear(&mut self) -> Result<Vec<String>, String> {
        let mut heard = Vec::new();
        let mut context = Context::from_waker(Waker::noop());
        for index in 0..self.attempts.len() {
            let Some(answer) = &mut self.attempts[index].answer else { continue };
            let Poll::Ready(result) = answer.as_mut().poll(&mut context) else { continue };
            self.attempts[index].answer = None;
            heard.push(line_of(index, &result));
            match result {
                Ok(verdict) => {
                    self.attempts[index].standing = Standing::Answered;
                    self.judge(index, verdict).map_err(|wrong| format!("request {index}: {wrong}"))?;
                }
                Err(Failure::Unavailable(_)) => self.attempts[index].standing = Standing::Unknown,
                Err(Failure::Internal(text)) => return Err(format!("request {index} met a defect: {text}")),
            }
        }
        self.hear_bulks(&mut context, &mut heard)?;
        Ok(heard)
    }

    /// Compares an answer with all that was said before.
    pub(super) fn judge(&mut self, index: usize, verdict: Verdict) -> Result<(), String> {
        let intent = self.attempts[index].intent;
        self.replayed += u64::from(verdict.replayed);
        if verdict.replayed && self.intents[intent].key.is_none() {
            return Err("an answer again, without a key".to_owned());
        }
        if verdict.outcome == Outcome::Rejected(Rejection::IdempotencyKeyReused) {
            return self.key_was_taken(intent);
        }
        if let Some(before) = &self.intents[intent].answer
            && *before != verdict.outcome
        {
            return Err(format!("answered {before:?} before, {:?} now", verdict.outcome));
        }
        if self.intents[intent].is_made && !verdict.replayed {
            return Err("decided again, not answered again".to_owned());
        }
        self.intents[intent].is_made |= !verdict.replayed;
        match &verdict.outcome {
            Outcome::Applied(applied) => self.judge_applied(index, applied, verdict.replayed)?,
            Outcome::Rejected(Rejection::InsufficientFunds { available_minor, required_minor, .. })
                if required_minor > available_minor && self.intents[intent].kind != Kind::Deposit => {}
            Outcome::Rejected(rejection) if self.is_refused_whole(intent, rejection) => {}
            Outcome::Rejected(other) => return Err(format!("refused without a reason: {other:?}")),
        }
        self.intents[intent].answer = Some(verdict.outcome);
        Ok(())
    }

    fn key_was_taken(&self, intent: usize) -> Result<(), String> {
        let wanted = &self.intents[intent];
        let shared = self.intents.iter().filter(|other| other.key.is_some() && other.key == wanted.key).count();
        match (&wanted.answer, shared) {
            (Some(answer), _) => Err(format!("its key was called somebody else's after it was answered {answer:?}")),
            (None, 0 | 1) => Err("its key was called somebody else's, but nobody else has it".to_owned()),
            (None, _) => Ok(()),
        }
    }

    fn judge_applied(&mut self, index: usize, applied: &Applied, replayed: bool) -> Result<(), String> {
        let attempt = &self.attempts[index];
        let maker = self.by_transaction.get(&applied.transaction_id).map(|maker| self.attempts[*maker].intent);
        if maker != Some(attempt.intent) || (!replayed && applied.transaction_id != attempt.transaction_id) {
            return Err(format!("answered with another's transaction {:?}", applied.transaction_id));
        }
        for &(wallet, known) in &attempt.known {
            let leg = applied.leg_of(self.wallets[wallet].id).ok_or("an answer without the wallet's leg")?;
            if !replayed && leg.version <= known {
                return Err(format!("wallet {wallet}: version {} after {known} was known", leg.version));
            }
            if leg.leg.amount_minor != self.intents[attempt.intent].amount_minor || leg.balance.posted_minor < 0 {
                return Err(format!("wallet {wallet}: a wrong amount, or an overdraft: {leg:?}"));
            }
            let wallet = &mut self.wallets[wallet];
            wallet.version = wallet.version.max(leg.version);
        }
        Ok(())
    }
}

fn line_of(request: usize, result: &Result<Verdict, Failure>) -> String {
    match result {
        Ok(Verdict { outcome: Outcome::Applied(applied), replayed }) => {
            let legs: Vec<_> = applied.legs.iter().map(|leg| (leg.version, leg.balance.posted_minor)).collect();
            format!("  request {request}: applied, versions and balances {legs:?}, again {replayed}")
        }
        Ok(Verdict { outcome: Outcome::Rejected(rejection), replayed }) => {
            format!("  request {request}: {rejection:?}, again {replayed}")
        }
        Err(failure) => format!("  request {request}: {failure}"),
    }
}
