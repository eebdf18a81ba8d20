//! The schema's history: pairs of texts, one number and one name for both engines.

use crate::StoreError;

/// One step of the schema.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// 1, 2, 3 …
    pub number: u32,
    /// Number and name, as the file is called.
    pub name: &'static str,
    /// Text for SQLite.
    pub sqlite: &'static str,
    /// Text for PostgreSQL.
    pub postgres: &'static str,
}

macro_rules! migrations {
    ($($number:literal $name:literal),+ $(,)?) => {
        /// Every migration, in order.
        pub const MIGRATIONS: &[Migration] = &[$(Migration {
            number: $number,
            name: $name,
            sqlite: include_str!(concat!("migrations/sqlite/", $name, ".sql")),
            postgres: include_str!(concat!("migrations/postgres/", $name, ".sql")),
        }),+];
    };
}

migrations! {
    1 "0001_identity",
    2 "0002_ledger",
    3 "0003_audit",
    4 "0004_sign_in_failures",
    5 "0005_batches",
    6 "0006_key_runs",
    7 "0007_lean_rows",
    8 "0008_keys_in_postings",
    9 "0009_chain_ends",
    10 "0010_kept_answers",
    11 "0011_hash_forms",
}

/// The newest number that this binary knows.
#[must_use]
pub fn newest() -> u32 {
    MIGRATIONS.last().map_or(0, |migration| migration.number)
}

/// A migration as a database remembers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedMigration {
    /// Its number.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// [`checksum`] of the text that was applied.
    pub checksum: String,
}

/// A fingerprint of a migration's text (FNV-1a, 64 bits, hexadecimal): it finds a text that was edited after it had
/// been applied. It is no protection against forgery.
#[must_use]
pub fn checksum(text: &str) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in text.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    format!("{hash:016x}")
}

/// The migrations that `applied` (in the order of their numbers) still lacks; `text_of` chooses the engine's text.
///
/// # Errors
/// [`StoreError::Foreign`] when the database was written by a newer binary, or by another history.
pub fn pending(
    applied: &[AppliedMigration],
    text_of: fn(&Migration) -> &'static str,
) -> Result<&'static [Migration], StoreError> {
    if let Some(last) = applied.last().filter(|last| last.number > newest()) {
        return Err(StoreError::Foreign(format!(
            "this database was written by a newer Florin (schema {}, this binary knows {})",
            last.number,
            newest()
        )));
    }
    for (migration, found) in MIGRATIONS.iter().zip(applied) {
        if migration.number != found.number || migration.name != found.name {
            return Err(StoreError::Foreign(format!(
                "this database has migration {} where this binary has {}",
                found.name, migration.name
            )));
        }
        if checksum(text_of(migration)) != found.checksum {
            return Err(StoreError::Foreign(format!(
                "migration {} was applied with another text (checksum {}, this binary has {})",
                found.name,
                found.checksum,
                checksum(text_of(migration))
            )));
        }
    }
    Ok(MIGRATIONS.get(applied.len()..).unwrap_or_default())
}
