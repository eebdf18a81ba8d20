//! Proves the books on a live database, from one snapshot: balances are the sums of their postings, every transaction
//! and the whole ledger sum to zero, and each writer's hash chain recomputes from genesis to head.

use std::collections::{BTreeMap, HashMap};

use florin_ledger::{
    Account, AccountId, Balance, BatchHeader, GENESIS_HASH, Hash, Leg, PostedLeg, Side, TransactionId,
    TransactionRecord, merkle_root, transaction_hash,
};
use florin_money::Asset;
use uuid::Uuid;

use crate::{
    Engine, Row, StoreError, Tx, Value,
    codes::{account_from_row, kind_from_code, side_from_code},
    legs_from_bytes, read,
};

/// Rows read at once: bounds memory, whatever the size of the ledger.
const PAGE: i64 = 2000;

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

/// Checks the whole ledger; `progress` gets the number of rows read so far.
///
/// # Errors
/// Those of the engine. A divergence is in the report, not an error.
pub fn verify(engine: &dyn Engine, progress: &mut dyn FnMut(u64)) -> Result<Report, StoreError> {
    read(engine, |tx| {
        let mut check = Check { tx, report: Report::default(), assets: BTreeMap::new(), progress: &mut *progress };
        match check.run() {
            Ok(()) => {}
            Err(Stop::Divergence(text)) => check.report.divergence = Some(text),
            Err(Stop::Store(error)) => return Err(error),
        }
        Ok(check.report)
    })
}

struct Check<'a> {
    tx: &'a mut dyn Tx,
    report: Report,
    /// Per asset: its exponent, and the sum of all balances (credits less debits).
    assets: BTreeMap<String, (Asset, i128)>,
    progress: &'a mut dyn FnMut(u64),
}

