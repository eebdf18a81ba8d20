//! Compares what is stored with what the clients were told.

use std::collections::{HashMap, HashSet};

use florin_ledger::{Outcome, PostedLeg, Rejection, Side, TransactionId};
use florin_store::{Engine, PostingFilter, StoreError, verify::verify, wallet::find_wallet};

use super::{
    book::{Book, Standing},
    bulks::is_entered,
};

/// One line of a wallet's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Line {
    version: i64,
    transaction_id: TransactionId,
    kind: florin_ledger::Kind,
    side: Side,
    amount_minor: i128,
    posted_after_minor: i128,
}

/// Why a check ended.
#[derive(Debug)]
pub enum Finding {
    /// The database could not be asked just now.
    Unavailable,
    /// Something promised is not so.
    Broken(String),
}

impl From<StoreError> for Finding {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => Self::Unavailable,
            other => Self::Broken(other.to_string()),
        }
    }
}

fn broken<T>(text: String) -> Result<T, Finding> {
    Err(Finding::Broken(text))
}

/// A wallet's whole history, oldest first, from one snapshot with its balance: versions without a gap, each balance
/// following from the one before, never below zero, and all that somebody was told of is there.
fn history(engine: &dyn Engine, book: &Book, wallet: usize) -> Result<Vec<Line>, Finding> {
    let known = &book.wallets[wallet];
    let all = PostingFilter::newest(100_000);
    let (row, page) =
        florin_store::read(engine, |tx| Ok((find_wallet(tx, known.id)?, tx.list_postings(known.id, &all)?)))?;
    let rows = page.postings;
    let Some(row) = row else {
        return if known.is_open || !rows.is_empty() { broken(format!("wallet {wallet} is gone")) } else { Ok(vec![]) };
    };
    let mut lines = Vec::with_capacity(rows.len());
    let mut posted_minor = 0;
    for (place, row) in rows.iter().rev().enumerate() {
        let line = Line {
            version: row.version,
            transaction_id: row.transaction_id,
            kind: row.kind,
            side: row.side,
            amount_minor: row.amount_minor,
            posted_after_minor: row.balance.posted_minor,
        };
        posted_minor += if line.side == Side::Credit { line.amount_minor } else { -line.amount_minor };
        let follows = line.version == i64::try_from(place + 1).unwrap_or_default();
        if !follows || line.posted_after_minor != posted_minor || posted_minor < 0 {
            return broken(format!("wallet {wallet}: line {place} does not follow, {posted_minor} expected: {line:?}"));
        }
        lines.push(line);
    }
    let (version, balance) = (row.account.version, row.account.balance());
    if version != i64::try_from(lines.len()).unwrap_or_default() || balance.posted_minor != posted_minor {
        return broken(format!("wallet {wallet}: {version} lines and {balance:?}, its history ends at {posted_minor}"));
    }
    if version < known.version {
        return broken(format!("wallet {wallet}: version {} was acknowledged, {version} is there", known.version));
    }
    Ok(lines)
}

/// What one wallet must be at any time.
///
/// # Errors
/// See [`Finding`].
pub fn check_wallet(engine: &dyn Engine, book: &mut Book, wallet: usize) -> Result<(), Finding> {
    let version = history(engine, book, wallet)?.last().map_or(0, |line| line.version);
    // What a reader saw stays.
    book.wallets[wallet].version = book.wallets[wallet].version.max(version);
    Ok(())
}

/// The books prove clean.
///
/// # Errors
/// See [`Finding`].
pub fn check_books(engine: &dyn Engine) -> Result<(), Finding> {
    match verify(engine, &mut |_| {})?.divergence {
        None => Ok(()),
        Some(divergence) => broken(format!("verify: {divergence}")),
    }
}

/// Everything: once all is quiet.
///
/// # Errors
/// See [`Finding`].
pub fn check_all(engine: &dyn Engine, book: &Book) -> Result<(), Finding> {
    check_books(engine)?;
    let histories =
        (0..book.wallets.len()).map(|wallet| history(engine, book, wallet)).collect::<Result<Vec<_>, _>>()?;
    let makers = check_lines(book, &histories)?;
    check_entries(engine, book, &makers)?;
    for (intent, wanted) in book.intents.iter().enumerate() {
        let made: Vec<TransactionId> = makers.get(&intent).into_iter().flatten().copied().collect();
        let place = format!("intent {intent} ({wanted:?})");
        match (&wanted.answer, &made[..]) {
            (Some(Outcome::Applied(applied)), [only]) if *only == applied.transaction_id => {
                for posted in &applied.legs {
                    check_leg(book, &histories, *only, posted).or_else(|text| broken(format!("{place}: {text}")))?;
                }
            }
            // What was there inside a whole that was refused, nobody else ever sees.
            (Some(Outcome::Rejected(_)), []) if wanted.bulk.is_some_and(|bulk| book.bulks[bulk].atomic) => {}
            (Some(Outcome::Rejected(rejection)), []) => check_refusal(book, &histories, rejection, &place)?,
            (None, []) => {}
            // Without a key, and its answer was lost: once, or not at all.
            (None, [_]) if wanted.key.is_none() => {}
            (answer, made) => return broken(format!("{place}: answered {answer:?}, made {made:?}")),
        }
        if wanted.answer.is_none() && wanted.key.is_some() && !is_taken(book, intent) {
            return broken(format!("{place}: its key was never answered"));
        }
    }
    Ok(())
}

