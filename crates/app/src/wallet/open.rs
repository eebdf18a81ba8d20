//! Opening a wallet.

use florin_ledger::{Account, AccountId, IdempotencyKey, Rejection};
use florin_money::Asset;
use florin_store::{
    Engine, StoreError, Tx,
    wallet::{WalletRow, find_wallet, insert_wallet},
};

use super::{RequestKey, Wallet, WalletError, meta::wallet_from, scope_of};
use crate::{App, Caller, Failure, port::new_id};

enum Opened {
    New(WalletRow),
    Before(WalletRow),
    KeyReused,
}

impl App {
    /// Opens a wallet of the caller; `true` with a wallet that the same key opened before.
    ///
    /// `label` has at most 100 characters; the wire checks it.
    ///
    /// # Errors
    /// [`WalletError::UnknownAsset`], [`WalletError::Rejected`] for a reused key, and [`WalletError::Failure`].
    pub async fn open_wallet(
        &self,
        caller: &Caller,
        asset: Option<&str>,
        label: &str,
        key: Option<RequestKey>,
    ) -> Result<(Wallet, bool), WalletError> {
        let asset = match asset {
            None => self.settings.default_asset,
            Some(code) => self.settings.find_asset(code).ok_or(WalletError::UnknownAsset)?,
        };
        let row = WalletRow { account: self.new_account(caller, asset), label: label.to_owned() };
        let key = key.map(|key| IdempotencyKey {
            scope: scope_of(caller.user_id, caller.user_id),
            resource: caller.user_id,
            key: key.key,
            fingerprint: key.fingerprint,
        });
        let engine = self.engine.clone();
        let opened = self.blocking(move || open_once(&*engine, &row, key.as_ref())).await?.map_err(Failure::from)?;
        let (row, replayed) = match opened {
            Opened::New(row) => (row, false),
            Opened::Before(row) => (row, true),
            Opened::KeyReused => {
                return Err(WalletError::Rejected {
                    rejection: Rejection::IdempotencyKeyReused,
                    asset,
                    replayed: false,
                });
            }
        };
        self.remember(&row);
        Ok((wallet_from(&row.account, &row.label), replayed))
    }

    fn new_account(&self, caller: &Caller, asset: Asset) -> Account {
        let id = AccountId(new_id(&*self.clock, &*self.rng));
        Account::wallet(id, caller.user_id, asset, self.clock.now_us())
    }
}

/// Of two first requests with one key at once, the second waits for the first and then finds the key taken (a
/// duplicate). Nothing of it is written, and asked once more it sees what the first one opened.
fn open_once(engine: &dyn Engine, row: &WalletRow, key: Option<&IdempotencyKey>) -> Result<Opened, StoreError> {
    let open = || florin_store::write(engine, |tx| open_in_tx(tx, row, key));
    match open() {
        Err(StoreError::Duplicate(_)) if key.is_some() => open(),
        opened => opened,
    }
}

/// The key's row is written with the wallet.
fn open_in_tx(tx: &mut dyn Tx, row: &WalletRow, key: Option<&IdempotencyKey>) -> Result<Opened, StoreError> {
    if let Some(key) = key {
        if let Some((fingerprint, id)) = florin_store::wallet::find_opened(tx, key)? {
            if fingerprint != key.fingerprint {
                return Ok(Opened::KeyReused);
            }
            let before = find_wallet(tx, id)?;
            return before.map(Opened::Before).ok_or_else(|| {
                StoreError::Inconsistent(format!("idempotency_keys names wallet {}, which is not there", id.0))
            });
        }
        florin_store::wallet::insert_opened(tx, key, row.account.id, row.account.created_at_us)?;
    }
    let owner_id = row.account.owner_id.unwrap_or_default();
    insert_wallet(tx, &row.account, owner_id, &row.label)?;
    Ok(Opened::New(row.clone()))
}
