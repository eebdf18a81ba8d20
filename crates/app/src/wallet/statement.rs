//! What a wallet held when a period began and ended, and what happened in between.

use florin_ledger::AccountId;
use florin_store::{PostingFilter, StoreError, Tx, wallet};

use super::{
    HistoryFilter, Operation, Page, Wallet, WalletError,
    meta::wallet_from,
    read::{page_of_postings, posting_filter, visible},
};
use crate::{App, Caller, Failure};

/// The ends of a period in a wallet's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statement {
    /// Settled before the period's first operation, minor units.
    pub opening_minor: i128,
    /// Settled after its last, minor units.
    pub closing_minor: i128,
    /// How many operations there were.
    pub operations: i64,
}

impl App {
    /// The statement of the caller's wallet (staff: anybody's) over the filter's times, with a page of its operations,
    /// newest first: all from one snapshot. The wallet's whole history costs no more than its end.
    ///
    /// # Errors
    /// [`WalletError::NotFound`], [`WalletError::Failure`].
    pub async fn statement(
        &self,
        caller: &Caller,
        id: AccountId,
        filter: HistoryFilter,
    ) -> Result<(Wallet, Statement, Page<Operation>), WalletError> {
        let engine = self.engine.clone();
        let wanted = posting_filter(&filter);
        let found = self
            .blocking(move || {
                florin_store::read(&*engine, |tx| {
                    let Some(row) = wallet::find_wallet(tx, id)? else { return Ok(None) };
                    Ok(Some((row, statement_in_tx(tx, id, &wanted)?, tx.list_postings(id, &wanted)?)))
                })
            })
            .await?
            .map_err(Failure::from)?;
        let caller = self.with_current_rights(caller).await?;
        let row = visible(&caller, found.as_ref().map(|(row, ..)| row))?;
        let wallet = wallet_from(&row.account, &row.label);
        let (_, statement, page) = found.ok_or(WalletError::NotFound)?;
        Ok((wallet, statement, page_of_postings(page, filter.limit)))
    }
}

fn statement_in_tx(tx: &mut dyn Tx, id: AccountId, period: &PostingFilter) -> Result<Statement, StoreError> {
    // The last posting before a time tells the balance at that time, and how many there were until then.
    let mut state_at = |at_us| {
        let page = tx.list_postings(id, &PostingFilter { to_us: at_us, ..PostingFilter::newest(1) })?;
        Ok(page.postings.first().map_or((0, 0), |posting| (posting.balance.posted_minor, posting.version)))
    };
    let (opening_minor, before) = state_at(period.from_us)?;
    let (closing_minor, until) = state_at(period.to_us.max(period.from_us))?;
    Ok(Statement { opening_minor, closing_minor, operations: until - before })
}
