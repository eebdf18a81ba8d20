//! The schema's history: pairs of texts, one number and one name for both engines.

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
}

/// The newest number that this binary knows.
#[must_use]
pub fn newest() -> u32 {
    MIGRATIONS.last().map_or(0, |migration| migration.number)
}
