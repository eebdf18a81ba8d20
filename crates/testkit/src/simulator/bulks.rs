//! Many movements in one request: what was asked for, what was told, and what follows from it.

use std::{
    collections::HashMap,
    ops::Range,
    pin::Pin,
    task::{Context, Poll},
};

use florin_app::{BulkAnswer, Companion, Failure, Submitted};
use florin_ledger::{Command, Outcome, Rejection, TransactionId, Verdict};
use florin_store::{StoreError, Tx, Value};

use super::book::{Book, Standing};
use crate::keyed::{answer_of, find_kept, key_of};

/// Movements that somebody wants in one request.
#[derive(Debug)]
pub struct WantedBulk {
    /// The intents.
    pub intents: Range<usize>,
    /// All or none.
    pub atomic: bool,
    /// Whether each movement has a key of its own. With neither keys nor a name it is sent once.
    pub has_keys: bool,
    /// The name of the row that is written beside them, if one is.
    pub name: Option<String>,
    /// Whether it is the answer to a key of that name, or else a companion's.
    pub keyed: bool,
}

type Answer = Pin<Box<dyn Future<Output = Result<BulkAnswer, Failure>>>>;

/// One request for them.
pub struct BulkAttempt {
    /// What it is for.
    pub bulk: usize,
    /// One a movement.
    pub attempts: Range<usize>,
    has_companion: bool,
    answer: Option<Answer>,
}

/// A row that is there if, and only if, the bulk's commands were decided.
pub struct Entry(pub String);

impl Companion for Entry {
    fn begin(&mut self, tx: &mut dyn Tx) -> Result<bool, StoreError> {
        Ok(!has_entry(tx, &self.0)?)
    }

    fn finish(&mut self, tx: &mut dyn Tx, _: &[Command], _: &[Verdict]) -> Result<(), StoreError> {
        let row = [Value::Text(self.0.clone()), Value::Int(1)];
        tx.execute("INSERT INTO counters (name, value) VALUES ($1, $2)", &row).map(drop)
    }

    fn subject(&self) -> String {
        self.0.clone()
    }
}

/// Whether the row that is to be written beside this bulk is there; none is also well.
///
/// # Errors
/// Those of the engine.
pub fn is_entered(tx: &mut dyn Tx, wanted: &WantedBulk) -> Result<bool, StoreError> {
    match &wanted.name {
        Some(name) if wanted.keyed => Ok(find_kept(tx, name)? == Some(answer_of(&key_of(name), wanted.intents.len()))),
        Some(name) => has_entry(tx, name),
        None => Ok(true),
    }
}

fn has_entry(tx: &mut dyn Tx, name: &str) -> Result<bool, StoreError> {
    let rows = tx.query("SELECT value FROM counters WHERE name = $1", &[Value::Text(name.to_owned())])?;
    Ok(!rows.is_empty())
}

impl Book {
    /// Enters a request that was handed over (or not, when the queue was full).
    pub fn enter_bulk(
        &mut self,
        bulk: usize,
        transactions: &[TransactionId],
        has_companion: bool,
        submitted: Result<Submitted<BulkAnswer>, Failure>,
    ) {
        let first = self.attempts.len();
        let standing = if submitted.is_ok() { Standing::Waiting } else { Standing::Refused };
        for (intent, transaction_id) in self.bulks[bulk].intents.clone().zip(transactions) {
            self.enter_with(intent, *transaction_id, standing, None);
        }
        let attempts = first..self.attempts.len();
        let answer: Option<Answer> = submitted.ok().map(|submitted| Box::pin(submitted.verdict()) as Answer);
        self.bulk_attempts.push(BulkAttempt { bulk, attempts, has_companion, answer });
    }

