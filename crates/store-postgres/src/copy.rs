//! Many rows into one table: PostgreSQL's COPY in its binary form, the cheapest way in.

use std::pin::pin;

use deadpool_postgres::Object;
use florin_store::Value;
use tokio_postgres::{
    Error,
    binary_copy::BinaryCopyInWriter,
    types::{ToSql, Type},
};

use crate::codec::Param;

/// Inserts `rows`, each of which has a value for each of `columns`.
pub(crate) async fn copy_rows(client: &Object, table: &str, columns: &str, rows: &[Vec<Value>]) -> Result<(), Error> {
    let described = client.prepare_cached(&format!("SELECT {columns} FROM {table} LIMIT 0")).await?;
    let types: Vec<Type> = described.columns().iter().map(|column| column.type_().clone()).collect();
    let sink = client.copy_in(&format!("COPY {table} ({columns}) FROM STDIN BINARY")).await?;
    let mut writer = pin!(BinaryCopyInWriter::new(sink, &types));
    for row in rows {
        let params: Vec<Param<'_>> = row.iter().map(Param).collect();
        let params: Vec<&(dyn ToSql + Sync)> = params.iter().map(|param| param as _).collect();
        writer.as_mut().write(&params).await?;
    }
    writer.finish().await?;
    Ok(())
}
