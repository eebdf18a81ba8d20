//! The schema: what is applied, and applying what is not.

use deadpool_postgres::Object;
use florin_store::{
    EngineStatus, StoreError,
    migrations::{AppliedMigration, Migration, checksum, newest, pending},
};
use tokio_postgres::{Error, error::SqlState};

use crate::error::{describe, store_error};

/// Held, for the length of a transaction, by whoever migrates: "florin" in ASCII.
const MIGRATION_LOCK: &str = "SELECT pg_advisory_xact_lock(112615730081134)";

fn text_of(migration: &Migration) -> &'static str {
    migration.postgres
}

/// What the schema is.
pub(crate) async fn status(client: &Object) -> Result<EngineStatus, StoreError> {
    let applied = applied(client).await?;
    let pending = pending(&applied, text_of)?;
    Ok(EngineStatus {
        applied: applied.last().map_or(0, |last| last.number),
        pending: pending.iter().map(|migration| migration.name).collect(),
    })
}

/// Applies what is pending, each migration in a transaction of its own.
pub(crate) async fn migrate(client: &Object) -> Result<Vec<&'static str>, StoreError> {
    let mut names = Vec::new();
    for _ in 0..=newest() {
        client.batch_execute("BEGIN").await.map_err(|error| store_error(&error))?;
        match apply_next(client).await {
            Ok(Some(name)) => {
                client.batch_execute("COMMIT").await.map_err(|error| store_error(&error))?;
                names.push(name);
            }
            other => {
                client.batch_execute("ROLLBACK").await.map_err(|error| store_error(&error))?;
                other?;
                break;
            }
        }
    }
    Ok(names)
}

async fn apply_next(client: &Object) -> Result<Option<&'static str>, StoreError> {
    let lock = format!("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '60s'; {MIGRATION_LOCK}");
    client.batch_execute(&lock).await.map_err(|error| store_error(&error))?;
    let Some(migration) = pending(&applied(client).await?, text_of)?.first() else { return Ok(None) };
    apply(client, migration)
        .await
        .map_err(|error| StoreError::Internal(format!("migration {} failed: {}", migration.name, describe(&error))))?;
    Ok(Some(migration.name))
}

async fn apply(client: &Object, migration: &Migration) -> Result<(), Error> {
    client
        .batch_execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations (
                number      INTEGER NOT NULL PRIMARY KEY,
                name        TEXT NOT NULL,
                checksum    TEXT NOT NULL,
                applied_at  TIMESTAMPTZ NOT NULL
            )",
        )
        .await?;
    client.batch_execute(migration.postgres).await?;
    client
        .execute(
            "INSERT INTO schema_migrations (number, name, checksum, applied_at) VALUES ($1, $2, $3, now())",
            &[&i32::try_from(migration.number).unwrap_or(i32::MAX), &migration.name, &checksum(migration.postgres)],
        )
        .await?;
    Ok(())
}

/// What is applied; refuses a database that has tables of somebody else.
async fn applied(client: &Object) -> Result<Vec<AppliedMigration>, StoreError> {
    let foreign = || StoreError::Foreign("this PostgreSQL database holds tables that are not Florin's".to_owned());
    let found = client
        .query_one(
            "SELECT to_regclass(quote_ident(current_schema()) || '.schema_migrations') IS NOT NULL, \
             EXISTS (SELECT 1 FROM pg_catalog.pg_class c \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT EXISTS \
             (SELECT 1 FROM pg_catalog.pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e'))",
            &[],
        )
        .await
        .map_err(|error| store_error(&error))?;
    let (has_history, has_tables): (bool, bool) = (found.get(0), found.get(1));
    if !has_history {
        return if has_tables { Err(foreign()) } else { Ok(Vec::new()) };
    }
    let rows = client.query("SELECT number, name, checksum FROM schema_migrations ORDER BY number", &[]).await;
    let rows = rows.map_err(|error| match error.code() {
        // Other programs call theirs by the same name.
        Some(code) if *code == SqlState::UNDEFINED_COLUMN => foreign(),
        _ => store_error(&error),
    })?;
    rows.iter()
        .map(|row| {
            let number: i32 = row.try_get(0)?;
            let number = u32::try_from(number).unwrap_or_default();
            Ok(AppliedMigration { number, name: row.try_get(1)?, checksum: row.try_get(2)? })
        })
        .collect::<Result<_, Error>>()
        .map_err(|_| foreign())
}
