//! Typed parameters and typed rows, the same for both engines.

use uuid::Uuid;

use crate::StoreError;

/// One parameter or one column.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// SQL NULL.
    Null,
    /// `boolean`, or 0 and 1.
    Bool(bool),
    /// `bigint`, `integer` or `smallint`.
    Int(i64),
    /// `text`.
    Text(String),
    /// `bytea` or a blob.
    Bytes(Vec<u8>),
    /// `uuid`, or a blob of 16 bytes.
    Uuid(Uuid),
    /// Minor units: `numeric(38,0)`, or a blob of 16 bytes that sorts like the number.
    Minor(i128),
    /// Microseconds since the Unix epoch, UTC: `timestamptz`, or an integer.
    Time(i64),
}

impl Value {
    /// The value, or NULL.
    pub fn or_null<T>(value: Option<T>, wrap: impl FnOnce(T) -> Self) -> Self {
        value.map_or(Self::Null, wrap)
    }
}

/// One row of an answer. Columns are read by position, in the order of the statement.
#[derive(Debug, Clone, PartialEq)]
pub struct Row(pub Vec<Value>);

macro_rules! getter {
    ($(#[$doc:meta])* $get:ident, $find:ident, $out:ty, $($pattern:pat => $value:expr),+) => {
        $(#[$doc])*
        ///
        /// # Errors
        /// The column is missing, NULL or of another type.
        pub fn $get(&self, column: usize) -> Result<$out, StoreError> {
            let value: Option<$out> = match self.0.get(column) {
                $(Some($pattern) => $value,)+
                _ => None,
            };
            value.ok_or_else(|| StoreError::column(column, stringify!($get), self.0.get(column)))
        }

        $(#[$doc])*
        /// `None` for NULL.
        ///
        /// # Errors
        /// The column is missing or of another type.
        pub fn $find(&self, column: usize) -> Result<Option<$out>, StoreError> {
            if self.0.get(column) == Some(&Value::Null) { Ok(None) } else { self.$get(column).map(Some) }
        }
    };
}

impl Row {
    getter!(/// A whole number.
        get_int, find_int, i64, Value::Int(value) => Some(*value));
    getter!(/// A truth value.
        get_bool, find_bool, bool, Value::Bool(value) => Some(*value), Value::Int(value) => Some(*value != 0));
    getter!(/// Text.
        get_text, find_text, String, Value::Text(value) => Some(value.clone()));
    getter!(/// Bytes.
        get_bytes, find_bytes, Vec<u8>, Value::Bytes(value) => Some(value.clone()));
    getter!(/// A UUID.
        get_uuid, find_uuid, Uuid, Value::Uuid(value) => Some(*value),
        Value::Bytes(value) => Uuid::from_slice(value).ok());
    getter!(/// Minor units.
        get_minor, find_minor, i128, Value::Minor(value) => Some(*value),
        Value::Int(value) => Some(i128::from(*value)), Value::Bytes(value) => minor_from_bytes(value));
    getter!(/// Microseconds since the Unix epoch, UTC.
        get_time, find_time, i64, Value::Time(value) | Value::Int(value) => Some(*value));

    /// Bytes of a fixed length, as hashes are.
    ///
    /// # Errors
    /// The column is missing, NULL, of another type or of another length.
    pub fn get_array<const N: usize>(&self, column: usize) -> Result<[u8; N], StoreError> {
        self.get_bytes(column)?.try_into().map_err(|_| StoreError::column(column, "get_array", None))
    }
}

/// Sixteen bytes that sort as the number does: big endian with the sign bit turned.
#[must_use]
pub fn minor_to_bytes(minor: i128) -> [u8; 16] {
    (minor ^ i128::MIN).to_be_bytes()
}

/// The number of those bytes; `None` unless there are sixteen.
#[must_use]
pub fn minor_from_bytes(bytes: &[u8]) -> Option<i128> {
    Some(i128::from_be_bytes(bytes.try_into().ok()?) ^ i128::MIN)
}
