//! The stored form of a final answer: JSON text, amounts as strings.

use florin_ledger::{AccountId, Applied, Balance, Leg, Outcome, PostedLeg, Rejection, TransactionId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    StoreError,
    codes::{side_code, side_from_code},
};

#[derive(Serialize, Deserialize)]
struct StoredLeg {
    account: Uuid,
    side: i16,
    amount: String,
    version: i64,
    posted: String,
    pending: String,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
enum StoredOutcome {
    Applied { id: Uuid, at: i64, hash: String, legs: Vec<StoredLeg> },
    AccountNotFound { account: Uuid },
    AccountClosed { account: Uuid },
    AssetMismatch { account: Uuid },
    InsufficientFunds { account: Uuid, posted: String, available: String, required: String },
    CeilingExceeded { account: Uuid },
    Malformed,
    IdempotencyKeyReused,
    BatchRefused { item: u32 },
}

/// The text kept in the column `outcome` of a key.
///
/// # Errors
/// Never in practice: the form has nothing that JSON cannot hold.
pub fn outcome_to_text(outcome: &Outcome) -> Result<String, StoreError> {
    let stored = match outcome {
        Outcome::Applied(applied) => StoredOutcome::Applied {
            id: applied.transaction_id.0,
            at: applied.recorded_at_us,
            hash: hex(&applied.hash),
            legs: applied.legs.iter().map(stored_leg).collect(),
        },
        Outcome::Rejected(rejection) => stored_rejection(rejection),
    };
    serde_json::to_string(&stored).map_err(|error| StoreError::Internal(error.to_string()))
}

/// The answer of that text.
///
/// # Errors
/// [`StoreError::Inconsistent`] when the text is not one of ours.
pub fn outcome_from_text(text: &str) -> Result<Outcome, StoreError> {
    let stored: StoredOutcome = serde_json::from_str(text)
        .map_err(|error| StoreError::Inconsistent(format!("the outcome kept for a key: {error}")))?;
    let rejection = match stored {
        StoredOutcome::Applied { id, at, hash, legs } => {
            let legs = legs.iter().map(posted_leg).collect::<Result<_, _>>()?;
            let hash = unhex(&hash)?;
            return Ok(Outcome::Applied(Applied { transaction_id: TransactionId(id), recorded_at_us: at, legs, hash }));
        }
        StoredOutcome::AccountNotFound { account } => Rejection::AccountNotFound { account_id: AccountId(account) },
        StoredOutcome::AccountClosed { account } => Rejection::AccountClosed { account_id: AccountId(account) },
        StoredOutcome::AssetMismatch { account } => Rejection::AssetMismatch { account_id: AccountId(account) },
        StoredOutcome::InsufficientFunds { account, posted, available, required } => Rejection::InsufficientFunds {
            account_id: AccountId(account),
            posted_minor: minor(&posted)?,
            available_minor: minor(&available)?,
            required_minor: minor(&required)?,
        },
        StoredOutcome::CeilingExceeded { account } => Rejection::CeilingExceeded { account_id: AccountId(account) },
        StoredOutcome::Malformed => Rejection::Malformed { reason: "the command was malformed" },
        StoredOutcome::IdempotencyKeyReused => Rejection::IdempotencyKeyReused,
        StoredOutcome::BatchRefused { item } => Rejection::BatchRefused { item },
    };
    Ok(Outcome::Rejected(rejection))
}

fn stored_leg(posted: &PostedLeg) -> StoredLeg {
    StoredLeg {
        account: posted.leg.account_id.0,
        side: side_code(posted.leg.side),
        amount: posted.leg.amount_minor.to_string(),
        version: posted.version,
        posted: posted.balance.posted_minor.to_string(),
        pending: posted.balance.pending_minor.to_string(),
    }
}

fn posted_leg(stored: &StoredLeg) -> Result<PostedLeg, StoreError> {
    let (posted_minor, pending_minor) = (minor(&stored.posted)?, minor(&stored.pending)?);
    Ok(PostedLeg {
        leg: Leg {
            account_id: AccountId(stored.account),
            side: side_from_code(i64::from(stored.side))?,
            amount_minor: minor(&stored.amount)?,
        },
        version: stored.version,
        balance: Balance { posted_minor, pending_minor, available_minor: posted_minor - pending_minor },
    })
}

fn stored_rejection(rejection: &Rejection) -> StoredOutcome {
    match rejection {
        Rejection::AccountNotFound { account_id } => StoredOutcome::AccountNotFound { account: account_id.0 },
        Rejection::AccountClosed { account_id } => StoredOutcome::AccountClosed { account: account_id.0 },
        Rejection::AssetMismatch { account_id } => StoredOutcome::AssetMismatch { account: account_id.0 },
        Rejection::InsufficientFunds { account_id, posted_minor, available_minor, required_minor } => {
            StoredOutcome::InsufficientFunds {
                account: account_id.0,
                posted: posted_minor.to_string(),
                available: available_minor.to_string(),
                required: required_minor.to_string(),
            }
        }
        Rejection::CeilingExceeded { account_id } => StoredOutcome::CeilingExceeded { account: account_id.0 },
        Rejection::Malformed { .. } => StoredOutcome::Malformed,
        Rejection::IdempotencyKeyReused => StoredOutcome::IdempotencyKeyReused,
        Rejection::BatchRefused { item } => StoredOutcome::BatchRefused { item: *item },
    }
}

fn minor(text: &str) -> Result<i128, StoreError> {
    text.parse().map_err(|_| StoreError::Inconsistent("the outcome kept for a key holds a bad amount".to_owned()))
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Result<[u8; 32], StoreError> {
    let bad = || StoreError::Inconsistent("the outcome kept for a key holds a bad hash".to_owned());
    let mut bytes = [0_u8; 32];
    if text.len() != 64 || !text.is_ascii() {
        return Err(bad());
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[index * 2..index * 2 + 2], 16).map_err(|_| bad())?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_survives_storage() {
        let account_id = AccountId(Uuid::from_u128(7));
        let leg = Leg { account_id, side: florin_ledger::Side::Credit, amount_minor: 10_i128.pow(37) };
        let balance = Balance { posted_minor: -5, pending_minor: 2, available_minor: -7 };
        let applied = Applied {
            transaction_id: TransactionId(Uuid::from_u128(9)),
            recorded_at_us: 1_700_000_000_000_001,
            legs: vec![PostedLeg { leg, version: 3, balance }],
            hash: [0xab; 32],
        };
        let answers = [
            Outcome::Applied(applied),
            Outcome::Rejected(Rejection::AccountNotFound { account_id }),
            Outcome::Rejected(Rejection::AccountClosed { account_id }),
            Outcome::Rejected(Rejection::AssetMismatch { account_id }),
            Outcome::Rejected(Rejection::CeilingExceeded { account_id }),
            Outcome::Rejected(Rejection::IdempotencyKeyReused),
            Outcome::Rejected(Rejection::BatchRefused { item: 9_999 }),
            Outcome::Rejected(Rejection::InsufficientFunds {
                account_id,
                posted_minor: 1,
                available_minor: -1,
                required_minor: i128::MAX,
            }),
        ];
        for answer in answers {
            let text = outcome_to_text(&answer).unwrap();
            assert_eq!(outcome_from_text(&text).unwrap(), answer, "{text}");
        }
    }
}
