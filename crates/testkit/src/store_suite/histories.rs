//! The ledger's history: entered anywhere, filtered, and never walked without end.

use florin_ledger::{Batch, Command, Kind, Leg, Side};
use florin_store::{Engine, POSTINGS_LOOKED_AT_MAX, Posting, PostingFilter, ledger::apply_batch_in_tx, read, write};

use super::batches::{deposit_by, open_wallet};

/// Postings of the wallet's history: some hundred, so that marks and pages are passed.
const LENGTH: i64 = 300;

/// Posting `n` is recorded at `10 n`; every third is a withdrawal.
fn command(n: i64, wallet: florin_ledger::AccountId) -> Command {
    let deposit = deposit_by(3, 1000 + u128::try_from(n).unwrap(), wallet, i128::from(n));
    if n % 3 != 0 {
        return deposit;
    }
    let turned = |leg: &Leg| Leg { side: if leg.side == Side::Debit { Side::Credit } else { Side::Debit }, ..*leg };
    Command { kind: Kind::Withdraw, legs: deposit.legs.iter().map(turned).collect(), ..deposit }
}

fn versions(postings: &[Posting]) -> Vec<i64> {
    postings.iter().map(|posting| posting.version).collect()
}

/// Any page of any account, whatever bounds it has, is what a search through the whole history finds.
pub fn a_history_is_entered_anywhere(engine: &dyn Engine) {
    engine.migrate().unwrap();
    let (wallet, quiet) = (open_wallet(engine, 1).id, open_wallet(engine, 2).id);
    let commands: Vec<Command> = (1..=LENGTH).map(|n| command(n, wallet)).collect();
    for (n, command) in (1..).zip(&commands) {
        write(engine, |tx| apply_batch_in_tx(tx, 3, Batch::each(std::slice::from_ref(command)), n * 10)).unwrap();
    }
    let all = read(engine, |tx| tx.list_postings(wallet, &PostingFilter::newest(1000))).unwrap().postings;
    assert_eq!(versions(&all), (1..=LENGTH).rev().collect::<Vec<_>>());
    assert_eq!((all[0].amount_minor, all[0].recorded_at_us, all[0].kind), (300, 3000, Kind::Withdraw));
    let bounds = [0, 1, 630, 640, 641, 1280, 1990, 2560, 2990, 3000, 3001, 9000];
    for before_version in [1, 2, 63, 64, 65, 66, 128, 129, 200, 257, 299, 300, 301, i64::MAX] {
        for (from_us, to_us) in bounds.iter().flat_map(|from| bounds.iter().map(move |to| (*from, *to))) {
            for kind in [None, Some(Kind::Withdraw)] {
                let filter = PostingFilter { before_version, from_us, to_us, kind, ..PostingFilter::newest(7) };
                let found = read(engine, |tx| tx.list_postings(wallet, &filter)).unwrap().postings;
                let expected: Vec<Posting> = all
                    .iter()
                    .filter(|posting| posting.version < before_version)
                    .filter(|posting| filter.admits(posting.kind, posting.amount_minor, posting.recorded_at_us))
                    .take(7)
                    .cloned()
                    .collect();
                assert_eq!(versions(&found), versions(&expected), "{filter:?}");
            }
        }
    }
    let none = read(engine, |tx| tx.list_postings(quiet, &PostingFilter::newest(7))).unwrap();
    assert!(none.postings.is_empty() && none.next_before_version.is_none());
}

/// A filter that admits little looks at a bounded number of postings and says where to go on: whoever does misses none.
pub fn a_search_in_vain_ends_and_goes_on(engine: &dyn Engine) {
    engine.migrate().unwrap();
    let wallet = open_wallet(engine, 1).id;
    let (length, sought) = (POSTINGS_LOOKED_AT_MAX + 500, 600);
    let commands: Vec<Command> = (1..=length)
        .map(|n| deposit_by(3, u128::try_from(n).unwrap(), wallet, if n <= sought { 7 } else { 1 }))
        .collect();
    for chunk in commands.chunks(5_000) {
        write(engine, |tx| apply_batch_in_tx(tx, 3, Batch::each(chunk), 42)).unwrap();
    }
    let page = |filter: &PostingFilter| read(engine, |tx| tx.list_postings(wallet, filter)).unwrap();
    let none = page(&PostingFilter { min_minor: 8, ..PostingFilter::newest(1000) });
    assert!(none.postings.is_empty());
    let before_version = none.next_before_version.unwrap();
    assert!(before_version > 1 && before_version <= 502, "{before_version}");
    // The place where the first page ends is among those that are sought.
    let filter = PostingFilter { min_minor: 7, ..PostingFilter::newest(1000) };
    let first = page(&filter);
    let before_version = first.next_before_version.unwrap();
    let second = page(&PostingFilter { before_version, ..filter });
    assert_eq!(second.next_before_version, None);
    let found = [versions(&first.postings), versions(&second.postings)];
    assert!(found.iter().all(|page| !page.is_empty()), "{found:?}");
    assert_eq!(found.concat(), (1..=sought).rev().collect::<Vec<_>>());
}
