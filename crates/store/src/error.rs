//! What can go wrong below the rules.

use thiserror::Error;

use crate::Value;

/// A failure of storage, sorted by what a caller can do about it.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The database cannot be reached, or cannot write now (disk full, connection lost before the commit was sent).
    /// Nothing was changed; a later try may succeed.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// The connection was lost while the commit was under way: it may have happened or not.
    #[error("the outcome of the commit is unknown: {0}")]
    OutcomeUnknown(String),
    /// A unique key is taken. Holds the constraint's or column's name.
    #[error("duplicate key: {0}")]
    Duplicate(String),
    /// A row does not have the form that its table promises.
    #[error("inconsistent row: {0}")]
    Inconsistent(String),
    /// The database belongs to something else, or to a newer Florin.
    #[error("{0}")]
    Foreign(String),
    /// Anything else: a defect.
    #[error("database error: {0}")]
    Internal(String),
}

impl StoreError {
    /// A column that cannot be read as asked.
    #[must_use]
    pub fn column(index: usize, wanted: &str, found: Option<&Value>) -> Self {
        let found = match found {
            None => "nothing",
            Some(Value::Null) => "NULL",
            Some(Value::Bool(_)) => "a boolean",
            Some(Value::Int(_)) => "an integer",
            Some(Value::Text(_)) => "text",
            Some(Value::Bytes(_)) => "bytes",
            Some(Value::Uuid(_)) => "a uuid",
            Some(Value::Minor(_)) => "minor units",
            Some(Value::Time(_)) => "a time",
        };
        Self::Inconsistent(format!("column {index}: {wanted} found {found}"))
    }
}
