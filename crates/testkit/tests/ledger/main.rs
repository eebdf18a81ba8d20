//! The ledger's write path and `verify` on real engines: what is written can be proved, and what is altered is found.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on stops")]

mod ahead;
mod ahead_in_a_file;
mod bulks;
mod forgotten;
mod journal;
mod late;
mod server;
mod server_keys;

use florin_ledger::{
    Account, AccountId, Batch, Command, IdempotencyKey, Kind, Leg, Outcome, Precondition, Rejection, Side,
    SystemAccount, TransactionId, Verdict, system_account_id,
};
use florin_money::Asset;
use florin_store::{
    Engine, EngineKind, PostingFilter, Value, ledger::apply_batch_in_tx, read, verify::verify, wallet, write,
};
use uuid::Uuid;

const NOW_US: i64 = 1_760_000_000_000_000;

fn eur() -> Asset {
    Asset::new("EUR", 2).unwrap()
}

fn owner() -> Uuid {
    Uuid::from_u128(0x5151)
}

fn open_wallet(engine: &dyn Engine, id: u128) -> AccountId {
    let account = Account::wallet(AccountId(Uuid::from_u128(id)), owner(), eur(), NOW_US);
    write(engine, |tx| wallet::insert_wallet(tx, &account, owner(), "savings")).unwrap();
    account.id
}

fn command(id: u128, kind: Kind, wallet: AccountId, amount_minor: i128, writer: u16) -> Command {
    let system = system_account_id(SystemAccount::BankSettlement, eur().code(), writer);
    let (side, other) = if kind == Kind::Withdraw { (Side::Debit, Side::Credit) } else { (Side::Credit, Side::Debit) };
    Command {
        transaction_id: TransactionId(Uuid::from_u128(id)),
        kind,
        asset: eur(),
        legs: vec![
            Leg { account_id: wallet, side, amount_minor },
            Leg { account_id: system, side: other, amount_minor },
        ],
        actor_id: owner(),
        reason: Some("rent".to_owned()),
        effective_at_us: None,
        idempotency: None,
        owners: vec![Precondition { account_id: wallet, owner_id: owner() }],
    }
}

fn apply(engine: &dyn Engine, writer: u16, batch: &[Command]) -> Vec<Verdict> {
    write(engine, |tx| apply_batch_in_tx(tx, writer, Batch::each(batch), NOW_US + 1)).unwrap().verdicts
}

fn is_applied(verdict: &Verdict) -> bool {
    matches!(verdict.outcome, Outcome::Applied(_))
}

fn divergence(engine: &dyn Engine) -> Option<String> {
    verify(engine, &mut |_| {}).unwrap().divergence
}

fn a_batch_is_written_and_proves_clean(engine: &dyn Engine) {
    let (first, second) = (open_wallet(engine, 1), open_wallet(engine, 2));
    let batch = [
        command(10, Kind::Deposit, first, 10_000, 0),
        command(11, Kind::Withdraw, first, 10_001, 0),
        command(12, Kind::Deposit, second, 10_i128.pow(37), 0),
        command(13, Kind::Withdraw, first, 9_999, 0),
    ];
    let verdicts = apply(engine, 0, &batch);
    assert_eq!(verdicts.iter().map(is_applied).collect::<Vec<_>>(), [true, false, true, true]);
    assert!(matches!(
        verdicts[1].outcome,
        Outcome::Rejected(Rejection::InsufficientFunds { posted_minor: 10_000, required_minor: 10_001, .. })
    ));
    apply(engine, 3, &[command(14, Kind::Deposit, first, 5, 3)]);
    let row = read(engine, |tx| wallet::find_wallet(tx, first)).unwrap().unwrap();
    assert_eq!((row.account.balance().posted_minor, row.account.version, row.label.as_str()), (6, 3, "savings"));
    let report = verify(engine, &mut |_| {}).unwrap();
    assert_eq!(report.divergence, None);
    // Two wallets and a stripe of the bank for each of the two writers.
    assert_eq!((report.transactions, report.postings, report.accounts, report.batches), (4, 8, 4, 2));
}

