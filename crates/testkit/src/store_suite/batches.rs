//! The ledger's batch: what is written is what is found again.

use florin_ledger::{
    Account, AccountId, AccountKind, Batch, Command, IdempotencyKey, Kind, Leg, Limits, Outcome, Rejection, Side,
    SystemAccount, TransactionId, bucket_of, system_account_id,
};
use florin_money::Asset;
use florin_store::{
    BatchRows, Engine, Value,
    ledger::{apply_batch_in_tx, transaction_bucket},
    legs_from_bytes, read, wallet, write,
};
use uuid::Uuid;

fn euro() -> Asset {
    Asset::new("EUR", 2).unwrap()
}

fn open_wallet(engine: &dyn Engine, number: u128) -> Account {
    let owner_id = Uuid::from_u128(1000 + number);
    let account = Account {
        id: AccountId(Uuid::from_u128(number)),
        asset: euro(),
        kind: AccountKind::Wallet,
        owner_id: Some(owner_id),
        normal_side: Side::Credit,
        limits: Limits { floor_minor: Some(0), ceiling_minor: Some(10_i128.pow(38) - 1) },
        posted_debits_minor: 0,
        posted_credits_minor: 0,
        pending_debits_minor: 0,
        pending_credits_minor: 0,
        version: 0,
        created_at_us: 5,
        updated_at_us: 5,
        closed_at_us: None,
    };
    write(engine, |tx| wallet::insert_wallet(tx, &account, owner_id, "savings")).unwrap();
    account
}

fn key(name: &str) -> IdempotencyKey {
    IdempotencyKey { scope: Uuid::from_u128(77), key: name.to_owned(), fingerprint: [9; 32] }
}

fn deposit(transaction: u128, wallet: AccountId, amount_minor: i128) -> Command {
    let bank = system_account_id(SystemAccount::BankSettlement, euro().code(), 3);
    let leg = |account_id, side| Leg { account_id, side, amount_minor };
    Command {
        transaction_id: TransactionId(Uuid::from_u128(transaction)),
        kind: Kind::Deposit,
        asset: euro(),
        legs: vec![leg(bank, Side::Debit), leg(wallet, Side::Credit)],
        actor_id: Uuid::from_u128(5),
        reason: Some("wages".to_owned()),
        effective_at_us: Some(41),
        idempotency: Some(key(&format!("key-{transaction}"))),
        owners: Vec::new(),
    }
}

/// Transactions, postings, balances, answers and the chain's head are there after a batch, as they were decided.
pub fn a_batch_comes_back_whole(engine: &dyn Engine) {
    engine.migrate().unwrap();
    let huge = 10_i128.pow(37);
    let wallet = open_wallet(engine, 1);
    let batch = [deposit(101, wallet.id, huge), deposit(102, wallet.id, 1)];
    let verdicts = write(engine, |tx| apply_batch_in_tx(tx, 3, Batch::each(&batch), 42)).unwrap();
    let Outcome::Applied(applied) = &verdicts[1].outcome else { panic!("{:?}", verdicts[1]) };

    let ids = [wallet.id, batch[0].legs[0].account_id];
    let mut accounts = read(engine, |tx| tx.lock_accounts(&ids)).unwrap();
    accounts.sort_unstable_by_key(|account| account.id);
    let expected = Account { posted_credits_minor: huge + 1, version: 2, updated_at_us: 42, ..wallet.clone() };
    assert_eq!(accounts[0], expected);
    assert_eq!((accounts[1].kind, accounts[1].posted_debits_minor), (AccountKind::System, huge + 1));

    let keys = [&key("key-102"), &key("unknown"), &key("key-101")];
    let mut answers = read(engine, |tx| tx.find_answers(&keys)).unwrap();
    answers.sort_unstable_by(|left, right| left.0.key.cmp(&right.0.key));
    assert_eq!(answers.len(), 2);
    assert_eq!(answers[1], (key("key-102"), Outcome::Applied(applied.clone())));

    let places = [(wallet.id, 2), (wallet.id, 3), (ids[1], 1)];
    let mut postings = read(engine, |tx| tx.find_postings(&places)).unwrap();
    assert_eq!(postings.len(), 2, "a posting that is not there is left out");
    postings.sort_unstable_by_key(|row| row.get_uuid(0).unwrap());
    assert_eq!(postings[0].get_int(1).unwrap(), 2);
    assert_eq!(postings[0].get_uuid(2).unwrap(), Uuid::from_u128(102));
    assert_eq!((postings[0].get_minor(6).unwrap(), postings[0].get_minor(7).unwrap()), (1, huge + 1));
    assert_eq!(postings[0].get_uuid(9).unwrap(), ids[1].0, "the other side");
    assert_eq!(postings[0].find_text(10).unwrap().as_deref(), Some("wages"));
    assert_eq!(postings[0].get_time(11).unwrap(), 42);

    let rows = read(engine, |tx| {
        tx.query(
            "SELECT effective_at, position, batch_number, writer, legs, hash, idempotency_key FROM transactions \
             WHERE bucket = $1 AND id = $2",
            &[Value::Int(i64::from(transaction_bucket(&batch[1]))), Value::Uuid(applied.transaction_id.0)],
        )
    })
    .unwrap();
    let places = [rows[0].get_int(1).unwrap(), rows[0].get_int(2).unwrap(), rows[0].get_int(3).unwrap()];
    assert_eq!((rows[0].get_time(0).unwrap(), places), (41, [1, 1, 3]));
    assert_eq!(legs_from_bytes(&rows[0].get_bytes(4).unwrap()).unwrap(), [(ids[1], 2), (wallet.id, 2)]);
    assert_eq!(rows[0].get_array::<32>(5).unwrap(), applied.hash);
    assert_eq!(rows[0].find_text(6).unwrap().as_deref(), Some("key-102"));
    assert_eq!(read(engine, |tx| tx.lock_chain_head(3)).unwrap().unwrap().0, 1);
}

/// Refusals are answers too: they are kept without a header in the chain.
pub fn a_batch_without_commands_writes_only_its_answers(engine: &dyn Engine) {
    engine.migrate().unwrap();
    let (key, account_id) = (key("refused"), AccountId(Uuid::from_u128(1)));
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
    assert_eq!(read(engine, |tx| tx.lock_chain_head(3)).unwrap(), None);
    let error = write(engine, |tx| tx.write_batch(&rows)).unwrap_err();
    assert!(matches!(error, florin_store::StoreError::Duplicate(_)), "{error:?}");
    let bucket = Value::Int(i64::from(bucket_of(key.scope)));
    let rows = read(engine, |tx| {
        tx.query("SELECT created_at FROM idempotency_keys WHERE bucket = $1", std::slice::from_ref(&bucket))
    });
    assert_eq!(rows.unwrap()[0].get_time(0).unwrap(), 42);
}
