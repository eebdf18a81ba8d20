//! System accounts: the other side of the world, one account a stripe.

use florin_money::{Asset, AssetCode};
use sha2::{Digest, Sha256};

use crate::{Account, AccountId, Side};

/// The system accounts that Florin posts against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SystemAccount {
    /// Money at the bank: the other side of deposits and withdrawals.
    BankSettlement,
    /// The other side of corrections by staff.
    EquityAdjustment,
}

impl SystemAccount {
    /// Every one of them.
    pub const ALL: [Self; 2] = [Self::BankSettlement, Self::EquityAdjustment];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BankSettlement => "bank:settlement",
            Self::EquityAdjustment => "equity:adjustment",
        }
    }

    /// Stripe `stripe` of this account in `asset`, as it is before its first posting.
    #[must_use]
    pub fn open(self, asset: Asset, stripe: u16, created_at_us: i64) -> Account {
        Account::empty(system_account_id(self, asset.code(), stripe), asset, Side::Debit, created_at_us)
    }
}

/// The id of one stripe of a system account: the first 16 bytes of a SHA-256 over its name, asset and stripe, marked as
/// a UUID of version 8 (RFC 9562 section 5.8).
#[must_use]
pub fn system_account_id(account: SystemAccount, asset: AssetCode, stripe: u16) -> AccountId {
    let digest = Sha256::digest(format!("florin:{}:{}:{stripe}", account.name(), asset.as_str()).as_bytes());
    let mut bytes = [0_u8; 16];
    bytes.copy_from_slice(&digest[..16]);
    AccountId(uuid::Builder::from_custom_bytes(bytes).into_uuid())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;

    #[test]
    fn ids_are_kept_in_storage_and_never_change() {
        let euro = AssetCode::parse("EUR").unwrap();
        let id = system_account_id(SystemAccount::BankSettlement, euro, 3);
        assert_eq!(id.0.to_string(), "fdbecf56-f1e2-88c0-aab9-1f2cffaffe71");
        assert_ne!(id, system_account_id(SystemAccount::BankSettlement, euro, 4));
        assert_ne!(id, system_account_id(SystemAccount::EquityAdjustment, euro, 3));
        assert_ne!(id, system_account_id(SystemAccount::BankSettlement, AssetCode::parse("USD").unwrap(), 3));
    }

    #[test]
    fn opens_empty_and_without_limits() {
        let account = SystemAccount::EquityAdjustment.open(Asset::find_iso("EUR").unwrap(), 0, 7);
        assert_eq!(account.balance(), crate::Balance::default());
        assert_eq!((account.limits, account.version, account.created_at_us), (Limits::default(), 0, 7));
    }
}
