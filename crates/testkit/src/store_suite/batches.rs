//! The ledger's batch: what is written is what is found again.

use florin_ledger::{
    Account, AccountId, AccountKind, Balance, Batch, Command, IdempotencyKey, Kind, Leg, Limits, Outcome, Rejection,
    Side, SystemAccount, TransactionId, bucket_of, system_account_id,
};
use florin_money::Asset;
use florin_store::{
    BatchRows, Engine, EngineKind, Posting, PostingFilter, PostingPage, Value, ledger::apply_batch_in_tx, read,
    verify::verify, wallet, write,
};
use uuid::Uuid;

fn euro() -> Asset {
    Asset::new("EUR", 2).unwrap()
}

pub(super) fn open_wallet(engine: &dyn Engine, number: u128) -> Account {
    let owner_id = Uuid::from_u128(1000 + number);
    let account = Account {
        limits: Limits { floor_minor: Some(0), ceiling_minor: Some(10_i128.pow(38) - 1) },
        ..Account::wallet(AccountId(Uuid::from_u128(number)), owner_id, euro(), 5)
    };
    write(engine, |tx| wallet::insert_wallet(tx, &account, owner_id, "savings")).unwrap();
    account
}

/// Of the wallet with this id.
fn key(name: &str, wallet: AccountId) -> IdempotencyKey {
    IdempotencyKey { scope: Uuid::from_u128(77), resource: wallet.0, key: name.to_owned(), fingerprint: [9; 32] }
}

pub(super) fn deposit(transaction: u128, wallet: AccountId, amount_minor: i128) -> Command {
    Command {
        reason: Some("wages".to_owned()),
        effective_at_us: Some(41),
        idempotency: Some(key(&format!("key-{transaction}"), wallet)),
        ..deposit_by(3, transaction, wallet, amount_minor)
    }
}

/// A deposit through the stripe of `writer`.
pub(super) fn deposit_by(writer: u16, transaction: u128, wallet: AccountId, amount_minor: i128) -> Command {
    let bank = system_account_id(SystemAccount::BankSettlement, euro().code(), writer);
    let leg = |account_id, side| Leg { account_id, side, amount_minor };
    Command {
        transaction_id: TransactionId(Uuid::from_u128(transaction)),
        kind: Kind::Deposit,
        asset: euro(),
        legs: vec![leg(bank, Side::Debit), leg(wallet, Side::Credit)],
        actor_id: Uuid::from_u128(5),
        reason: None,
        effective_at_us: None,
        idempotency: None,
        owners: Vec::new(),
    }
}

