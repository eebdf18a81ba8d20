//! From items to commands: whose wallets, which assets, who may.

use florin_ledger::{
    AccountId, AccountMap, Command, Kind, Leg, Precondition, Side, SystemAccount, TransactionId, system_account_id,
};
use florin_money::Asset;

use super::{BatchItem, BatchMove, BatchRights, ItemRefusal, PreparedBatch};
use crate::{App, Failure, port::new_ids, wallet::meta::Ownership};

/// Stripes of system accounts: a batch asks for the same few again and again, and each costs a hash.
type Stripes = Vec<((SystemAccount, Asset), AccountId)>;

impl App {
    /// Makes commands of a batch's items; what may not be, or cannot be read, is refused item by item.
    ///
    /// `read_amount` reads an amount in the wallet's asset; its error is for the client. Blocks: call it on a thread
    /// that may.
    ///
    /// # Errors
    /// [`Failure`] when the wallets cannot be looked up.
    pub fn prepare_batch<A>(
        &self,
        rights: BatchRights,
        items: &[BatchItem<'_, A>],
        read_amount: impl Fn(&A, Asset) -> Result<i128, String>,
    ) -> Result<PreparedBatch, Failure> {
        let rights = match rights {
            BatchRights::Caller(caller) => BatchRights::Caller(self.with_current_rights_here(&caller)?),
            operator => operator,
        };
        let known = self.wallets_of(items)?;
        let mut ids = new_ids(&*self.clock, &*self.rng);
        let mut stripes = Stripes::new();
        let mut batch =
            PreparedBatch { items: items.len(), commands: Vec::with_capacity(items.len()), refused: vec![] };
        for (index, (item, known)) in items.iter().zip(known).enumerate() {
            let prepared = self.may(rights, item, known).and_then(|(owner_id, asset)| {
                let amount_minor = read_amount(&item.amount, asset).map_err(|message| ItemRefusal {
                    code: "validation_error",
                    detail: format!("amount: {message}"),
                })?;
                let legs = self.legs(item, asset, amount_minor, &mut stripes);
                let actor_id = match rights {
                    BatchRights::Caller(caller) => caller.user_id,
                    BatchRights::Operator(id) => id,
                };
                Ok(Command {
                    transaction_id: TransactionId(ids.next_id()),
                    kind: kind_of(item.what),
                    asset,
                    legs,
                    actor_id,
                    reason: item.reason.as_deref().map(str::to_owned),
                    effective_at_us: None,
                    idempotency: None,
                    owners: vec![Precondition { account_id: item.wallet, owner_id }],
                })
            });
            match prepared {
                Ok(command) => batch.commands.push(command),
                Err(refusal) => batch.refused.push((index, refusal)),
            }
        }
        Ok(batch)
    }

    /// The owner and the asset of the item's wallet, if the item may be.
    fn may<A>(
        &self,
        rights: BatchRights,
        item: &BatchItem<'_, A>,
        known: Option<Ownership>,
    ) -> Result<Ownership, ItemRefusal> {
        let BatchRights::Caller(caller) = rights else { return known.ok_or_else(not_found) };
        if matches!(item.what, BatchMove::Adjust(_)) && !caller.is_staff {
            return Err(forbidden());
        }
        let (owner_id, asset) =
            known.filter(|(owner_id, _)| *owner_id == caller.user_id || caller.is_staff).ok_or_else(not_found)?;
        match item.what {
            BatchMove::Deposit | BatchMove::Withdraw if !self.settings.self_deposit && !caller.is_staff => {
                Err(forbidden())
            }
            BatchMove::Transfer { .. } if owner_id != caller.user_id => Err(not_found()),
            _ => Ok((owner_id, asset)),
        }
    }

    fn legs<A>(&self, item: &BatchItem<'_, A>, asset: Asset, amount_minor: i128, stripes: &mut Stripes) -> Vec<Leg> {
        let (side, system) = match item.what {
            BatchMove::Deposit => (Side::Credit, SystemAccount::BankSettlement),
            BatchMove::Withdraw => (Side::Debit, SystemAccount::BankSettlement),
            BatchMove::Adjust(side) => (side, SystemAccount::EquityAdjustment),
            BatchMove::Transfer { to } => {
                let leg = |account_id, side| Leg { account_id, side, amount_minor };
                return vec![leg(item.wallet, Side::Debit), leg(to, Side::Credit)];
            }
        };
        let stripe = match stripes.iter().find(|(of, _)| *of == (system, asset)) {
            Some((_, id)) => *id,
            None => {
                let id = system_account_id(system, asset.code(), self.settings.writer);
                stripes.push(((system, asset), id));
                id
            }
        };
        let other = if side == Side::Credit { Side::Debit } else { Side::Credit };
        vec![Leg { account_id: item.wallet, side, amount_minor }, Leg { account_id: stripe, side: other, amount_minor }]
    }

    /// What is known of each item's wallet before the ledger is asked; those not remembered are read together.
    fn wallets_of<A>(&self, items: &[BatchItem<'_, A>]) -> Result<Vec<Option<Ownership>>, Failure> {
        let ids: Vec<AccountId> = items.iter().map(|item| item.wallet).collect();
        let mut known = self.wallets.find_owners(&ids);
        let is_unknown = |(_, known): &(&AccountId, &Option<Ownership>)| known.is_none();
        let mut unknown: Vec<AccountId> = ids.iter().zip(&known).filter(is_unknown).map(|(id, _)| *id).collect();
        if unknown.is_empty() {
            return Ok(known);
        }
        AccountId::sort(&mut unknown);
        let rows = florin_store::read(&*self.engine, |tx| florin_store::wallet::list_owners(tx, &unknown))?;
        let read: AccountMap<Ownership> =
            rows.into_iter().map(|(id, owner_id, asset)| (id, (owner_id, asset))).collect();
        for (id, (owner_id, asset)) in &read {
            self.wallets.remember_owner(*id, *owner_id, *asset);
        }
        for (id, known) in ids.iter().zip(&mut known).filter(|(_, known)| known.is_none()) {
            *known = read.get(id).copied();
        }
        Ok(known)
    }
}

const fn kind_of(what: BatchMove) -> Kind {
    match what {
        BatchMove::Deposit => Kind::Deposit,
        BatchMove::Withdraw => Kind::Withdraw,
        BatchMove::Transfer { .. } => Kind::Transfer,
        BatchMove::Adjust(_) => Kind::Adjustment,
    }
}

fn not_found() -> ItemRefusal {
    ItemRefusal { code: "wallet_not_found", detail: "Wallet not found.".to_owned() }
}

fn forbidden() -> ItemRefusal {
    let detail = "You do not have permission to perform this action.".to_owned();
    ItemRefusal { code: "permission_denied", detail }
}
