//! Proves the books on a live database, from one snapshot: balances are the sums of their postings, every transaction
//! and the whole ledger sum to zero, and each writer's hash chain recomputes from genesis to head.

use std::collections::HashMap;

use florin_ledger::{AccountId, GENESIS_HASH, Hash, Side, merkle_root};
use florin_money::Asset;

use crate::{Engine, Posting, StoreError, StoredBatch, StoredTransaction, Tx, read};

/// Accounts read at once.
const ACCOUNTS_AT_ONCE: usize = 2_000;
/// Batches read at once: bounds memory, whatever the size of the ledger.
const BATCHES_AT_ONCE: usize = 50;

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

macro_rules! diverge {
    ($($text:tt)*) => { return Err(Stop::Divergence(format!($($text)*))) };
}

/// Checks the whole ledger; `progress` gets the number of rows read so far. Takes about 100 bytes of memory for each
/// account.
///
/// # Errors
/// Those of the engine. A divergence is in the report, not an error.
pub fn verify(engine: &dyn Engine, progress: &mut dyn FnMut(u64)) -> Result<Report, StoreError> {
    let mut found = None;
    let checked = read(engine, |tx| {
        let mut check = Check { report: Report::default(), sums: HashMap::new(), progress: &mut *progress };
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
    sums: HashMap<AccountId, Sums>,
    progress: &'a mut dyn FnMut(u64),
}

impl Check<'_> {
    fn run(&mut self, tx: &mut dyn Tx) -> Result<(), Stop> {
        self.enter_accounts(tx)?;
        self.add_postings(tx)?;
        self.compare_accounts(tx)?;
        let heads = tx.query("SELECT writer, number, hash FROM chain_heads ORDER BY writer", &[])?;
        let mut chained = 0;
        for head in &heads {
            let writer = u16::try_from(head.get_int(0)?)
                .map_err(|_| Stop::Divergence("chain_heads.writer is out of range".to_owned()))?;
            chained += self.chain(tx, writer, head.get_int(1)?, head.get_array(2)?)?;
        }
        if chained != self.report.postings {
            diverge!("the chains hold {chained} postings, the accounts {}", self.report.postings);
        }
        let stored = tx.query("SELECT COUNT(*) FROM batches", &[])?;
        let stored = stored.first().map_or(Ok(0), |row| row.get_int(0))?;
        if u64::try_from(stored).ok() != Some(self.report.batches) {
            diverge!("{stored} batches are stored, the chains hold {}", self.report.batches);
        }
        Ok(())
    }

    fn enter_accounts(&mut self, tx: &mut dyn Tx) -> Result<(), Stop> {
        let mut last = None;
        loop {
            let accounts = tx.page_accounts(last, ACCOUNTS_AT_ONCE)?;
            for account in &accounts {
                self.sums.insert(account.id, Sums::new(account.asset, account.normal_side));
                last = Some(account.id);
            }
            if accounts.is_empty() {
                return Ok(());
            }
        }
    }

    fn add_postings(&mut self, tx: &mut dyn Tx) -> Result<(), Stop> {
        let mut stop = None;
        let Self { report, sums, progress } = self;
        tx.visit_postings(&mut |posting| {
            report.postings += 1;
            if report.postings.is_multiple_of(10_000) {
                progress(report.postings);
            }
            let added = match sums.get_mut(&posting.account_id) {
                Some(sums) => sums.add(posting),
                None => {
                    Err(format!("posting {} of account {}: no such account", posting.version, posting.account_id.0))
                }
            };
            stop = added.err();
            stop.is_none()
        })?;
        stop.map_or(Ok(()), |text| Err(Stop::Divergence(text)))
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

    /// Recomputes one writer's chain; gives the number of its postings.
    fn chain(&mut self, tx: &mut dyn Tx, writer: u16, head_number: i64, head_hash: Hash) -> Result<u64, Stop> {
        let (mut previous, mut number, mut postings) = (GENESIS_HASH, 0_i64, 0);
        while number < head_number {
            let batches = tx.list_batches(writer, number, BATCHES_AT_ONCE)?;
            for batch in &batches {
                number += 1;
                previous = self.header(batch, number, previous)?;
                postings += self.transactions(batch)?;
            }
            if batches.is_empty() {
                diverge!("chain {writer}: batch {} is missing, the head is {head_number}", number + 1);
            }
            (self.progress)(self.report.postings + self.report.accounts + self.report.transactions);
        }
        if number != head_number || previous != head_hash {
            diverge!("chain {writer}: the head says batch {head_number}, the chain ends at {number}, or hashes differ");
        }
        Ok(postings)
    }

    fn header(&mut self, batch: &StoredBatch, number: i64, previous: Hash) -> Result<Hash, Stop> {
        let header = &batch.header;
        let place = format!("chain {}, batch {number}", header.writer);
        if header.number != number {
            diverge!("{place}: missing, {} follows", header.number);
        }
        if header.previous_hash != previous {
            diverge!("{place}: does not follow from the batch before it");
        }
        if header.transactions as usize != batch.transactions.len() {
            diverge!("{place}: holds {} transactions, {} are stored", header.transactions, batch.transactions.len());
        }
        let hash = header.hash();
        if hash != batch.hash {
            diverge!("{place}: its hash does not recompute");
        }
        let hashes: Vec<Hash> = batch.transactions.iter().map(StoredTransaction::hash).collect();
        if header.merkle_root != merkle_root(&hashes) {
            diverge!("{place}: its Merkle root does not recompute from the stored transactions");
        }
        self.report.batches += 1;
        Ok(hash)
    }

    /// Each transaction sums to zero, in the asset of its accounts; gives the number of postings.
    fn transactions(&mut self, batch: &StoredBatch) -> Result<u64, Stop> {
        let mut postings = 0;
        for transaction in &batch.transactions {
            let place = || {
                let (writer, number) = (batch.header.writer, batch.header.number);
                format!("transaction {} (chain {writer}, batch {number})", transaction.transaction_id.0)
            };
            let mut sum = 0_i128;
            for posted in &transaction.legs {
                let Some(sums) = self.sums.get(&posted.leg.account_id) else {
                    diverge!("{}: account {} is missing", place(), posted.leg.account_id.0);
                };
                if sums.asset != transaction.asset {
                    diverge!("{}: account {} counts another asset", place(), posted.leg.account_id.0);
                }
                sum += signed(posted.leg.side, posted.leg.amount_minor);
                postings += 1;
            }
            if sum != 0 {
                diverge!("{}: its postings sum to {sum} minor units, not to zero", place());
            }
            self.report.transactions += 1;
        }
        Ok(postings)
    }
}

const fn signed(side: Side, amount_minor: i128) -> i128 {
    match side {
        Side::Debit => -amount_minor,
        Side::Credit => amount_minor,
    }
}

/// What an account's postings come to so far.
struct Sums {
    asset: Asset,
    normal_side: Side,
    debits_minor: i128,
    credits_minor: i128,
    version: i64,
}

impl Sums {
    const fn new(asset: Asset, normal_side: Side) -> Self {
        Self { asset, normal_side, debits_minor: 0, credits_minor: 0, version: 0 }
    }

    fn add(&mut self, posting: &Posting) -> Result<(), String> {
        let place = || format!("posting {} of account {}", posting.version, posting.account_id.0);
        self.version += 1;
        if posting.version != self.version {
            return Err(format!("{}: posting {} is missing before it", place(), self.version));
        }
        match posting.side {
            Side::Debit => self.debits_minor += posting.amount_minor,
            Side::Credit => self.credits_minor += posting.amount_minor,
        }
        let after_minor = match self.normal_side {
            Side::Debit => self.debits_minor - self.credits_minor,
            Side::Credit => self.credits_minor - self.debits_minor,
        };
        if posting.balance.posted_minor == after_minor {
            return Ok(());
        }
        let said = posting.balance.posted_minor;
        Err(format!("{}: says {said} minor units after it, the sum is {after_minor}", place()))
    }
}
