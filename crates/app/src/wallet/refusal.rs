//! What the ledger's refusals are called, and what is said of them, in every dialect but Django's.

use florin_ledger::Rejection;
use florin_money::format_minor;

/// The code of a refusal, for programs, and its sentence, with figures in an asset of `exponent` places.
#[must_use]
pub fn explain(rejection: &Rejection, exponent: u8) -> (&'static str, String) {
    match rejection {
        Rejection::AccountNotFound { .. } => ("wallet_not_found", "Wallet not found.".to_owned()),
        Rejection::AccountClosed { .. } => ("account_closed", "The wallet is closed.".to_owned()),
        Rejection::AssetMismatch { .. } => ("asset_mismatch", "The wallets hold different assets.".to_owned()),
        Rejection::InsufficientFunds { available_minor, required_minor, .. } => {
            let available = format_minor(*available_minor, exponent);
            let required = format_minor(*required_minor, exponent);
            ("insufficient_funds", format!("Available: {available}, required: {required}."))
        }
        Rejection::CeilingExceeded { .. } => {
            ("ceiling_exceeded", "The balance would pass the wallet's ceiling.".to_owned())
        }
        Rejection::Malformed { reason } => ("malformed", format!("{reason}.")),
        Rejection::IdempotencyKeyReused => {
            ("idempotency_key_reused", "This Idempotency-Key was used with another request.".to_owned())
        }
        Rejection::BatchRefused { item } => ("batch_refused", refused_because_of(usize::try_from(*item).unwrap_or(0))),
    }
}

/// The sentence of an item that was refused with another one.
pub(crate) fn refused_because_of(item: usize) -> String {
    format!("The batch is applied whole or not at all, and item {item} was refused.")
}
