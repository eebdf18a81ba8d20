//! Reading wallets and their histories.

use florin_ledger::AccountId;
use florin_store::{
    Posting, PostingFilter, PostingPage,
    wallet::{self, WalletRow},
};
use uuid::Uuid;

use super::{HistoryFilter, Operation, Page, Wallet, WalletError, meta::wallet_from};
use crate::{App, Caller, Failure};

impl App {
    /// The caller's wallet (staff: anybody's). What never changes about it is remembered; its balance is read anew.
    ///
    /// # Errors
    /// [`WalletError::NotFound`], [`WalletError::Failure`].
    pub async fn get_wallet(&self, caller: &Caller, id: AccountId) -> Result<Wallet, WalletError> {
        if let Some(meta) = self.remembered(id) {
            let meta = self.shown_to(caller, meta).await?;
            let account = match self.engine.peek_account(id) {
                Some(account) => account,
                None => self.reads.find_account(id).await?.ok_or(WalletError::NotFound)?,
            };
            return Ok(wallet_from(&account, &meta.label));
        }
        let row = self.read_wallet(id).await?.ok_or(WalletError::NotFound)?;
        self.remember(&row);
        let caller = self.with_current_rights(caller).await?;
        visible(&caller, Some(&row)).map(|row| wallet_from(&row.account, &row.label))
    }

    /// A page of the caller's wallets, oldest first, after the id `after`.
    ///
    /// # Errors
    /// [`WalletError::Failure`].
    pub async fn list_wallets(
        &self,
        caller: &Caller,
        after: Option<Uuid>,
        limit: u16,
    ) -> Result<Page<Wallet>, WalletError> {
        self.list_wallets_of(caller.user_id, after, limit).await
    }

    async fn list_wallets_of(
        &self,
        owner_id: Uuid,
        after: Option<Uuid>,
        limit: u16,
    ) -> Result<Page<Wallet>, WalletError> {
        let (engine, after) = (self.engine.clone(), after.unwrap_or_default());
        let rows = self
            .blocking(move || {
                florin_store::read(&*engine, |tx| wallet::list_wallets_by_owner(tx, owner_id, after, limit + 1))
            })
            .await?
            .map_err(Failure::from)?;
        Ok(page_of(&rows, limit))
    }

    /// A page of everybody's wallets, or of one user's. Staff only. Labels are filled for one user's.
    ///
    /// # Errors
    /// [`WalletError::Forbidden`] for anybody else, [`WalletError::Failure`].
    pub async fn staff_list_wallets(
        &self,
        caller: &Caller,
        after: Option<Uuid>,
        limit: u16,
        owner_number: Option<i64>,
    ) -> Result<Page<Wallet>, WalletError> {
        if !self.with_current_rights(caller).await?.is_staff {
            return Err(WalletError::Forbidden);
        }
        if let Some(number) = owner_number {
            let owner = self.find_user_by_number(caller, number).await;
            return match owner {
                Ok(user) => self.list_wallets_of(user.id, after, limit).await,
                Err(crate::user::UserError::Failure(failure)) => Err(failure.into()),
                Err(_) => Ok(Page { items: Vec::new(), next: None }),
            };
        }
        let (engine, after) = (self.engine.clone(), after.map(AccountId));
        let rows = self
            .blocking(move || florin_store::read(&*engine, |tx| wallet::list_wallets(tx, after, limit + 1)))
            .await?
            .map_err(Failure::from)?;
        Ok(page_of(&rows, limit))
    }

    /// The caller's wallet (staff: anybody's) with a page of its history, newest first, from one snapshot.
    ///
    /// # Errors
    /// [`WalletError::NotFound`], [`WalletError::Failure`].
    pub async fn history(
        &self,
        caller: &Caller,
        id: AccountId,
        filter: HistoryFilter,
    ) -> Result<(Wallet, Page<Operation>), WalletError> {
        let engine = self.engine.clone();
        let wanted = posting_filter(&filter);
        let found = self
            .blocking(move || {
                florin_store::read(&*engine, |tx| {
                    let row = wallet::find_wallet(tx, id)?;
                    let page = if row.is_some() { tx.list_postings(id, &wanted)? } else { PostingPage::default() };
                    Ok((row, page))
                })
            })
            .await?
            .map_err(Failure::from)?;
        let (row, page) = found;
        let caller = self.with_current_rights(caller).await?;
        let row = visible(&caller, row.as_ref())?;
        Ok((wallet_from(&row.account, &row.label), page_of_postings(page, filter.limit)))
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// [`Failure::Unavailable`] when it does not.
    pub async fn is_ready(&self) -> Result<(), Failure> {
        let engine = self.engine.clone();
        self.blocking(move || florin_store::probe(&*engine)).await??;
        Ok(())
    }
}

/// 1 January of the year 1, and the end of 9999: what both engines and the wire can hold.
const TIME_MIN_US: i64 = -62_135_596_800_000_000;
const TIME_MAX_US: i64 = 253_402_300_799_999_999;
/// The largest amount that storage holds: 38 digits.
const MINOR_MAX: i128 = 10_i128.pow(38) - 1;

/// One line more than asked for tells whether there is a next page.
pub(super) fn posting_filter(filter: &HistoryFilter) -> PostingFilter {
    PostingFilter {
        before_version: filter.before_version.unwrap_or(i64::MAX),
        kind: filter.kind,
        from_us: filter.from_us.unwrap_or(TIME_MIN_US),
        to_us: filter.to_us.unwrap_or(TIME_MAX_US),
        min_minor: filter.min_minor.unwrap_or(0),
        max_minor: filter.max_minor.unwrap_or(MINOR_MAX),
        limit: usize::from(filter.limit) + 1,
    }
}

pub(super) fn page_of_postings(page: PostingPage, limit: u16) -> Page<Operation> {
    let mut items = page.postings.into_iter().map(operation_from).collect();
    let next = next_of(&mut items, limit, |operation: &Operation| operation.version.to_string());
    // Nothing more was found within what one page may look at: the next page goes on from there.
    let next = next.or_else(|| page.next_before_version.map(|version| version.to_string()));
    Page { items, next }
}

pub(super) fn visible<'a>(caller: &Caller, row: Option<&'a WalletRow>) -> Result<&'a WalletRow, WalletError> {
    row.filter(|row| caller.is_staff || row.account.owner_id == Some(caller.user_id)).ok_or(WalletError::NotFound)
}

fn page_of(rows: &[WalletRow], limit: u16) -> Page<Wallet> {
    let mut items: Vec<Wallet> = rows.iter().map(|row| wallet_from(&row.account, &row.label)).collect();
    let next = next_of(&mut items, limit, |wallet| wallet.id.0.to_string());
    Page { items, next }
}

/// One line more than the page holds was asked for: it tells whether there is a next page.
fn next_of<T>(items: &mut Vec<T>, limit: u16, place: impl Fn(&T) -> String) -> Option<String> {
    if items.len() <= usize::from(limit) {
        return None;
    }
    items.truncate(usize::from(limit));
    items.last().map(place)
}

fn operation_from(posting: Posting) -> Operation {
    Operation {
        transaction_id: posting.transaction_id,
        kind: posting.kind,
        side: posting.side,
        amount_minor: posting.amount_minor,
        balance: posting.balance,
        version: posting.version,
        counterpart_id: posting.counterpart_id,
        reason: posting.reason,
        recorded_at_us: posting.recorded_at_us,
    }
}