/// Transactions, postings, balances, answers and the chain's head are there after a batch, as they were decided.
pub fn a_batch_comes_back_whole(engine: &dyn Engine) {
    engine.migrate().unwrap();
    let huge = 10_i128.pow(37);
    let wallet = open_wallet(engine, 1);
    let batch = [deposit(101, wallet.id, huge), deposit(102, wallet.id, 1)];
    let verdicts = write(engine, |tx| apply_batch_in_tx(tx, 3, Batch::each(&batch), 42)).unwrap().verdicts;
    let Outcome::Applied(applied) = &verdicts[1].outcome else { panic!("{:?}", verdicts[1]) };

    let ids = [wallet.id, batch[0].legs[0].account_id];
    let accounts = read(engine, |tx| tx.lock_accounts(&ids)).unwrap();
    let [wallet_after, bank] = ids.map(|id| &accounts[&id]);
    let expected = Account { posted_credits_minor: huge + 1, version: 2, updated_at_us: 42, ..wallet.clone() };
    assert_eq!(*wallet_after, expected);
    assert_eq!((bank.kind, bank.posted_debits_minor), (AccountKind::System, huge + 1));

    let key = |name| key(name, wallet.id);
    let keys = [&key("key-102"), &key("unknown"), &key("key-101")];
    let mut answers = read(engine, |tx| tx.find_answers(&keys)).unwrap();
    answers.sort_unstable_by(|left, right| left.0.key.cmp(&right.0.key));
    assert_eq!(answers.len(), 2);
    assert_eq!(answers[1], (key("key-102"), Outcome::Applied(applied.clone())));

    let page = read(engine, |tx| tx.list_postings(wallet.id, &PostingFilter::newest(10))).unwrap();
    assert_eq!((page.postings.len(), page.next_before_version), (2, None));
    let newest = Posting {
        account_id: wallet.id,
        version: 2,
        transaction_id: TransactionId(Uuid::from_u128(102)),
        kind: Kind::Deposit,
        side: Side::Credit,
        amount_minor: 1,
        balance: Balance { posted_minor: huge + 1, pending_minor: 0, available_minor: huge + 1 },
        counterpart_id: ids[1],
        reason: Some("wages".to_owned()),
        recorded_at_us: 42,
    };
    assert_eq!(page.postings[0], newest);

    let stored = read(engine, |tx| tx.list_batches(3, 0, &|_| Some(euro()))).unwrap().remove(0);
    let transaction = &stored.transactions[1];
    assert_eq!((stored.header.number, stored.transactions.len(), transaction.effective_at_us), (1, 2, 41));
    assert_eq!((&transaction.legs, transaction.hash(stored.header.form)), (&applied.legs, applied.hash));
    assert_eq!(transaction.idempotency_key.as_deref(), Some("key-102"));
    assert_eq!(read(engine, |tx| tx.count_postings()).unwrap(), 4);
    assert_eq!(read(engine, |tx| tx.find_chain_head(3)).unwrap().unwrap().number, 1);
}

/// Batches of one transaction follow each other: each is decided on what those before it leave behind, and all of them
/// are there after the commit, also where an engine remembers what they are decided on.
pub fn batches_of_one_transaction_follow_each_other(engine: &dyn Engine) {
    engine.migrate().unwrap();
    let wallet = open_wallet(engine, 1).id;
    let remembered = [deposit(101, wallet, 5)];
    write(engine, |tx| apply_batch_in_tx(tx, 3, Batch::each(&remembered), 42)).unwrap();

    let everything = Command { kind: Kind::Withdraw, ..reversed(deposit(104, wallet, 18)) };
    let too_much = Command { kind: Kind::Withdraw, ..reversed(deposit(105, wallet, 1)) };
    let batches = [vec![deposit(102, wallet, 6)], vec![deposit(103, wallet, 7)], vec![everything, too_much]];
    let outcomes = write(engine, |tx| {
        let mut outcomes = Vec::new();
        for batch in &batches {
            let verdicts = apply_batch_in_tx(tx, 3, Batch::each(batch), 43)?.verdicts;
            outcomes.extend(verdicts.into_iter().map(|verdict| matches!(verdict.outcome, Outcome::Applied(_))));
        }
        Ok(outcomes)
    });
    assert_eq!(outcomes.unwrap(), [true, true, true, false]);

    // A key that a batch of the same transaction has answered.
    let again = write(engine, |tx| {
        apply_batch_in_tx(tx, 3, Batch::each(&[deposit(106, wallet, 2)]), 44)?;
        apply_batch_in_tx(tx, 3, Batch::each(&[deposit(106, wallet, 2), deposit(107, wallet, 1)]), 44)
    });
    let replayed: Vec<bool> = again.unwrap().verdicts.iter().map(|verdict| verdict.replayed).collect();
    assert_eq!(replayed, [true, false]);

    let account = read(engine, |tx| tx.lock_accounts(&[wallet])).unwrap().remove(&wallet).unwrap();
    assert_eq!((account.balance().posted_minor, account.version), (3, 6));
    let report = verify(engine, &mut |_| {}).unwrap();
    assert_eq!((report.batches, report.transactions, report.divergence), (6, 6, None));
}

/// The same with the other side of each leg.
fn reversed(command: Command) -> Command {
    let reverse = |leg: &Leg| Leg { side: if leg.side == Side::Debit { Side::Credit } else { Side::Debit }, ..*leg };
    Command { legs: command.legs.iter().map(reverse).collect(), ..command }
}