/// With a key of a caller who acts on `wallet`.
fn with_key(command: Command, wallet: AccountId, key: &str, fingerprint: u8) -> Command {
    let scope = Uuid::from_u128(77 ^ wallet.0.as_u128());
    let key = IdempotencyKey { scope, resource: wallet.0, key: key.to_owned(), fingerprint: [fingerprint; 32] };
    Command { idempotency: Some(key), ..command }
}

fn a_key_is_answered_once_and_again(engine: &dyn Engine) {
    let wallet = open_wallet(engine, 1);
    let keyed = |id, fingerprint| with_key(command(id, Kind::Deposit, wallet, 100, 0), wallet, "rent-01", fingerprint);
    let first = apply(engine, 0, &[keyed(20, 1)]).remove(0);
    assert!(is_applied(&first) && !first.replayed);
    let again = apply(engine, 0, &[keyed(21, 1)]).remove(0);
    assert!(again.replayed, "the second request with the key has no effect of its own");
    assert_eq!(again.outcome, first.outcome);
    let other = apply(engine, 1, &[keyed(22, 2)]).remove(0);
    assert_eq!(other.outcome, Outcome::Rejected(Rejection::IdempotencyKeyReused));
    // Both requests in one batch: each has its own answer.
    let both = apply(engine, 0, &[keyed(23, 2), keyed(24, 1), keyed(25, 2)]);
    assert_eq!([&both[0].outcome, &both[2].outcome], [&other.outcome; 2]);
    assert!(both[1].replayed && both[1].outcome == first.outcome);
    let row = read(engine, |tx| wallet::find_wallet(tx, wallet)).unwrap().unwrap();
    assert_eq!(row.account.balance().posted_minor, 100);
    assert_eq!(divergence(engine), None);
}

/// What was refused is refused again, and what has several rows is one answer: also by another node, and for another
/// request under the key.
fn every_kind_of_answer_is_kept(engine: &dyn Engine) {
    let (wallet, other) = (open_wallet(engine, 1), open_wallet(engine, 2));
    let transfer = |id| {
        let leg = |account_id, side| Leg { account_id, side, amount_minor: 40 };
        let legs = vec![leg(wallet, Side::Debit), leg(other, Side::Credit)];
        Command { legs, ..command(id, Kind::Transfer, wallet, 40, 0) }
    };
    let commands = |id, fingerprint| {
        let keyed = |command, key| with_key(command, wallet, key, fingerprint);
        [
            keyed(command(id, Kind::Withdraw, wallet, 1_000, 0), "too much"),
            keyed(command(id + 1, Kind::Deposit, wallet, 100, 0), "deposit"),
            keyed(transfer(id + 2), "transfer"),
            keyed(command(id + 3, Kind::Withdraw, wallet, 7, 0), "withdraw"),
            // A key of somebody who acts on what has no part in it.
            with_key(command(id + 4, Kind::Deposit, other, 9, 0), AccountId(Uuid::from_u128(5)), "other", fingerprint),
            with_key(command(id + 5, Kind::Withdraw, AccountId(Uuid::from_u128(6)), 9, 0), wallet, "none", fingerprint),
        ]
    };
    let first = apply(engine, 0, &commands(100, 1));
    assert_eq!(first.iter().map(is_applied).collect::<Vec<_>>(), [false, true, true, true, true, false]);
    for (id, writer) in [(200, 0), (300, 1), (400, 0)] {
        let again = apply(engine, writer, &commands(id, 1));
        assert!(again.iter().all(|verdict| verdict.replayed), "{again:?}");
        assert!(again.iter().zip(&first).all(|(again, first)| again.outcome == first.outcome), "{again:?}");
    }
    let reused = apply(engine, 0, &commands(500, 2));
    assert!(reused.iter().all(|verdict| verdict.outcome == Outcome::Rejected(Rejection::IdempotencyKeyReused)));
    let versions = [wallet, other].map(|id| read(engine, |tx| wallet::find_wallet(tx, id)).unwrap().unwrap().account);
    assert_eq!(versions.map(|account| (account.version, account.balance().posted_minor)), [(3, 53), (2, 49)]);
    let page = read(engine, |tx| tx.list_postings(wallet, &PostingFilter::newest(10))).unwrap();
    assert_eq!(page.postings.iter().map(|posting| posting.version).collect::<Vec<_>>(), [3, 2, 1]);
    assert_eq!(divergence(engine), None);
}

