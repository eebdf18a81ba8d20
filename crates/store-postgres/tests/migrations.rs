//! What a migration makes of rows that are there.

#![expect(clippy::unwrap_used, reason = "a test without its database cannot go on")]

use florin_ledger::{
    AccountId, Applied, Balance, IdempotencyKey, Leg, Outcome, PostedLeg, Rejection, Side, TransactionId, bucket_of,
};
use florin_store::{
    Engine as _, PostingFilter, Row,
    migrations::{MIGRATIONS, checksum},
    outcome_to_text, read, wallet,
};
use florin_testkit::postgres::fresh_database;
use tokio_postgres::NoTls;
use uuid::Uuid;

/// Runs `script` on a database that has the first migrations, `count` of them.
fn prepare(url: &str, count: usize, script: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
        let connection = tokio::spawn(connection);
        let history = "CREATE TABLE schema_migrations (number INTEGER NOT NULL PRIMARY KEY, name TEXT NOT NULL, \
            checksum TEXT NOT NULL, applied_at TIMESTAMPTZ NOT NULL)";
        client.batch_execute(history).await.unwrap();
        for migration in &MIGRATIONS[..count] {
            client.batch_execute(migration.postgres).await.unwrap();
            let (number, name, sum) = (migration.number, migration.name, checksum(migration.postgres));
            let row = format!("INSERT INTO schema_migrations VALUES ({number}, '{name}', '{sum}', now())");
            client.batch_execute(&row).await.unwrap();
        }
        client.batch_execute(script).await.unwrap();
        drop(client);
        connection.await.unwrap().unwrap();
    });
}

const SCOPE: Uuid = Uuid::from_u128(77);

fn key(name: &str, wallet: AccountId) -> IdempotencyKey {
    let fingerprint = std::array::from_fn(|index| 255 - u8::try_from(index).unwrap());
    IdempotencyKey { scope: SCOPE, resource: wallet.0, key: name.to_owned(), fingerprint }
}

/// A key as the first schemas kept it.
fn key_row(name: &str, outcome: Option<&str>, posting: Option<(AccountId, i64)>) -> String {
    let (bucket, fingerprint) = (bucket_of(SCOPE), florin_store::hex(&key(name, AccountId(SCOPE)).fingerprint));
    let outcome = outcome.map_or("NULL".to_owned(), |outcome| format!("'{outcome}'"));
    let posting = posting.map_or("NULL, NULL".to_owned(), |(id, version)| format!("'{}', {version}", id.0));
    format!(
        "INSERT INTO idempotency_keys VALUES ({bucket}, '{SCOPE}', '{name}', '\\x{fingerprint}', {outcome}, \
         {posting}, '2026-01-01T00:00:00Z');"
    )
}

fn wallet_row(id: AccountId, version: i64) -> String {
    format!(
        "INSERT INTO accounts VALUES ({}, '{}', 0, '{SCOPE}', 'EUR', 2, 1, 0, NULL, 0, 7, 0, 0, {version}, \
         '2026-01-01', '2026-01-01', NULL);",
        id.bucket(),
        id.0
    )
}

/// A credit of 7 to `id`: this leg of a transfer, else beside a stripe's leg.
fn posting_row(id: AccountId, version: i64, batch: i64, key: Option<&str>, leg: Option<i16>) -> String {
    let key = key.map_or("NULL".to_owned(), |key| format!("'{key}'"));
    let (stripe, counterpart) = (Uuid::from_u128(9), if leg.is_none() { "1, -7" } else { "NULL, NULL" });
    let leg = leg.unwrap_or_default();
    format!(
        "INSERT INTO postings VALUES ({}, '{}', {version}, '{}', 0, {leg}, 1, 7, 7, NULL, '{stripe}', {counterpart}, \
         '{SCOPE}', NULL, {key}, NULL, '2026-01-01T00:00:00.000042Z', 1, {batch}, 0);",
        id.bucket(),
        id.0,
        Uuid::from_u128(u128::try_from(batch).unwrap()),
    )
}