/// Chains are read from end to end in turns, and again from anywhere: each batch once, whole, in order.
pub fn chains_are_read_in_turns(engine: &dyn Engine) {
    engine.migrate().unwrap();
    let wallet = open_wallet(engine, 1).id;
    let mut transaction = 0;
    // More than is read at once, of both, and a batch that alone is more.
    for size in [1, 3_000, 6_001, 2, 4_000, 1] {
        for writer in [3, 4] {
            let batch: Vec<Command> = (0..size).map(|n| deposit_by(writer, transaction + n, wallet, 1)).collect();
            transaction += size;
            write(engine, |tx| apply_batch_in_tx(tx, writer, Batch::each(&batch), 42)).unwrap();
        }
    }
    let expected = [(1, 1), (2, 3_000), (3, 6_001), (4, 2), (5, 4_000), (6, 1)];
    read(engine, |tx| {
        let mut found = [Vec::new(), Vec::new()];
        let mut goes_on = true;
        while goes_on {
            goes_on = false;
            for (found, writer) in found.iter_mut().zip([3, 4]) {
                let after = found.last().map_or(0, |(number, _)| *number);
                let batches = tx.list_batches(writer, after, &|_| Some(euro()))?;
                goes_on |= !batches.is_empty();
                found.extend(batches.iter().map(|batch| (batch.header.number, batch.transactions.len())));
            }
        }
        assert_eq!(found, [expected, expected]);
        for after in [0, 0, 4, 2] {
            let first = tx.list_batches(3, after, &|_| Some(euro()))?.remove(0);
            let (number, length) = expected[usize::try_from(after).unwrap()];
            assert_eq!((first.header.number, first.transactions.len()), (number, length), "after {after}");
        }
        assert_eq!(tx.list_batches(3, 6, &|_| Some(euro()))?, []);
        assert_eq!(tx.list_batches(5, 0, &|_| Some(euro()))?, []);
        assert_eq!(tx.count_postings()?, 2 * u64::try_from(transaction).unwrap());
        Ok(())
    })
    .unwrap();
}

/// Refusals are answers too: they are kept without a header in the chain.
pub fn a_batch_without_commands_writes_only_its_answers(engine: &dyn Engine) {
    engine.migrate().unwrap();
    let account_id = AccountId(Uuid::from_u128(1));
    let key = key("refused", account_id);
    let outcome = Outcome::Rejected(Rejection::AccountNotFound { account_id });
    let rows = BatchRows {
        applied: Vec::new(),
        changed: Vec::new(),
        opened: Vec::new(),
        answered: vec![(&key, &outcome)],
        header: None,
        recorded_at_us: 42,
    };
    write(engine, |tx| tx.write_batch(&rows)).unwrap();
    assert_eq!(read(engine, |tx| tx.find_answers(&[&key])).unwrap(), [(key.clone(), outcome.clone())]);
    assert_eq!(read(engine, |tx| tx.find_chain_head(3)).unwrap(), None);
    let error = write(engine, |tx| tx.write_batch(&rows)).unwrap_err();
    assert!(matches!(error, florin_store::StoreError::Duplicate(_)), "{error:?}");
    let (text, bucket) = match engine.kind() {
        EngineKind::Sqlite => ("SELECT created_at FROM idempotency_keys WHERE bucket = $1", bucket_of(key.scope)),
        EngineKind::Postgres => ("SELECT recorded_at FROM postings WHERE bucket = $1", account_id.bucket()),
    };
    let rows = read(engine, |tx| tx.query(text, &[Value::Int(i64::from(bucket))]));
    assert_eq!(rows.unwrap()[0].get_time(0).unwrap(), 42);
    let page = read(engine, |tx| tx.list_postings(account_id, &PostingFilter::newest(10))).unwrap();
    assert_eq!((page, read(engine, |tx| tx.count_postings()).unwrap()), (PostingPage::default(), 0));
}
