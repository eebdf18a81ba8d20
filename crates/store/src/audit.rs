//! The trail of what people did, other than moving money.

use florin_ledger::bucket_of;
use uuid::Uuid;

use crate::{StoreError, Tx, Value};

const INSERT: &str = "INSERT INTO audit_events (bucket, id, at, action, actor_id, subject_id, outcome, request_id, \
    detail) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";

/// One row of `audit_events`. Holds no secret and no token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEvent {
    /// Its id.
    pub id: Uuid,
    /// Microseconds since the Unix epoch, UTC.
    pub at_us: i64,
    /// What was done, as a code.
    pub action: &'static str,
    /// Who did it; none if not known.
    pub actor_id: Option<Uuid>,
    /// To whom.
    pub subject_id: Option<Uuid>,
    /// `ok` or `refused`.
    pub outcome: &'static str,
    /// The request's id; may be empty.
    pub request_id: String,
    /// More, as a code.
    pub detail: Option<&'static str>,
}

/// Writes one event.
///
/// # Errors
/// Those of the engine.
pub fn insert_event(tx: &mut dyn Tx, event: &AuditEvent) -> Result<(), StoreError> {
    let request_id = Some(&event.request_id).filter(|id| !id.is_empty());
    let params = [
        Value::Int(i64::from(bucket_of(event.id))),
        Value::Uuid(event.id),
        Value::Time(event.at_us),
        Value::Text(event.action.to_owned()),
        Value::or_null(event.actor_id, Value::Uuid),
        Value::or_null(event.subject_id, Value::Uuid),
        Value::Text(event.outcome.to_owned()),
        Value::or_null(request_id.cloned(), Value::Text),
        Value::or_null(event.detail.map(str::to_owned), Value::Text),
    ];
    tx.execute(INSERT, &params).map(drop)
}
