//! Rows of a table as one parameter: an array of the table's row type, which costs the server a fraction of an array
//! for each column.

use std::error::Error;

use bytes::{BufMut, BytesMut};
use florin_store::StoreError;
use tokio_postgres::types::{IsNull, Kind, ToSql, Type, to_sql_checked};

/// Rows of `N` columns, in PostgreSQL's binary form of records (`record_recv`, `array_recv`).
#[derive(Debug)]
pub(crate) struct RowArray<const N: usize> {
    columns: [Type; N],
    rows: i32,
    bytes: BytesMut,
}

impl<const N: usize> RowArray<N> {
    /// `columns`: the types of the table's columns, in the table's order.
    pub(crate) fn new(columns: [Type; N]) -> Self {
        Self { columns, rows: 0, bytes: BytesMut::new() }
    }

    /// # Errors
    /// [`StoreError::Internal`] when a value does not fit its column.
    pub(crate) fn push(&mut self, fields: [&(dyn ToSql + Sync); N]) -> Result<(), StoreError> {
        self.rows += 1;
        measured(&mut self.bytes, |bytes| {
            bytes.put_i32(i32::try_from(N)?);
            for (column, field) in self.columns.iter().zip(fields) {
                bytes.put_u32(column.oid());
                measured(bytes, |bytes| field.to_sql_checked(column, bytes))?;
            }
            Ok(IsNull::No)
        })
        .map_err(|error| StoreError::Internal(format!("a row cannot be written: {error}")))
    }
}

/// What `put` puts, after its length; the length of a NULL is -1.
fn measured(
    bytes: &mut BytesMut,
    put: impl FnOnce(&mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>>,
) -> Result<(), Box<dyn Error + Sync + Send>> {
    let start = bytes.len();
    bytes.put_i32(-1);
    if let IsNull::No = put(bytes)? {
        let length = i32::try_from(bytes.len() - start - 4)?;
        bytes[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }
    Ok(())
}

impl<const N: usize> ToSql for RowArray<N> {
    fn to_sql(&self, wanted: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        let Kind::Array(record) = wanted.kind() else { return Err(format!("{wanted} is no array").into()) };
        out.put_i32(i32::from(self.rows > 0));
        out.put_i32(0);
        out.put_u32(record.oid());
        if self.rows > 0 {
            out.put_i32(self.rows);
            out.put_i32(1);
            out.put_slice(&self.bytes);
        }
        Ok(IsNull::No)
    }

    fn accepts(wanted: &Type) -> bool {
        matches!(wanted.kind(), Kind::Array(record) if matches!(record.kind(), Kind::Composite(_)))
    }

    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_those_of_the_server() {
        let mut rows = RowArray::new([Type::INT2, Type::TEXT]);
        rows.push([&7_i16, &None::<&str>]).unwrap();
        rows.push([&8_i16, &"a"]).unwrap();
        let first = [0, 0, 0, 22, 0, 0, 0, 2, 0, 0, 0, 21, 0, 0, 0, 2, 0, 7, 0, 0, 0, 25, 255, 255, 255, 255];
        let second = [0, 0, 0, 23, 0, 0, 0, 2, 0, 0, 0, 21, 0, 0, 0, 2, 0, 8, 0, 0, 0, 25, 0, 0, 0, 1, b'a'];
        assert_eq!(rows.bytes, [first.as_slice(), second.as_slice()].concat());
    }

    #[test]
    fn a_value_of_another_type_is_refused() {
        assert!(RowArray::new([Type::INT2]).push([&"seven"]).is_err());
    }
}