    /// Takes every answer to a bulk that has come; gives a line for each.
    pub(super) fn hear_bulks(&mut self, context: &mut Context<'_>, heard: &mut Vec<String>) -> Result<(), String> {
        for index in 0..self.bulk_attempts.len() {
            let request = &mut self.bulk_attempts[index];
            let Some(answer) = &mut request.answer else { continue };
            let Poll::Ready(result) = answer.as_mut().poll(context) else { continue };
            request.answer = None;
            let (bulk, attempts, has_companion) = (request.bulk, request.attempts.clone(), request.has_companion);
            heard.push(format!("  requests {attempts:?}, bulk {bulk}: {}", short(&result)));
            match result {
                // Decided before: this request must never have an effect.
                Ok(answer) if answer.verdicts().is_empty() && has_companion => {
                    self.stand(attempts, Standing::Refused);
                }
                Ok(answer) => {
                    self.stand(attempts.clone(), Standing::Answered);
                    self.judge_bulk(bulk, attempts.clone(), answer.verdicts())
                        .map_err(|wrong| format!("requests {attempts:?}: {wrong}"))?;
                }
                Err(Failure::Unavailable(_)) => self.stand(attempts, Standing::Unknown),
                Err(Failure::Internal(text)) => return Err(format!("requests {attempts:?} met a defect: {text}")),
            }
        }
        Ok(())
    }

    fn stand(&mut self, attempts: Range<usize>, standing: Standing) {
        for attempt in &mut self.attempts[attempts] {
            attempt.standing = standing;
        }
    }

    fn judge_bulk(&mut self, bulk: usize, attempts: Range<usize>, verdicts: &[Verdict]) -> Result<(), String> {
        if verdicts.len() != attempts.len() {
            return Err(format!("{} verdicts for {} commands", verdicts.len(), attempts.len()));
        }
        let applied = |verdict: &Verdict| matches!(verdict.outcome, Outcome::Applied(_));
        if self.bulks[bulk].atomic && verdicts.iter().any(applied) && !verdicts.iter().all(applied) {
            return Err(format!("one whole that was applied in part: {verdicts:?}"));
        }
        attempts.zip(verdicts).try_for_each(|(attempt, verdict)| self.judge(attempt, verdict.clone()))
    }

    /// Whether this refusal is one of a whole that was refused.
    pub(super) fn is_refused_whole(&self, intent: usize, rejection: &Rejection) -> bool {
        let atomic = self.intents[intent].bulk.is_some_and(|bulk| self.bulks[bulk].atomic);
        matches!(rejection, Rejection::BatchRefused { .. }) && atomic
    }

    /// The transactions of one bulk come from one request; those of a whole are all there, or none is.
    ///
    /// # Errors
    /// It is not so.
    pub fn check_bulks(&self, made: &HashMap<usize, Vec<TransactionId>>) -> Result<(), String> {
        for (bulk, wanted) in self.bulks.iter().enumerate() {
            let transactions = wanted.intents.clone().filter_map(|intent| made.get(&intent)).flatten();
            let mut requests: Vec<Option<usize>> = transactions.map(|id| self.request_of(*id)).collect();
            requests.dedup();
            if requests.len() > 1 {
                return Err(format!("bulk {bulk} was applied by several requests: {requests:?}"));
            }
            let count = wanted.intents.clone().filter(|intent| made.contains_key(intent)).count();
            if wanted.atomic && count > 0 && count < wanted.intents.len() {
                return Err(format!("bulk {bulk} is there in part: {count} of {wanted:?}"));
            }
        }
        Ok(())
    }

    fn request_of(&self, id: TransactionId) -> Option<usize> {
        let attempt = self.by_transaction.get(&id)?;
        self.bulk_attempts.iter().position(|request| request.attempts.contains(attempt))
    }
}

fn short(result: &Result<BulkAnswer, Failure>) -> String {
    match result {
        Ok(answer) => {
            let words = answer.verdicts().iter().map(|verdict| match (&verdict.outcome, verdict.replayed) {
                (Outcome::Applied(_), false) => "applied",
                (Outcome::Applied(_), true) => "applied before",
                (Outcome::Rejected(rejection), false) => rejection.code(),
                (Outcome::Rejected(_), true) => "refused before",
            });
            format!("{:?}", words.collect::<Vec<_>>())
        }
        Err(failure) => failure.to_string(),
    }
}
