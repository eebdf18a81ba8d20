//! Moving money: deposits, withdrawals, transfers and corrections, each one command to the ledger.

use florin_ledger::{
    AccountId, Command, IdempotencyKey, Kind, Leg, Outcome, Precondition, Side, SystemAccount, TransactionId,
    system_account_id,
};
use florin_money::Asset;

use super::{Receipt, RequestKey, Wallet, WalletError, meta::WalletMeta, scope_of};
use crate::{App, Caller, port::new_id};

/// What every movement has: how much, and what the caller says about it.
#[derive(Debug, Clone)]
pub struct Movement {
    /// Minor units of `asset`, greater than zero.
    pub amount_minor: i128,
    /// The asset that the amount was read in.
    pub asset: Asset,
    /// A reason or reference, for people.
    pub reason: Option<String>,
    /// The caller's idempotency key.
    pub key: Option<RequestKey>,
}

impl App {
    /// Deposits to or withdraws from the caller's wallet, against the bank.
    ///
    /// # Errors
    /// [`WalletError::NotFound`], [`WalletError::Forbidden`] where users may not do this themselves,
    /// [`WalletError::Rejected`], [`WalletError::Failure`].
    pub async fn operate(
        &self,
        caller: &Caller,
        wallet: AccountId,
        kind: Kind,
        movement: Movement,
    ) -> Result<Receipt, WalletError> {
        let meta = self.wallet_meta(caller, wallet).await?;
        if !self.settings.self_deposit && !self.with_current_rights(caller).await?.is_staff {
            return Err(WalletError::Forbidden);
        }
        let side = if kind == Kind::Withdraw { Side::Debit } else { Side::Credit };
        self.against_system(caller, wallet, &meta, (kind, side, SystemAccount::BankSettlement), movement).await
    }

    /// Corrects a wallet's balance, with a reason. Staff only.
    ///
    /// # Errors
    /// [`WalletError::Forbidden`] for anybody else, and as [`App::operate`].
    pub async fn adjust(
        &self,
        caller: &Caller,
        wallet: AccountId,
        side: Side,
        movement: Movement,
    ) -> Result<Receipt, WalletError> {
        if !self.with_current_rights(caller).await?.is_staff {
            return Err(WalletError::Forbidden);
        }
        let meta = self.wallet_meta(caller, wallet).await?;
        let against = (Kind::Adjustment, side, SystemAccount::EquityAdjustment);
        self.against_system(caller, wallet, &meta, against, movement).await
    }

    /// Moves money from the caller's wallet to another wallet of the same asset.
    ///
    /// # Errors
    /// [`WalletError::NotFound`] when the source is not the caller's, [`WalletError::Rejected`] for the rest (an
    /// unknown destination is `AccountNotFound` with its id), [`WalletError::Failure`].
    pub async fn transfer(
        &self,
        caller: &Caller,
        from: AccountId,
        to: AccountId,
        movement: Movement,
    ) -> Result<Receipt, WalletError> {
        let meta = self.wallet_meta(caller, from).await?;
        if meta.owner_id != caller.user_id {
            return Err(WalletError::NotFound);
        }
        let legs = [(from, Side::Debit), (to, Side::Credit)];
        let command = self.command(caller, from, &meta, Kind::Transfer, legs, movement);
        self.submit(from, &meta, command).await
    }

    async fn against_system(
        &self,
        caller: &Caller,
        wallet: AccountId,
        meta: &WalletMeta,
        (kind, side, system): (Kind, Side, SystemAccount),
        movement: Movement,
    ) -> Result<Receipt, WalletError> {
        let system = system_account_id(system, movement.asset.code(), self.settings.writer);
        let other = if side == Side::Credit { Side::Debit } else { Side::Credit };
        let legs = [(wallet, side), (system, other)];
        let command = self.command(caller, wallet, meta, kind, legs, movement);
        self.submit(wallet, meta, command).await
    }

    fn command(
        &self,
        caller: &Caller,
        wallet: AccountId,
        meta: &WalletMeta,
        kind: Kind,
        legs: [(AccountId, Side); 2],
        movement: Movement,
    ) -> Command {
        let amount_minor = movement.amount_minor;
        Command {
            transaction_id: TransactionId(new_id(&*self.clock, &*self.rng)),
            kind,
            asset: movement.asset,
            legs: legs.into_iter().map(|(account_id, side)| Leg { account_id, side, amount_minor }).collect(),
            actor_id: caller.user_id,
            reason: movement.reason,
            effective_at_us: None,
            idempotency: movement.key.map(|key| IdempotencyKey {
                scope: scope_of(caller.user_id, wallet.0),
                resource: wallet.0,
                key: key.key,
                fingerprint: key.fingerprint,
            }),
            owners: vec![Precondition { account_id: wallet, owner_id: meta.owner_id }],
        }
    }

    async fn submit(&self, wallet: AccountId, meta: &WalletMeta, command: Command) -> Result<Receipt, WalletError> {
        let asset = command.asset;
        let verdict = self.queue.submit(command)?.verdict().await?;
        let replayed = verdict.replayed;
        let applied = match verdict.outcome {
            Outcome::Applied(applied) => applied,
            Outcome::Rejected(rejection) => return Err(WalletError::Rejected { rejection, asset, replayed }),
        };
        let posted = applied.leg_of(wallet).ok_or_else(|| {
            crate::Failure::Internal(format!("transaction {} has no leg on its wallet", applied.transaction_id.0))
        })?;
        Ok(Receipt {
            transaction_id: applied.transaction_id,
            wallet: Wallet {
                id: wallet,
                owner_id: meta.owner_id,
                asset: meta.asset,
                label: meta.label.to_string(),
                balance: posted.balance,
                version: posted.version,
                created_at_us: meta.created_at_us,
                updated_at_us: applied.recorded_at_us,
            },
            replayed,
            hash: applied.hash,
        })
    }
}
