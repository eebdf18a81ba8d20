//! Answers to whole requests, beside the keys of bulks.

use florin_ledger::{IdempotencyKey, bucket_of};
use florin_store::{
    StoreError,
    request_answer::{RequestAnswer, answer_of},
};
use tokio_postgres::types::Type;

use super::{Places, row_array::RowArray, select, small};
use crate::{
    codec::{Time, row_of},
    statements as sql,
    tx::PostgresTx,
};

const COLUMNS: [Type; 7] =
    [Type::INT2, Type::UUID, Type::TEXT, Type::BYTEA, Type::INT2, Type::BYTEA, Type::TIMESTAMPTZ];

/// As rows of the table.
pub(crate) type AnswerRows = RowArray<7>;

/// These answers, each beside its key.
///
/// # Errors
/// [`StoreError::Internal`] when something does not fit its column.
pub(crate) fn answer_rows(answers: &[(&IdempotencyKey, RequestAnswer)], now_us: i64) -> Result<AnswerRows, StoreError> {
    let mut rows = RowArray::new(COLUMNS);
    for (key, RequestAnswer { fingerprint, status, kept }) in answers {
        let status = i16::try_from(*status).map_err(|_| StoreError::Internal(format!("{status} is no status")))?;
        rows.push([
            &small(bucket_of(key.scope)),
            &key.scope,
            &key.key.as_str(),
            &fingerprint.as_slice(),
            &status,
            &kept.as_slice(),
            &Time(now_us),
        ])?;
    }
    Ok(rows)
}

/// Those that exist, in the order of the keys.
pub(crate) fn find_request_answers(
    tx: &mut PostgresTx<'_>,
    keys: &[&IdempotencyKey],
) -> Result<Vec<Option<RequestAnswer>>, StoreError> {
    let mut places = Places::default();
    keys.iter().for_each(|key| places.push(bucket_of(key.scope), key.scope));
    let texts: Vec<&str> = keys.iter().map(|key| key.key.as_str()).collect();
    let client = tx.client();
    let statement = if tx.is_write() { sql::LOCK_REQUEST_ANSWERS } else { sql::FIND_REQUEST_ANSWERS };
    let rows = tx.run(select(client, statement, &[&places.buckets, &places.ids, &texts]))?;
    let mut answers = vec![None; keys.len()];
    for row in &rows {
        let row = row_of(row)?;
        // Counted from one.
        let place = usize::try_from(row.get_int(0)?).ok().and_then(|place| place.checked_sub(1));
        if let Some(answer) = place.and_then(|place| answers.get_mut(place)) {
            *answer = Some(answer_of(&row, 1)?);
        }
    }
    Ok(answers)
}