/// What was to be written beside a bulk is there: every bulk was decided.
fn check_entries(
    engine: &dyn Engine,
    book: &Book,
    makers: &HashMap<usize, HashSet<TransactionId>>,
) -> Result<(), Finding> {
    let made = makers.iter().map(|(intent, ids)| (*intent, ids.iter().copied().collect())).collect();
    book.check_bulks(&made).map_err(Finding::Broken)?;
    for (bulk, wanted) in book.bulks.iter().enumerate() {
        if !florin_store::read(engine, |tx| is_entered(tx, wanted))? {
            return broken(format!("bulk {bulk}: the row {:?} beside it is missing", wanted.name));
        }
    }
    Ok(())
}

/// Every line was asked for, by a request that may have had an effect. Gives the transactions of each intent.
fn check_lines(book: &Book, histories: &[Vec<Line>]) -> Result<HashMap<usize, HashSet<TransactionId>>, Finding> {
    let mut makers: HashMap<usize, HashSet<TransactionId>> = HashMap::new();
    let mut lines_of: HashMap<TransactionId, Vec<(usize, Side)>> = HashMap::new();
    for (wallet, lines) in histories.iter().enumerate() {
        for line in lines {
            let maker = book.by_transaction.get(&line.transaction_id).map(|maker| &book.attempts[*maker]);
            let Some(maker) = maker.filter(|maker| maker.standing != Standing::Refused) else {
                return broken(format!("wallet {wallet}: nobody was let through to ask for {line:?}"));
            };
            let wanted = &book.intents[maker.intent];
            if (line.kind, line.amount_minor) != (wanted.kind, wanted.amount_minor) {
                return broken(format!("wallet {wallet}: {line:?} is not what was asked for: {wanted:?}"));
            }
            makers.entry(maker.intent).or_default().insert(line.transaction_id);
            lines_of.entry(line.transaction_id).or_default().push((wallet, line.side));
        }
    }
    for (intent, transactions) in &makers {
        let mut sides = book.intents[*intent].sides();
        sides.sort_by_key(|(wallet, _)| *wallet);
        for transaction in transactions {
            let found = lines_of.get(transaction);
            if found != Some(&sides) {
                let text = format!("{transaction:?} is not on all its wallets, once each, but on {found:?}");
                return broken(format!("intent {intent}, {}: {text}", book.intents[*intent].short()));
            }
        }
    }
    Ok(makers)
}

/// What was answered about a wallet is in its history.
fn check_leg(book: &Book, histories: &[Vec<Line>], id: TransactionId, posted: &PostedLeg) -> Result<(), String> {
    let Some(wallet) = book.wallets.iter().position(|wallet| wallet.id == posted.leg.account_id) else {
        return Ok(());
    };
    let line = histories[wallet].iter().find(|line| line.version == posted.version);
    let same = line.is_some_and(|line| {
        (line.transaction_id, line.side, line.posted_after_minor) == (id, posted.leg.side, posted.balance.posted_minor)
    });
    if same { Ok(()) } else { Err(format!("answered {posted:?}, stored {line:?}")) }
}

/// A refusal for lack of money names a balance that the wallet once had.
fn check_refusal(book: &Book, histories: &[Vec<Line>], rejection: &Rejection, place: &str) -> Result<(), Finding> {
    let Rejection::InsufficientFunds { account_id, posted_minor, .. } = rejection else { return Ok(()) };
    let wallet = book.wallets.iter().position(|wallet| wallet.id == *account_id);
    let once = wallet.is_some_and(|wallet| {
        *posted_minor == 0 || histories[wallet].iter().any(|line| line.posted_after_minor == *posted_minor)
    });
    if once { Ok(()) } else { broken(format!("{place}: refused for a balance of {posted_minor}, which never was")) }
}

/// Whether another request has this intent's key for good.
fn is_taken(book: &Book, intent: usize) -> bool {
    let key = book.intents[intent].key;
    book.intents
        .iter()
        .enumerate()
        .any(|(other, wanted)| other != intent && wanted.key == key && wanted.answer.is_some())
}
