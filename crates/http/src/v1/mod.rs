//! Wallets and money.

pub(crate) mod admin;
pub(crate) mod batches;
pub(crate) mod imports;
mod movement_form;
pub(crate) mod ping;
pub(crate) mod session;
pub(crate) mod transfers;
pub(crate) mod wallets;

use axum::extract::{Path, rejection::PathRejection};
use florin_ledger::AccountId;
use uuid::Uuid;

/// The wallet's id in a path, as the router read it.
pub(crate) type IdInPath = Result<Path<String>, PathRejection>;

/// The id, if the path holds a UUID in its usual form.
pub(crate) fn wallet_id(path: &IdInPath) -> Option<AccountId> {
    parse_uuid(path.as_ref().ok()?.as_str()).map(AccountId)
}

/// A UUID in its usual form: 36 characters with hyphens.
pub(crate) fn parse_uuid(text: &str) -> Option<Uuid> {
    if text.len() == 36 { Uuid::try_parse(text).ok() } else { None }
}
