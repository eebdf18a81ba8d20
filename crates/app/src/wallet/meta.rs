//! What never changes about a wallet, remembered: whose it is, what it counts, its label.

use florin_ledger::{Account, AccountId};
use florin_money::Asset;
use florin_store::wallet::{self, WalletRow};
use uuid::Uuid;

use super::{Wallet, WalletError};
use crate::{App, Caller, Failure, remembered::Remembered};

/// How many wallets are remembered (about 150 bytes each).
const REMEMBERED_MAX: usize = 1_000_000;

/// The unchanging part of a wallet.
#[derive(Debug, Clone)]
pub(crate) struct WalletMeta {
    pub(crate) owner_id: Uuid,
    pub(crate) asset: Asset,
    pub(crate) label: std::sync::Arc<str>,
    pub(crate) created_at_us: i64,
}

/// Remembered wallets by id.
pub(crate) struct WalletMetas {
    whole: Remembered<AccountId, WalletMeta>,
    /// Owner and asset alone, of wallets that batches named: their labels were never read.
    owners: Remembered<AccountId, Ownership>,
}

/// Whose a wallet is, and what it counts.
pub(crate) type Ownership = (Uuid, Asset);

impl WalletMetas {
    pub(crate) fn new() -> Self {
        Self { whole: Remembered::new(REMEMBERED_MAX), owners: Remembered::new(REMEMBERED_MAX) }
    }

    /// Whose they are and what they count, by their order; none of those that are not remembered.
    pub(crate) fn find_owners(&self, ids: &[AccountId]) -> Vec<Option<Ownership>> {
        let mut owners = self.owners.get_all(ids, |owner| *owner);
        let others: Vec<AccountId> =
            ids.iter().zip(&owners).filter(|(_, owner)| owner.is_none()).map(|(id, _)| *id).collect();
        if !others.is_empty() {
            let found = self.whole.get_all(&others, |meta| (meta.owner_id, meta.asset));
            for (owner, found) in owners.iter_mut().filter(|owner| owner.is_none()).zip(found) {
                *owner = found;
            }
        }
        owners
    }

    pub(crate) fn remember_owner(&self, id: AccountId, owner_id: Uuid, asset: Asset) {
        self.owners.insert(id, (owner_id, asset));
    }
}

impl App {
    /// The unchanging part of the caller's wallet.
    ///
    /// Somebody else's wallet is not found, unless the caller is staff.
    pub(crate) async fn wallet_meta(&self, caller: &Caller, id: AccountId) -> Result<WalletMeta, WalletError> {
        let meta = match self.remembered(id) {
            Some(meta) => meta,
            None => {
                let row = self.read_wallet(id).await?.ok_or(WalletError::NotFound)?;
                self.remember(&row).ok_or(WalletError::NotFound)?
            }
        };
        self.shown_to(caller, meta).await
    }

    /// This wallet, if it is the caller's own or the caller is staff.
    pub(crate) async fn shown_to(&self, caller: &Caller, meta: WalletMeta) -> Result<WalletMeta, WalletError> {
        let may = meta.owner_id == caller.user_id || self.with_current_rights(caller).await?.is_staff;
        if may { Ok(meta) } else { Err(WalletError::NotFound) }
    }

    /// The unchanging part of a wallet that was looked up before, whosever it is.
    pub(crate) fn remembered(&self, id: AccountId) -> Option<WalletMeta> {
        self.wallets.whole.get(&id)
    }

    /// The stored wallet, whosever it is.
    pub(crate) async fn read_wallet(&self, id: AccountId) -> Result<Option<WalletRow>, Failure> {
        self.read(move |tx| wallet::find_wallet(tx, id)).await
    }

    pub(crate) fn remember(&self, row: &WalletRow) -> Option<WalletMeta> {
        let meta = WalletMeta {
            owner_id: row.account.owner_id?,
            asset: row.account.asset,
            label: row.label.as_str().into(),
            created_at_us: row.account.created_at_us,
        };
        self.wallets.whole.insert(row.account.id, meta.clone());
        Some(meta)
    }

    /// The asset of the caller's wallet.
    ///
    /// # Errors
    /// [`WalletError::NotFound`] also for somebody else's, and [`WalletError::Failure`].
    pub async fn asset_of(&self, caller: &Caller, id: AccountId) -> Result<Asset, WalletError> {
        Ok(self.wallet_meta(caller, id).await?.asset)
    }
}

/// A wallet as shown, from its stored row.
pub(crate) fn wallet_from(account: &Account, label: &str) -> Wallet {
    Wallet {
        id: account.id,
        owner_id: account.owner_id.unwrap_or_default(),
        asset: account.asset,
        label: label.to_owned(),
        balance: account.balance(),
        version: account.version,
        created_at_us: account.created_at_us,
        updated_at_us: account.updated_at_us,
    }
}