fn what_is_altered_is_found(engine: &dyn Engine) {
    let wallet = open_wallet(engine, 1);
    apply(engine, 0, &[command(30, Kind::Deposit, wallet, 100, 0), command(31, Kind::Deposit, wallet, 50, 0)]);
    apply(engine, 0, &[command(32, Kind::Withdraw, wallet, 30, 0)]);
    assert_eq!(divergence(engine), None);
    // Each alteration with what puts it right again, and a word of what must be said about it.
    let alterations: [(&'static str, Value, Value, &str); 3] = [
        (
            "UPDATE batches SET recorded_at = $1 WHERE number = 1",
            Value::Time(NOW_US),
            Value::Time(NOW_US + 1),
            "batch 1",
        ),
        (
            "UPDATE batches SET merkle_root = $1 WHERE number = 2",
            Value::Bytes(vec![0; 32]),
            read(engine, |tx| tx.query("SELECT merkle_root FROM batches WHERE number = 2", &[])).unwrap()[0].0[0]
                .clone(),
            "batch 2",
        ),
        ("UPDATE batches SET transactions = $1 WHERE number = 2", Value::Int(2), Value::Int(1), "batch 2"),
    ];
    // Elsewhere the end of a chain is its last batch.
    let end = ("UPDATE chain_heads SET number = $1", Value::Int(1), Value::Int(2), "chain 0");
    let ends = if engine.kind() == EngineKind::Sqlite { vec![end] } else { Vec::new() };
    for (alter, altered, right, said) in alterations.into_iter().chain(ends) {
        write(engine, |tx| tx.execute(alter, std::slice::from_ref(&altered))).unwrap();
        let found = divergence(engine).unwrap_or_else(|| panic!("not found: {alter}"));
        assert!(found.contains(said), "{alter}: {found}");
        write(engine, |tx| tx.execute(alter, std::slice::from_ref(&right))).unwrap();
        assert_eq!(divergence(engine), None, "{alter}");
    }
    write(engine, |tx| tx.execute("DELETE FROM batches WHERE number = 2", &[])).unwrap();
    assert!(divergence(engine).is_some(), "a deleted batch is found");
}

fn two_writers_share_a_wallet_without_losing_a_deposit(engine: &dyn Engine) {
    let wallet = open_wallet(engine, 1);
    std::thread::scope(|scope| {
        for writer in 0..4_u16 {
            scope.spawn(move || {
                for step in 0..25_u128 {
                    // Two of the four share a writer's number: slower, and still right.
                    let id = 1000 + u128::from(writer) * 100 + step;
                    let verdicts = apply(engine, writer / 2, &[command(id, Kind::Deposit, wallet, 1, writer / 2)]);
                    assert!(is_applied(&verdicts[0]));
                }
            });
        }
    });
    let row = read(engine, |tx| wallet::find_wallet(tx, wallet)).unwrap().unwrap();
    assert_eq!((row.account.balance().posted_minor, row.account.version), (100, 100));
    assert_eq!(divergence(engine), None);
}

macro_rules! on_both_engines {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[test]
            fn $name() {
                let (engine, _folder) = florin_testkit::sqlite::fresh_engine();
                engine.migrate().unwrap();
                super::$name(&engine);
            })+
            use florin_store::Engine as _;
        }
        mod postgres {
            $(#[test]
            fn $name() {
                let Some((engine, _database)) = florin_testkit::postgres::fresh_engine() else { return };
                engine.migrate().unwrap();
                super::$name(&engine);
            })+
            use florin_store::Engine as _;
        }
    };
}

on_both_engines! {
    a_batch_is_written_and_proves_clean,
    a_key_is_answered_once_and_again,
    every_kind_of_answer_is_kept,
    what_is_altered_is_found,
    two_writers_share_a_wallet_without_losing_a_deposit,
}