impl Check<'_> {
    fn run(&mut self) -> Result<(), Stop> {
        self.balances()?;
        for (code, (_, sum)) in &self.assets {
            if *sum != 0 {
                diverge!("asset {code}: all balances sum to {sum} minor units, not to zero");
            }
        }
        let heads = self.tx.query("SELECT writer, number, hash FROM chain_heads ORDER BY writer", &[])?;
        let mut chained = 0;
        for head in &heads {
            if head.get_int(1)? > 0 {
                chained += self.chain(head.get_int(0)?, head.get_int(1)?, head.get_array(2)?)?;
            }
        }
        if chained != self.report.postings {
            diverge!("the chains hold {chained} postings, the accounts {}", self.report.postings);
        }
        let stray = self.tx.query("SELECT COUNT(*) FROM transactions", &[])?;
        let stored = stray.first().map_or(Ok(0), |row| row.get_int(0))?;
        if u64::try_from(stored).ok() != Some(self.report.transactions) {
            diverge!("{stored} transactions are stored, the chains hold {}", self.report.transactions);
        }
        Ok(())
    }

    /// Walks accounts and postings side by side, both in the order of (bucket, account).
    fn balances(&mut self) -> Result<(), Stop> {
        let mut postings = PostingPages { page: Vec::new().into_iter(), last: (-1, Uuid::nil(), 0), done: false };
        let mut next = postings.next(self.tx)?;
        let mut last = (-1, Uuid::nil());
        loop {
            let rows = self.tx.query(
                "SELECT id, kind, owner_id, asset, exponent, normal_side, floor, ceiling, posted_debits, \
                 posted_credits, pending_debits, pending_credits, version, created_at, updated_at, closed_at, bucket \
                 FROM accounts WHERE (bucket, id) > ($1, $2) ORDER BY bucket, id LIMIT $3",
                &[Value::Int(last.0), Value::Uuid(last.1), Value::Int(PAGE)],
            )?;
            for row in &rows {
                let account = account_from_row(row)?;
                last = (row.get_int(16)?, account.id.0);
                if last.0 != i64::from(account.id.bucket()) {
                    diverge!("account {}: stored in bucket {}, belongs to {}", last.1, last.0, account.id.bucket());
                }
                let mut sums = Sums::default();
                while let Some(posting) = next.take() {
                    if (posting.bucket, posting.account_id) != last {
                        next = Some(posting);
                        break;
                    }
                    sums.add(&account, &posting)?;
                    self.report.postings += 1;
                    next = postings.next(self.tx)?;
                }
                sums.compare(&account)?;
                self.add_to_asset(&account)?;
                self.report.accounts += 1;
            }
            (self.progress)(self.report.accounts + self.report.postings);
            if rows.is_empty() {
                break;
            }
        }
        match next {
            None => Ok(()),
            Some(posting) => {
                diverge!("posting {} of account {}: no such account", posting.version, posting.account_id)
            }
        }
    }

    fn add_to_asset(&mut self, account: &Account) -> Result<(), Stop> {
        let code = account.asset.code().as_str().to_owned();
        let (asset, sum) = self.assets.entry(code).or_insert((account.asset, 0));
        if *asset != account.asset {
            diverge!("account {}: asset {} has two exponents", account.id.0, account.asset.code().as_str());
        }
        *sum += account.posted_credits_minor - account.posted_debits_minor;
        Ok(())
    }

    /// Recomputes one writer's chain; gives the number of its postings.
    fn chain(&mut self, writer: i64, head_number: i64, head_hash: Hash) -> Result<u64, Stop> {
        let (mut previous, mut number, mut postings) = (GENESIS_HASH, 0_i64, 0);
        while number < head_number {
            let headers = self.tx.query(
                "SELECT number, previous_hash, merkle_root, transactions, recorded_at, hash FROM batches \
                 WHERE writer = $1 AND number > $2 ORDER BY number LIMIT 50",
                &[Value::Int(writer), Value::Int(number)],
            )?;
            let last = headers.last().map_or(Ok(0), |row| row.get_int(0))?;
            let rows = self.tx.query(
                "SELECT batch_number, position, id, kind, asset, actor_id, reason, idempotency_key, effective_at, \
                 recorded_at, legs, hash, bucket FROM transactions \
                 WHERE writer = $1 AND batch_number > $2 AND batch_number <= $3 ORDER BY batch_number, position",
                &[Value::Int(writer), Value::Int(number), Value::Int(last)],
            )?;
            let (hashes, legs) = self.transactions(writer, &rows)?;
            postings += legs;
            for row in &headers {
                number += 1;
                previous =
                    self.header(writer, number, previous, row, hashes.get(&number).map_or(&[], Vec::as_slice))?;
            }
            if headers.is_empty() {
                diverge!("chain {writer}: batch {} is missing, the head is {head_number}", number + 1);
            }
            (self.progress)(self.report.accounts + self.report.postings + self.report.transactions);
        }
        if number != head_number || previous != head_hash {
            diverge!("chain {writer}: the head says batch {head_number}, the chain ends at {number}, or hashes differ");
        }
        Ok(postings)
    }

    fn header(&mut self, writer: i64, number: i64, previous: Hash, row: &Row, hashes: &[Hash]) -> Result<Hash, Stop> {
        let place = format!("chain {writer}, batch {number}");
        if row.get_int(0)? != number {
            diverge!("{place}: missing, {} follows", row.get_int(0)?);
        }
        let header = BatchHeader {
            writer: u16::try_from(writer).unwrap_or(u16::MAX),
            number,
            previous_hash: row.get_array(1)?,
            merkle_root: row.get_array(2)?,
            transactions: u32::try_from(row.get_int(3)?).unwrap_or(u32::MAX),
            recorded_at_us: row.get_time(4)?,
        };
        if header.previous_hash != previous {
            diverge!("{place}: does not follow from the batch before it");
        }
        if header.transactions as usize != hashes.len() {
            diverge!("{place}: holds {} transactions, {} are stored", header.transactions, hashes.len());
        }
        if header.merkle_root != merkle_root(hashes) {
            diverge!("{place}: its Merkle root is not that of its transactions");
        }
        let hash = header.hash();
        if hash != row.get_array::<32>(5)? {
            diverge!("{place}: its hash does not recompute");
        }
        self.report.batches += 1;
        Ok(hash)
    }

    /// Recomputes the hashes of these transactions, by batch; gives also the number of their postings.
    fn transactions(&mut self, writer: i64, rows: &[Row]) -> Result<(HashMap<i64, Vec<Hash>>, u64), Stop> {
        let mut places = Vec::new();
        for row in rows {
            let Some(legs) = legs_from_bytes(&row.get_bytes(10)?) else {
                diverge!("transaction {}: its list of postings is damaged", row.get_uuid(2)?);
            };
            places.push(legs);
        }
        let wanted: Vec<(AccountId, i64)> = places.iter().flatten().copied().collect();
        let mut found = HashMap::with_capacity(wanted.len());
        for row in self.tx.find_postings(&wanted)? {
            found.insert((AccountId(row.get_uuid(0)?), row.get_int(1)?), row);
        }
        let mut hashes: HashMap<i64, Vec<Hash>> = HashMap::new();
        for (row, places) in rows.iter().zip(&places) {
            let (number, id) = (row.get_int(0)?, row.get_uuid(2)?);
            let place = format!("transaction {id} (chain {writer}, batch {number}, position {})", row.get_int(1)?);
            let legs = legs_of(&place, row, id, places, &found)?;
            let hash = self.transaction(&place, row, &legs)?;
            hashes.entry(number).or_default().push(hash);
            self.report.transactions += 1;
        }
        Ok((hashes, wanted.len() as u64))
    }

    fn transaction(&self, place: &str, row: &Row, legs: &[PostedLeg]) -> Result<Hash, Stop> {
        let sum: i128 = legs
            .iter()
            .map(|posted| match posted.leg.side {
                Side::Debit => -posted.leg.amount_minor,
                Side::Credit => posted.leg.amount_minor,
            })
            .sum();
        if sum != 0 {
            diverge!("{place}: its postings sum to {sum} minor units, not to zero");
        }
        let code = row.get_text(4)?;
        let Some((asset, _)) = self.assets.get(&code) else {
            diverge!("{place}: no account holds its asset {code}");
        };
        let (reason, key) = (row.find_text(6)?, row.find_text(7)?);
        let hash = transaction_hash(&TransactionRecord {
            transaction_id: TransactionId(row.get_uuid(2)?),
            kind: kind_from_code(row.get_int(3)?)?,
            asset: *asset,
            actor_id: row.get_uuid(5)?,
            reason: reason.as_deref(),
            idempotency_key: key.as_deref(),
            effective_at_us: row.get_time(8)?,
            recorded_at_us: row.get_time(9)?,
            legs,
        });
        if hash != row.get_array::<32>(11)? {
            diverge!("{place}: its hash does not recompute from the stored rows");
        }
        Ok(hash)
    }
}

