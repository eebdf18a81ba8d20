//! Proves the books on a live database, from one snapshot: balances are the sums of their postings, every transaction
//! and the whole ledger sum to zero, and each writer's hash chain recomputes from genesis to head.

use std::collections::HashMap;

use florin_ledger::{AccountId, AccountMap, PostedLeg};
use uuid::Uuid;

use crate::{
    Engine, StoreError, Tx, Value,
    codes::{asset_from_row, side_from_code},
    read,
};
use chain::Chain;
use sums::{Sums, place_of};

macro_rules! diverge {
    ($($text:tt)*) => { return Err(Stop::Divergence(format!($($text)*))) };
}

mod chain;
mod sums;

/// Accounts read at once.
const ACCOUNTS_AT_ONCE: usize = 2_000;

/// What never changes in an account. Its figures are read when its postings are known.
const PAGE_ASSETS: &str = "SELECT bucket, id, asset, exponent, normal_side FROM accounts \
    WHERE (bucket, id) > ($1, $2) ORDER BY bucket, id LIMIT $3";

/// What was checked, and the first thing that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Transactions whose hash was recomputed.
    pub transactions: u64,
    /// Postings that were summed.
    pub postings: u64,
    /// Accounts whose figures were compared.
    pub accounts: u64,
    /// Batch headers that were recomputed.
    pub batches: u64,
    /// The first divergence, with its place.
    pub divergence: Option<String>,
}

/// Why a check ended early.
enum Stop {
    Divergence(String),
    Store(StoreError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        match error {
            // A row that does not have its table's form is a finding, not a failure of the check.
            StoreError::Inconsistent(text) => Self::Divergence(text),
            other => Self::Store(other),
        }
    }
}

/// Checks the whole ledger; `progress` gets the number of rows read so far. Takes about 100 bytes of memory for each
/// account.
///
/// # Errors
/// Those of the engine. A divergence is in the report, not an error.
pub fn verify(engine: &dyn Engine, progress: &mut dyn FnMut(u64)) -> Result<Report, StoreError> {
    let mut found = None;
    let checked = read(engine, |tx| {
        let mut check = Check { report: Report::default(), sums: AccountMap::default(), progress: &mut *progress };
        match check.run(tx) {
            Ok(()) => {}
            Err(Stop::Divergence(text)) => check.report.divergence = Some(text),
            Err(Stop::Store(error)) => return Err(error),
        }
        found = Some(check.report.clone());
        Ok(check.report)
    });
    // What cannot be read ends the snapshot with an error of its own; it is a finding all the same.
    checked.or_else(|error| found.filter(|report| report.divergence.is_some()).ok_or(error))
}

struct Check<'a> {
    report: Report,
    sums: AccountMap<Sums>,
    progress: &'a mut dyn FnMut(u64),
}

impl Check<'_> {
    fn run(&mut self, tx: &mut dyn Tx) -> Result<(), Stop> {
        self.enter_accounts(tx)?;
        let heads = tx.list_chain_heads()?;
        let mut chains = heads.iter().map(Chain::of).collect::<Result<Vec<_>, _>>()?;
        self.walk(tx, &mut chains)?;
        let stored = tx.count_postings()?;
        if stored != self.report.postings {
            diverge!("{stored} postings are stored, the chains hold {}", self.report.postings);
        }
        let stored = tx.query("SELECT COUNT(*) FROM batches", &[])?;
        let stored = stored.first().map_or(Ok(0), |row| row.get_int(0))?;
        if u64::try_from(stored).ok() != Some(self.report.batches) {
            diverge!("{stored} batches are stored, the chains hold {}", self.report.batches);
        }
        self.compare_accounts(tx)
    }

    fn enter_accounts(&mut self, tx: &mut dyn Tx) -> Result<(), Stop> {
        let limit = Value::Int(i64::try_from(ACCOUNTS_AT_ONCE).unwrap_or(i64::MAX));
        let mut last = (-1, Uuid::nil());
        loop {
            let rows = tx.query(PAGE_ASSETS, &[Value::Int(last.0), Value::Uuid(last.1), limit.clone()])?;
            for row in &rows {
                last = (row.get_int(0)?, row.get_uuid(1)?);
                let sums = Sums::new(asset_from_row(row, 2)?, side_from_code(row.get_int(4)?)?);
                self.sums.insert(AccountId(last.1), sums);
            }
            if rows.is_empty() {
                return Ok(());
            }
        }
    }

    /// Walks all chains side by side: an account's postings are where the writers that moved it wrote them, and only
    /// in the order of their versions do they follow from each other.
    fn walk(&mut self, tx: &mut dyn Tx, chains: &mut [Chain]) -> Result<(), Stop> {
        let mut goes_on = true;
        while goes_on {
            goes_on = false;
            for chain in &mut *chains {
                goes_on |= chain.add_postings(self)?;
                goes_on |= chain.read_on(tx, self)?;
            }
            (self.progress)(self.report.postings);
        }
        match chains.iter().find_map(Chain::first_waiting) {
            Some(posted) => Err(Stop::Divergence(self.gap_before(posted))),
            None => Ok(()),
        }
    }

    fn gap_before(&self, posted: &PostedLeg) -> String {
        let missing = self.sums.get(&posted.leg.account_id).map_or(1, |sums| sums.version + 1);
        format!("{}: posting {missing} is missing before it", place_of(posted))
    }

    /// Compares what is stored of each account with its postings, and the sum of all with zero.
    fn compare_accounts(&mut self, tx: &mut dyn Tx) -> Result<(), Stop> {
        let (mut last, mut totals) = (None, HashMap::new());
        loop {
            let accounts = tx.page_accounts(last, ACCOUNTS_AT_ONCE)?;
            for account in &accounts {
                last = Some(account.id);
                let Some(sums) = self.sums.get(&account.id) else { continue };
                let stored = (account.posted_debits_minor, account.posted_credits_minor, account.version);
                if stored != (sums.debits_minor, sums.credits_minor, sums.version) {
                    diverge!(
                        "account {}: stored debits {}, credits {}, version {}; its postings sum to {}, {}, {}",
                        account.id.0,
                        stored.0,
                        stored.1,
                        stored.2,
                        sums.debits_minor,
                        sums.credits_minor,
                        sums.version
                    );
                }
                let (asset, total) = totals.entry(account.asset.code()).or_insert((account.asset, 0_i128));
                if *asset != account.asset {
                    diverge!("account {}: asset {} has two exponents", account.id.0, account.asset.code().as_str());
                }
                *total += sums.credits_minor - sums.debits_minor;
                self.report.accounts += 1;
            }
            (self.progress)(self.report.postings + self.report.accounts);
            if accounts.is_empty() {
                break;
            }
        }
        for (code, (_, total)) in totals {
            if total != 0 {
                diverge!("asset {}: all balances sum to {total} minor units, not to zero", code.as_str());
            }
        }
        Ok(())
    }
}
