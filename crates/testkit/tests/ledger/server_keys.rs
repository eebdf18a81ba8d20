//! Callers' keys on PostgreSQL, where they are in the rows of postings: one answer on all nodes, and found where it is.

use std::{sync::Barrier, time::Duration};

use florin_ledger::{AccountId, Batch, Command, Kind, Leg, Outcome, Side};
use florin_store::{Engine as _, ledger::apply_batch_in_tx, write};

use crate::{
    NOW_US, apply, command, divergence, is_applied, open_wallet,
    server::{execute, fresh},
    with_key,
};

fn withdraw(id: u128, wallet: AccountId, amount_minor: i128, writer: u16, key: &str) -> Command {
    with_key(command(id, Kind::Withdraw, wallet, amount_minor, writer), wallet, key, 1)
}

/// One node is about to apply what the other is about to refuse: whoever is first answers for both.
#[test]
fn a_key_has_one_answer_whichever_node_is_first() {
    for (first_amount, second_amount) in [(10, 1_000), (1_000, 10)] {
        let Some((first, database)) = fresh() else { return };
        let second = database.connect();
        let wallet = open_wallet(&first, 1);
        apply(&first, 0, &[command(30, Kind::Deposit, wallet, 100, 0)]);
        // Both remember the wallet, and have a chain.
        apply(&second, 1, &[command(31, Kind::Deposit, wallet, 1, 1)]);
        apply(&first, 0, &[command(32, Kind::Deposit, wallet, 1, 0)]);
        (33..60).for_each(|id| drop(apply(&second, 1, &[command(id, Kind::Deposit, wallet, 1, 1)])));
        first.read_accounts(&[wallet]).unwrap();
        let barrier = Barrier::new(2);
        let (one, other) = std::thread::scope(|scope| {
            let one = scope.spawn(|| {
                let batch = [withdraw(100, wallet, first_amount, 0, "k")];
                write(&first, |tx| {
                    let verdicts = apply_batch_in_tx(tx, 0, Batch::each(&batch), NOW_US + 1)?.verdicts;
                    // Sends it, and waits with its rows in hand.
                    tx.query("SELECT 1", &[])?;
                    barrier.wait();
                    std::thread::sleep(Duration::from_millis(200));
                    Ok(verdicts)
                })
            });
            barrier.wait();
            let other = apply(&second, 1, &[withdraw(101, wallet, second_amount, 1, "k")]);
            (one.join().unwrap().unwrap().remove(0), other.into_iter().next().unwrap())
        });
        assert_eq!((one.replayed, is_applied(&one)), (false, first_amount == 10));
        assert!(other.replayed && other.outcome == one.outcome, "{one:?} {other:?}");
        assert_eq!(divergence(&first), None);
    }
}

/// Each refuses the key that the other applies: they may wait for each other, and both answer in the end.
#[test]
fn nodes_that_would_answer_two_keys_in_opposite_ways_agree() {
    let Some((first, database)) = fresh() else { return };
    let nodes = [first, database.connect()];
    let wallet = open_wallet(&nodes[0], 1);
    apply(&nodes[0], 0, &[command(1, Kind::Deposit, wallet, 100, 0)]);
    for round in 0..20_u128 {
        let barrier = Barrier::new(2);
        let run = |writer: u16| {
            let id = 100 + 10 * round + 2 * u128::from(writer);
            let amounts = if writer == 0 { [1, 1_000] } else { [1_000, 1] };
            let keyed = |index: usize| {
                withdraw(id + index as u128, wallet, amounts[index], writer, &format!("{round}-{index}"))
            };
            let batch = [keyed(0), keyed(1)];
            nodes[usize::from(writer)].read_accounts(&[wallet]).unwrap();
            barrier.wait();
            apply(&nodes[usize::from(writer)], writer, &batch)
        };
        let outcomes = std::thread::scope(|scope| {
            let other = scope.spawn(|| run(1));
            [run(0), other.join().unwrap()].map(|verdicts| verdicts.into_iter().map(|verdict| verdict.outcome))
        });
        let [one, other] = outcomes.map(Vec::<Outcome>::from_iter);
        assert_eq!(one, other, "round {round}");
    }
    assert_eq!(divergence(&nodes[0]), None);
}

/// A key that is not with its posting would not be found when the request comes again.
#[test]
fn keys_that_are_not_with_their_postings_are_found() {
    let Some((engine, _database)) = fresh() else { return };
    let (wallet, other) = (open_wallet(&engine, 1), open_wallet(&engine, 2));
    let leg = |account_id, side| Leg { account_id, side, amount_minor: 40 };
    let legs = vec![leg(wallet, Side::Debit), leg(other, Side::Credit)];
    let transfer = Command { legs, ..command(32, Kind::Transfer, wallet, 40, 0) };
    let deposit = |id, to| command(id, Kind::Deposit, to, 100, 0);
    let batch = [
        with_key(deposit(30, wallet), wallet, "one", 1),
        with_key(transfer, wallet, "two", 1),
        withdraw(33, wallet, 1_000, 0, "refused"),
        with_key(deposit(34, other), AccountId(uuid::Uuid::from_u128(5)), "elsewhere", 1),
    ];
    assert_eq!(apply(&engine, 0, &batch).iter().filter(|verdict| is_applied(verdict)).count(), 3);
    assert_eq!(divergence(&engine), None);
    execute(&engine, "CREATE TABLE kept AS SELECT * FROM postings");
    for (alter, rows) in [
        (
            "UPDATE postings SET key_high = NULL, key_low = NULL, fingerprint = NULL \
             WHERE version = 1 AND key_high IS NOT NULL",
            1,
        ),
        ("UPDATE postings SET key_low = NULL WHERE version = 1 AND key_high IS NOT NULL", 1),
        ("UPDATE postings SET fingerprint = NULL WHERE version = 1 AND key_high IS NOT NULL", 1),
        ("UPDATE postings SET outcome = '{}' WHERE version = 1 AND key_high IS NOT NULL", 1),
        ("UPDATE postings SET outcome = NULL WHERE version = 2 AND key_high IS NOT NULL", 1),
        ("UPDATE postings SET outcome = NULL WHERE outcome LIKE '%insufficient%'", 1),
        ("UPDATE postings SET writer = 9 WHERE outcome LIKE '%insufficient%'", 1),
        ("UPDATE postings SET key_high = NULL WHERE version < 0", 2),
        (
            "UPDATE postings SET key_high = NULL, key_low = NULL, fingerprint = NULL \
             WHERE outcome LIKE '%insufficient%'",
            1,
        ),
        ("DELETE FROM postings WHERE version < 0 AND outcome LIKE '%applied%'", 1),
    ] {
        assert_eq!(execute(&engine, alter), rows, "{alter}");
        assert!(divergence(&engine).is_some(), "{alter}");
        execute(&engine, "DELETE FROM postings");
        execute(&engine, "INSERT INTO postings SELECT * FROM kept");
        assert_eq!(divergence(&engine), None, "after {alter}");
    }
}
