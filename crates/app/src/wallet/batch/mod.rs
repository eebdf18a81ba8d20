//! Many movements in one request: prepared in memory, applied in one database transaction, answered in order.

mod apply;
mod kept;
mod prepare;

use std::borrow::Cow;

use florin_ledger::{AccountId, Balance, Command, Outcome, Side, TransactionId, Verdict};
use thiserror::Error;

use super::refusal::{explain, refused_because_of};
use crate::Failure;

pub use apply::BatchAnswer;

/// What one item of a batch asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchMove {
    /// From the bank to the wallet.
    Deposit,
    /// From the wallet to the bank.
    Withdraw,
    /// From the wallet, which must be the caller's, to another one.
    Transfer {
        /// The other one.
        to: AccountId,
    },
    /// A correction, by staff.
    Adjust(
        /// Credit adds, debit subtracts.
        Side,
    ),
}

/// One item of a batch. Its amount is read when the wallet's asset is known.
#[derive(Debug, Clone)]
pub struct BatchItem<'a, A> {
    /// What it asks for.
    pub what: BatchMove,
    /// Whose balance the answer tells.
    pub wallet: AccountId,
    /// The amount as it was written.
    pub amount: A,
    /// A reason or reference, for people; at most 500 characters.
    pub reason: Option<Cow<'a, str>>,
}

/// Why an item never came to the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemRefusal {
    /// For programs.
    pub code: &'static str,
    /// For people.
    pub detail: String,
}

/// A batch ready to be applied.
#[derive(Debug, Default)]
pub struct PreparedBatch {
    /// How many items it has.
    items: usize,
    commands: Vec<Command>,
    /// The others, by their place.
    refused: Vec<(usize, ItemRefusal)>,
}

impl PreparedBatch {
    /// How many items it has, the commands, and the refusals of the other items by their place.
    pub(crate) fn into_parts(self) -> (usize, Vec<Command>, Vec<(usize, ItemRefusal)>) {
        (self.items, self.commands, self.refused)
    }
}

/// Who may do what in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchRights {
    /// As the caller's single requests.
    Caller(crate::Caller),
    /// Everything: the operator, at the command line. The id is kept as who asked.
    Operator(uuid::Uuid),
}

/// What came of one item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemOutcome<'a> {
    /// It was applied.
    Applied {
        /// The transaction.
        transaction_id: TransactionId,
        /// The wallet after it.
        balance: Balance,
        /// Decimal places of its figures.
        exponent: u8,
    },
    /// It was refused.
    Refused {
        /// For programs.
        code: Cow<'a, str>,
        /// For people.
        detail: Cow<'a, str>,
    },
}

/// What came of a batch, item by item.
#[derive(Debug, Clone, Copy)]
pub struct BatchOutcome<'a> {
    atomic: bool,
    source: Source<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Source<'a> {
    Decided {
        items: usize,
        refused: &'a [(usize, ItemRefusal)],
        commands: &'a [Command],
        verdicts: &'a [Verdict],
    },
    /// Before, by another request.
    Kept(&'a [ItemOutcome<'a>]),
}

impl<'a> BatchOutcome<'a> {
    /// What came of items that stand for themselves.
    pub(crate) const fn each(
        items: usize,
        refused: &'a [(usize, ItemRefusal)],
        commands: &'a [Command],
        verdicts: &'a [Verdict],
    ) -> Self {
        Self { atomic: false, source: Source::Decided { items, refused, commands, verdicts } }
    }

    /// Whether it was all or nothing.
    #[must_use]
    pub const fn is_atomic(&self) -> bool {
        self.atomic
    }

    /// How many items were applied.
    #[must_use]
    pub fn applied(&self) -> usize {
        match self.source {
            Source::Decided { verdicts, .. } => {
                verdicts.iter().filter(|verdict| matches!(verdict.outcome, Outcome::Applied(_))).count()
            }
            Source::Kept(outcomes) => {
                outcomes.iter().filter(|outcome| matches!(outcome, ItemOutcome::Applied { .. })).count()
            }
        }
    }

    /// How many items there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self.source {
            Source::Decided { items, .. } => items,
            Source::Kept(outcomes) => outcomes.len(),
        }
    }

    /// Whether there is no item.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The outcomes, in the order of the items.
    #[must_use]
    pub fn outcomes(&self) -> Box<dyn Iterator<Item = ItemOutcome<'a>> + 'a> {
        match self.source {
            Source::Decided { items, refused, commands, verdicts } => {
                Box::new(decided(self.atomic, items, refused, commands.iter().zip(verdicts)))
            }
            Source::Kept(outcomes) => Box::new(outcomes.iter().cloned()),
        }
    }
}

fn decided<'a>(
    atomic: bool,
    items: usize,
    refused: &'a [(usize, ItemRefusal)],
    mut told: impl Iterator<Item = (&'a Command, &'a Verdict)>,
) -> impl Iterator<Item = ItemOutcome<'a>> {
    let first_refused = refused.first().map(|(index, _)| *index);
    let mut refused = refused.iter().peekable();
    let refusal = |code: &'static str, detail| ItemOutcome::Refused { code: code.into(), detail };
    (0..items).map(move |index| {
        if let Some((_, own)) = refused.next_if(|(refused, _)| *refused == index) {
            return refusal(own.code, Cow::Borrowed(&own.detail));
        }
        match (told.next(), first_refused) {
            (_, Some(first)) if atomic => refusal("batch_refused", Cow::Owned(refused_because_of(first))),
            (Some((command, verdict)), _) => outcome_of(command, verdict),
            (None, _) => refusal("not_processed", Cow::Borrowed("Not processed.")),
        }
    })
}

fn outcome_of<'a>(command: &Command, verdict: &Verdict) -> ItemOutcome<'a> {
    let exponent = command.asset.exponent();
    match &verdict.outcome {
        Outcome::Applied(applied) => {
            let wallet = command.legs.first().and_then(|leg| applied.leg_of(leg.account_id));
            let balance = wallet.map(|posted| posted.balance).unwrap_or_default();
            ItemOutcome::Applied { transaction_id: applied.transaction_id, balance, exponent }
        }
        Outcome::Rejected(rejection) => {
            let (code, detail) = explain(rejection, exponent);
            ItemOutcome::Refused { code: code.into(), detail: detail.into() }
        }
    }
}

/// Why a batch as a whole was not applied.
#[derive(Debug, Error)]
pub enum BatchError {
    /// The idempotency key was used with another request.
    #[error("idempotency key reused with another request")]
    KeyReused,
    /// See [`Failure`].
    #[error(transparent)]
    Failure(#[from] Failure),
}