/// Keys of every kind, from the first schemas to the newest.
#[test]
fn keys_move_into_the_rows_of_their_postings() {
    let Some(database) = fresh_database() else { return };
    let [wallet, other] = [5, 6].map(|id| AccountId(Uuid::from_u128(id)));
    let leg = |account_id, side, version| PostedLeg {
        leg: Leg { account_id, side, amount_minor: 7 },
        version,
        balance: Balance { posted_minor: 7, pending_minor: 0, available_minor: 7 },
    };
    let transfer = Outcome::Applied(Applied {
        transaction_id: TransactionId(Uuid::from_u128(3)),
        recorded_at_us: 42,
        legs: vec![leg(wallet, Side::Debit, 2), leg(other, Side::Credit, 1)],
        hash: [3; 32],
    });
    let poor = Outcome::Rejected(Rejection::InsufficientFunds {
        account_id: wallet,
        posted_minor: 1,
        available_minor: 1,
        required_minor: 2,
    });
    let unknown = Outcome::Rejected(Rejection::AccountNotFound { account_id: wallet });
    let text = |outcome| outcome_to_text(outcome).unwrap();
    let script = [
        wallet_row(wallet, 3),
        wallet_row(other, 2),
        posting_row(other, 2, 1, None, None),
        posting_row(wallet, 3, 2, Some("applied"), None),
        posting_row(wallet, 2, 3, Some("transfer"), Some(0)),
        posting_row(other, 1, 3, Some("transfer"), Some(1)),
        key_row("applied", None, Some((wallet, 3))),
        key_row("transfer", Some(&text(&transfer)), None),
        key_row("poor", Some(&text(&poor)), None),
        key_row("unknown", Some(&text(&unknown)), None),
        key_row("opened", Some(&wallet.0.to_string()), None),
    ];
    prepare(database.url(), 6, &script.concat());
    let engine = database.connect();
    assert_eq!(engine.migrate().unwrap(), MIGRATIONS[6..].iter().map(|migration| migration.name).collect::<Vec<_>>());

    let key = |name| key(name, wallet);
    let answers = |key: &IdempotencyKey| read(&engine, |tx| tx.find_answers(&[key])).unwrap();
    for (name, outcome) in [("transfer", transfer), ("poor", poor)] {
        assert_eq!(answers(&key(name)), [(key(name), outcome)]);
    }
    let (_, applied) = answers(&key("applied")).remove(0);
    let Outcome::Applied(applied) = applied else { panic!("{applied:?}") };
    assert_eq!((applied.transaction_id.0, applied.legs[0].version), (Uuid::from_u128(2), 3));
    let another = IdempotencyKey { fingerprint: [1; 32], ..key("poor") };
    assert_ne!(answers(&another)[0].0, another, "another request under the key");
    assert_eq!([answers(&key("unknown")), answers(&key("opened"))], [[], []]);
    let opened = read(&engine, |tx| wallet::find_opened(tx, &key("opened"))).unwrap();
    assert_eq!(opened, Some((key("opened").fingerprint, wallet)));

    // Four rows, two of which hold a stripe's posting, too; none was lost, and they lie as they lay.
    assert_eq!(read(&engine, |tx| tx.count_postings()).unwrap(), 6);
    let rows = "SELECT version, writer, batch_number, key_high IS NULL, outcome IS NULL FROM postings ORDER BY ctid";
    let rows = read(&engine, |tx| tx.query(rows, &[])).unwrap();
    let columns = |row: &Row| (row.find_int(2).unwrap(), row.get_bool(3).unwrap(), row.get_bool(4).unwrap());
    let expected = [(1, true, true), (2, false, true), (3, false, false), (3, true, true)];
    assert_eq!(rows[..4].iter().map(columns).collect::<Vec<_>>(), expected.map(|(batch, a, b)| (Some(batch), a, b)));
    assert_eq!((rows.len(), columns(&rows[4])), (5, (None, false, false)));
    assert_eq!(rows[4].get_int(0).unwrap(), -1);
    assert_eq!(read(&engine, |tx| tx.list_postings(wallet, &PostingFilter::newest(9))).unwrap().postings.len(), 2);
    let tables = "SELECT count(*) FROM pg_class WHERE relname LIKE 'former%' OR relname LIKE 'ledger_keys%'";
    assert_eq!(read(&engine, |tx| tx.query(tables, &[])).unwrap()[0].get_int(0).unwrap(), 0);
}
