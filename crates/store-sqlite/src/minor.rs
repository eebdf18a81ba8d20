//! Minor units as a column: an integer where 64 bits are enough, else sixteen bytes.

use florin_store::minor_to_bytes;
use rusqlite::{
    ToSql,
    types::{ToSqlOutput, Value},
};

/// An amount on its way into a column of type `ANY`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Minor(pub(crate) i128);

impl ToSql for Minor {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let value = i64::try_from(self.0).map_or_else(|_| Value::Blob(minor_to_bytes(self.0).to_vec()), Value::Integer);
        Ok(ToSqlOutput::Owned(value))
    }
}
