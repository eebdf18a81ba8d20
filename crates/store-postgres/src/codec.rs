//! Typed parameters and columns in PostgreSQL's binary forms, chosen by the statement's own types.

use std::error::Error;

use bytes::{BufMut, BytesMut};
use florin_store::{Row, StoreError, Value};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use uuid::Uuid;

use crate::numeric;

/// Microseconds from the Unix epoch to 2000-01-01, where PostgreSQL counts from.
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;

type CodecError = Box<dyn Error + Sync + Send>;

/// A parameter.
#[derive(Debug)]
pub(crate) struct Param<'v>(pub(crate) &'v Value);

impl ToSql for Param<'_> {
    fn to_sql(&self, wanted: &Type, out: &mut BytesMut) -> Result<IsNull, CodecError> {
        match self.0 {
            Value::Null => return Ok(IsNull::Yes),
            Value::Bool(value) if *wanted == Type::BOOL => out.put_u8(u8::from(*value)),
            Value::Int(value) => put_int(*value, wanted, out)?,
            Value::Text(text) if is_text(wanted) => out.put_slice(text.as_bytes()),
            Value::Bytes(bytes) if *wanted == Type::BYTEA => out.put_slice(bytes),
            Value::Uuid(id) if *wanted == Type::UUID => out.put_slice(id.as_bytes()),
            Value::Minor(minor) => return Minor(*minor).to_sql(wanted, out),
            Value::Time(at_us) => return Time(*at_us).to_sql(wanted, out),
            other => return Err(mismatch(other, wanted)),
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// Minor units, also as an element of an array.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Minor(pub(crate) i128);

impl ToSql for Minor {
    fn to_sql(&self, wanted: &Type, out: &mut BytesMut) -> Result<IsNull, CodecError> {
        match *wanted {
            Type::NUMERIC => numeric::encode(self.0, out),
            _ => put_int(i64::try_from(self.0)?, wanted, out)?,
        }
        Ok(IsNull::No)
    }

    fn accepts(wanted: &Type) -> bool {
        [Type::NUMERIC, Type::INT8].contains(wanted)
    }

    to_sql_checked!();
}

/// Microseconds since the Unix epoch, also as an element of an array.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Time(pub(crate) i64);

impl ToSql for Time {
    fn to_sql(&self, wanted: &Type, out: &mut BytesMut) -> Result<IsNull, CodecError> {
        match *wanted {
            Type::TIMESTAMPTZ => {
                out.put_i64(self.0.checked_sub(POSTGRES_EPOCH_US).ok_or("a time before PostgreSQL's first")?);
            }
            _ => put_int(self.0, wanted, out)?,
        }
        Ok(IsNull::No)
    }

    fn accepts(wanted: &Type) -> bool {
        [Type::TIMESTAMPTZ, Type::INT8].contains(wanted)
    }

    to_sql_checked!();
}

fn put_int(value: i64, wanted: &Type, out: &mut BytesMut) -> Result<(), CodecError> {
    match *wanted {
        Type::INT2 => out.put_i16(i16::try_from(value)?),
        Type::INT4 => out.put_i32(i32::try_from(value)?),
        Type::INT8 => out.put_i64(value),
        Type::NUMERIC => numeric::encode(i128::from(value), out),
        _ => return Err(mismatch(&Value::Int(value), wanted)),
    }
    Ok(())
}

fn is_text(wanted: &Type) -> bool {
    [Type::TEXT, Type::VARCHAR, Type::BPCHAR, Type::NAME, Type::UNKNOWN].contains(wanted)
}

/// The parameter's value stays out of the message: it may be a secret.
fn mismatch(value: &Value, wanted: &Type) -> CodecError {
    StoreError::column(0, &format!("a parameter of type {wanted} was wanted,"), Some(value)).to_string().into()
}

/// A row as this database has it.
pub(crate) fn row_of(row: &tokio_postgres::Row) -> Result<Row, StoreError> {
    (0..row.len())
        .map(|column| row.try_get(column).map(|Cell(value)| value))
        .collect::<Result<_, _>>()
        .map(Row)
        .map_err(|error| StoreError::Inconsistent(error.to_string()))
}

struct Cell(Value);

impl<'a> FromSql<'a> for Cell {
    fn from_sql(found: &Type, raw: &'a [u8]) -> Result<Self, CodecError> {
        Ok(Self(match *found {
            Type::BOOL => Value::Bool(bool::from_sql(found, raw)?),
            Type::INT2 => Value::Int(i64::from(i16::from_sql(found, raw)?)),
            Type::INT4 => Value::Int(i64::from(i32::from_sql(found, raw)?)),
            Type::INT8 => Value::Int(i64::from_sql(found, raw)?),
            Type::BYTEA => Value::Bytes(raw.to_vec()),
            Type::UUID => Value::Uuid(Uuid::from_slice(raw)?),
            Type::TIMESTAMPTZ => Value::Time(
                i64::from_be_bytes(raw.try_into()?).checked_add(POSTGRES_EPOCH_US).ok_or("a time out of range")?,
            ),
            Type::NUMERIC => Value::Minor(numeric::decode(raw).ok_or("a numeric that is no count of minor units")?),
            _ if is_text(found) => Value::Text(str::from_utf8(raw)?.to_owned()),
            _ => return Err(format!("a column of type {found}").into()),
        }))
    }

    fn from_sql_null(_: &Type) -> Result<Self, CodecError> {
        Ok(Self(Value::Null))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
