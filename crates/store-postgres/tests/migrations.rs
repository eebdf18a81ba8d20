//! What a migration makes of rows that are there.

#![expect(clippy::unwrap_used, reason = "a test without its database cannot go on")]

use florin_ledger::{AccountId, IdempotencyKey, Outcome, Rejection};
use florin_store::{
    Engine as _, Value,
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

#[test]
fn keys_become_digests_and_opened_wallets_stay() {
    let Some(database) = fresh_database() else { return };
    let key = |name: &str| IdempotencyKey {
        scope: Uuid::from_u128(77),
        resource: Uuid::from_u128(1),
        key: name.to_owned(),
        fingerprint: std::array::from_fn(|index| 255 - u8::try_from(index).unwrap()),
    };
    let (bucket, scope) = (florin_ledger::bucket_of(Uuid::from_u128(77)), Uuid::from_u128(77));
    let wallet = AccountId(Uuid::from_u128(5));
    let refused = Outcome::Rejected(Rejection::AccountNotFound { account_id: wallet });
    let fingerprint = florin_store::hex(&key("").fingerprint);
    let row = |name: &str, outcome: &str, posting: &str| {
        format!(
            "INSERT INTO idempotency_keys VALUES ({bucket}, '{scope}', '{name}', '\\x{fingerprint}', {outcome}, \
             {posting}, '2026-01-01T00:00:00Z');"
        )
    };
    let script = [
        row("refused", &format!("'{}'", outcome_to_text(&refused).unwrap()), "NULL, NULL"),
        row("applied", "NULL", &format!("'{}', 3", wallet.0)),
        row("opened", &format!("'{}'", wallet.0), "NULL, NULL"),
    ];
    prepare(database.url(), 6, &script.concat());
    let engine = database.connect();
    assert_eq!(engine.migrate().unwrap(), MIGRATIONS[6..].iter().map(|migration| migration.name).collect::<Vec<_>>());

    let answers = |key: IdempotencyKey| read(&engine, |tx| tx.find_answers(&[&key])).unwrap();
    assert_eq!(answers(key("refused")), [(key("refused"), refused.clone())]);
    let other = IdempotencyKey { fingerprint: [1; 32], ..key("refused") };
    assert_ne!(answers(other.clone())[0].0, other, "another request under the key");
    assert_eq!(answers(key("opened")), []);
    let opened = read(&engine, |tx| wallet::find_opened(tx, &key("opened"))).unwrap();
    assert_eq!(opened, Some((key("").fingerprint, wallet)));
    let applied = "SELECT account_id, version, created_at IS NULL FROM ledger_keys WHERE bucket = $1 AND digest = $2";
    let params = [Value::Int(i64::from(bucket)), Value::Uuid(Uuid::from_bytes(key("applied").digest()))];
    let rows = read(&engine, |tx| tx.query(applied, &params)).unwrap();
    assert_eq!(rows[0].0, [Value::Uuid(wallet.0), Value::Int(3), Value::Bool(true)]);
    let count = read(&engine, |tx| tx.query("SELECT count(*) FROM ledger_keys", &[])).unwrap();
    assert_eq!(count[0].get_int(0).unwrap(), 2);
}
