//! What is kept of a batch's answer beside its key: what the answer is made of, a few bytes an item, not its text.

use std::borrow::Cow;

use florin_ledger::{Balance, TransactionId};
use florin_store::StoreError;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{BatchOutcome, ItemOutcome};

/// As it is stored, in [postcard's form](https://postcard.jamesmunns.com): versions are told apart by the first byte.
#[derive(Serialize, Deserialize)]
enum Stored<'a> {
    V1 {
        atomic: bool,
        #[serde(borrow)]
        request_id: Cow<'a, str>,
        #[serde(borrow)]
        items: Vec<StoredItem<'a>>,
    },
}

/// An outcome, told by what distinguishes it from the one before.
#[derive(Serialize, Deserialize)]
enum StoredItem<'a> {
    /// `id_step`: from the last id before it, modulo 2^128. A batch's ids follow each other.
    Applied {
        id_step: u128,
        posted_minor: i128,
        pending_minor: i128,
        exponent: u8,
    },
    Refused {
        code: Cow<'a, str>,
        detail: Cow<'a, str>,
    },
    /// Refused as the last one that was refused before it.
    RefusedAgain,
}

/// A batch's answer that was kept.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct KeptAnswer<'a> {
    pub(super) atomic: bool,
    /// That of the request which was answered first.
    pub(super) request_id: Cow<'a, str>,
    pub(super) outcomes: Vec<ItemOutcome<'a>>,
}

/// What is to be kept of this answer.
///
/// # Errors
/// [`StoreError::Internal`] when it cannot be written.
pub(super) fn keep(outcome: &BatchOutcome<'_>, request_id: &str) -> Result<Vec<u8>, StoreError> {
    let (mut last_id, mut last_refusal) = (0, None);
    let store = |item| match item {
        ItemOutcome::Applied { transaction_id, balance, exponent } => {
            let id = transaction_id.0.as_u128();
            let Balance { posted_minor, pending_minor, .. } = balance;
            let id_step = id.wrapping_sub(std::mem::replace(&mut last_id, id));
            StoredItem::Applied { id_step, posted_minor, pending_minor, exponent }
        }
        ItemOutcome::Refused { code, detail } => {
            let refusal = (code, detail);
            if last_refusal.as_ref() == Some(&refusal) {
                return StoredItem::RefusedAgain;
            }
            let (code, detail) = last_refusal.insert(refusal).clone();
            StoredItem::Refused { code, detail }
        }
    };
    let items = outcome.outcomes().map(store).collect();
    let stored = Stored::V1 { atomic: outcome.is_atomic(), request_id: request_id.into(), items };
    postcard::to_allocvec(&stored).map_err(|error| StoreError::Internal(format!("an answer cannot be kept: {error}")))
}

/// The answer of which this was kept.
///
/// # Errors
/// [`StoreError::Inconsistent`] when it is nothing that was kept.
pub(super) fn recall(bytes: &[u8]) -> Result<KeptAnswer<'_>, StoreError> {
    let unreadable = |error| StoreError::Inconsistent(format!("a batch's answer cannot be read: {error}"));
    let Stored::V1 { atomic, request_id, items } = postcard::from_bytes(bytes).map_err(unreadable)?;
    let (mut last_id, mut last_refusal) = (0_u128, None);
    let mut outcomes = Vec::with_capacity(items.len());
    for item in items {
        outcomes.push(match item {
            StoredItem::Applied { id_step, posted_minor, pending_minor, exponent } => {
                last_id = last_id.wrapping_add(id_step);
                let available_minor = posted_minor.saturating_sub(pending_minor);
                let balance = Balance { posted_minor, pending_minor, available_minor };
                ItemOutcome::Applied { transaction_id: TransactionId(Uuid::from_u128(last_id)), balance, exponent }
            }
            StoredItem::Refused { code, detail } => {
                last_refusal = Some((code.clone(), detail.clone()));
                ItemOutcome::Refused { code, detail }
            }
            StoredItem::RefusedAgain => {
                let nothing =
                    || StoreError::Inconsistent("a batch's answer repeats a refusal before the first".to_owned());
                let (code, detail) = last_refusal.clone().ok_or_else(nothing)?;
                ItemOutcome::Refused { code, detail }
            }
        });
    }
    Ok(KeptAnswer { atomic, request_id, outcomes })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wallet::batch::Source;

    fn outcome_of<'a>(items: &'a [ItemOutcome<'a>]) -> BatchOutcome<'a> {
        BatchOutcome { atomic: false, source: Source::Kept(items) }
    }

    fn applied(id: u128, posted_minor: i128, pending_minor: i128) -> ItemOutcome<'static> {
        let balance = Balance { posted_minor, pending_minor, available_minor: posted_minor - pending_minor };
        ItemOutcome::Applied { transaction_id: TransactionId(Uuid::from_u128(id)), balance, exponent: 2 }
    }

    fn refused(code: &'static str, detail: String) -> ItemOutcome<'static> {
        ItemOutcome::Refused { code: code.into(), detail: detail.into() }
    }

    fn any_outcome() -> impl Strategy<Value = ItemOutcome<'static>> {
        let figure = -10_i128.pow(37)..10_i128.pow(37);
        prop_oneof![
            (any::<u128>(), figure.clone(), figure).prop_map(|(id, posted, pending)| applied(id, posted, pending)),
            (0..3_u8).prop_map(|which| refused("insufficient_funds", format!("Available: {which}.00."))),
            any::<String>().prop_map(|text| refused("validation_error", text)),
        ]
    }

    proptest! {
        #[test]
        fn what_is_kept_is_recalled(items in prop::collection::vec(any_outcome(), 0..40), atomic: bool, id: String) {
            let outcome = BatchOutcome { atomic, ..outcome_of(&items) };
            let bytes = keep(&outcome, &id).unwrap();
            prop_assert_eq!(recall(&bytes).unwrap(), KeptAnswer { atomic, request_id: id.into(), outcomes: items });
        }

        #[test]
        fn damaged_bytes_are_an_error_and_never_a_panic(bytes: Vec<u8>, cut in 0..100_usize) {
            let _ = recall(&bytes);
            let kept = keep(&outcome_of(&[applied(7, 1, 0), refused("x", "y".to_owned())]), "id").unwrap();
            let cut = cut.min(kept.len() - 1);
            prop_assert!(matches!(recall(&kept[..cut]), Err(StoreError::Inconsistent(_))));
        }
    }

    #[test]
    fn an_item_takes_a_few_bytes() {
        let first = 0x0197_b9a2_7c31_7d52_9d5e_7f0f_2f6f_3a11;
        let all_applied: Vec<_> = (0..10_000).map(|place| applied(first + place, 1_000_000 + 100, 0)).collect();
        let mut all_refused = vec![refused("batch_refused", "item 7 was refused".to_owned()); 10_000];
        all_refused[7] = refused("insufficient_funds", "Available: 1.00, required: 2.00.".to_owned());
        let bytes = [all_applied, all_refused].map(|items| keep(&outcome_of(&items), "id").unwrap().len());
        assert!(bytes[0] < 80_000 && bytes[1] < 11_000, "{bytes:?}");
    }
}
