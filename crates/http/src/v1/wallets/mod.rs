//! `/api/v1/wallets/…`: wallets of the caller.

pub(crate) mod get;
pub(crate) mod history;
pub(crate) mod list;
pub(crate) mod open;
pub(crate) mod operation;
pub(crate) mod statement;
mod wallet_body;

pub(crate) use wallet_body::{Figure, WalletBody};