fn legs_of(
    place: &str,
    transaction: &Row,
    id: Uuid,
    places: &[(AccountId, i64)],
    found: &HashMap<(AccountId, i64), Row>,
) -> Result<Vec<PostedLeg>, Stop> {
    let mut legs = Vec::with_capacity(places.len());
    for (account_id, version) in places {
        let Some(row) = found.get(&(*account_id, *version)) else {
            diverge!("{place}: posting {version} of account {} is missing", account_id.0);
        };
        let same = row.get_uuid(2)? == id
            && row.get_int(4)? == transaction.get_int(3)?
            && row.get_time(11)? == transaction.get_time(9)?
            && row.find_text(10)? == transaction.find_text(6)?;
        if !same {
            diverge!("{place}: posting {version} of account {} does not agree with it", account_id.0);
        }
        let (posted_minor, pending_minor) = (row.get_minor(7)?, row.get_minor(8)?);
        legs.push(PostedLeg {
            leg: Leg {
                account_id: *account_id,
                side: side_from_code(row.get_int(5)?)?,
                amount_minor: row.get_minor(6)?,
            },
            version: *version,
            balance: Balance { posted_minor, pending_minor, available_minor: posted_minor - pending_minor },
        });
    }
    Ok(legs)
}

#[derive(Default)]
struct Sums {
    debits: i128,
    credits: i128,
    version: i64,
}

impl Sums {
    fn add(&mut self, account: &Account, posting: &Posting) -> Result<(), Stop> {
        let place = format!("posting {} of account {}", posting.version, account.id.0);
        self.version += 1;
        if posting.version != self.version {
            diverge!("{place}: posting {} is missing before it", self.version);
        }
        match posting.side {
            Side::Debit => self.debits += posting.amount_minor,
            Side::Credit => self.credits += posting.amount_minor,
        }
        let after = match account.normal_side {
            Side::Debit => self.debits - self.credits,
            Side::Credit => self.credits - self.debits,
        };
        if posting.posted_after_minor != after {
            diverge!("{place}: says {} minor units after it, the sum is {after}", posting.posted_after_minor);
        }
        Ok(())
    }

    fn compare(&self, account: &Account) -> Result<(), Stop> {
        let stored = (account.posted_debits_minor, account.posted_credits_minor, account.version);
        if stored != (self.debits, self.credits, self.version) {
            diverge!(
                "account {}: stored debits {}, credits {}, version {}; its postings sum to {}, {}, {}",
                account.id.0,
                stored.0,
                stored.1,
                stored.2,
                self.debits,
                self.credits,
                self.version
            );
        }
        Ok(())
    }
}

struct Posting {
    bucket: i64,
    account_id: Uuid,
    version: i64,
    side: Side,
    amount_minor: i128,
    posted_after_minor: i128,
}

/// All postings in the order of their key, a page at a time.
struct PostingPages {
    page: std::vec::IntoIter<Row>,
    last: (i64, Uuid, i64),
    done: bool,
}

impl PostingPages {
    fn next(&mut self, tx: &mut dyn Tx) -> Result<Option<Posting>, Stop> {
        let row = match self.page.next() {
            Some(row) => row,
            None if self.done => return Ok(None),
            None => {
                let rows = tx.query(
                    "SELECT bucket, account_id, version, side, amount, posted_after FROM postings \
                     WHERE (bucket, account_id, version) > ($1, $2, $3) \
                     ORDER BY bucket, account_id, version LIMIT $4",
                    &[Value::Int(self.last.0), Value::Uuid(self.last.1), Value::Int(self.last.2), Value::Int(PAGE)],
                )?;
                self.page = rows.into_iter();
                let Some(row) = self.page.next() else {
                    self.done = true;
                    return Ok(None);
                };
                row
            }
        };
        self.last = (row.get_int(0)?, row.get_uuid(1)?, row.get_int(2)?);
        Ok(Some(Posting {
            bucket: self.last.0,
            account_id: self.last.1,
            version: self.last.2,
            side: side_from_code(row.get_int(3)?)?,
            amount_minor: row.get_minor(4)?,
            posted_after_minor: row.get_minor(5)?,
        }))
    }
}
