//! What is answered to a batch, written piece by piece.

use std::io::Write as _;

use axum::http::StatusCode;
use florin_app::wallet::{BatchOutcome, ItemOutcome};
use florin_ledger::{Balance, TransactionId};
use serde::Serialize;
use uuid::Uuid;

use crate::v1::wallets::Figure;

/// Bytes that one result takes, about.
const RESULT_BYTES: usize = 160;

#[derive(Serialize)]
struct RefusedResult<'a> {
    status: &'static str,
    code: &'a str,
    detail: &'a str,
}

/// The members that an atomic batch's refusal has besides the results.
#[derive(Serialize)]
struct RefusalHead<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    title: &'a str,
    status: u16,
    code: &'a str,
    detail: String,
    errors: serde_json::Map<String, serde_json::Value>,
    request_id: &'a str,
}

/// The status and the body.
pub(super) fn write_answer(outcome: &BatchOutcome<'_>, request_id: &str) -> (u16, Vec<u8>) {
    let applied = outcome.applied();
    let refused = outcome.len() - applied;
    let is_refused = outcome.is_atomic() && refused > 0;
    let status = if is_refused { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let mut body = Vec::with_capacity(256 + outcome.len() * RESULT_BYTES);
    body.push(b'{');
    if is_refused {
        write_head(&mut body, outcome, request_id);
    }
    // Writing to memory cannot fail.
    let atomic = outcome.is_atomic();
    let _ = write!(body, "\"atomic\":{atomic},\"applied\":{applied},\"refused\":{refused},\"results\":[");
    for (index, item) in outcome.outcomes().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        write_result(&mut body, &item);
    }
    body.extend_from_slice(b"]}");
    (status.as_u16(), body)
}

fn write_result(body: &mut Vec<u8>, item: &ItemOutcome<'_>) {
    match item {
        ItemOutcome::Applied { transaction_id, balance, exponent } => {
            write_applied(body, *transaction_id, balance, *exponent);
        }
        ItemOutcome::Refused { code, detail } => {
            let _ = serde_json::to_writer(body, &RefusedResult { status: "refused", code, detail });
        }
    }
}

/// By hand: nothing in it needs an escape, and looking for some takes longer than writing it.
fn write_applied(body: &mut Vec<u8>, transaction_id: TransactionId, balance: &Balance, exponent: u8) {
    let figure = |minor| Figure { minor, exponent };
    body.extend_from_slice(br#"{"status":"applied","transaction_id":""#);
    let mut id = Uuid::encode_buffer();
    body.extend_from_slice(transaction_id.0.hyphenated().encode_lower(&mut id).as_bytes());
    body.extend_from_slice(br#"","posted":""#);
    figure(balance.posted_minor).write_to(body);
    body.extend_from_slice(br#"","pending":""#);
    figure(balance.pending_minor).write_to(body);
    body.extend_from_slice(br#"","available":""#);
    figure(balance.available_minor).write_to(body);
    body.extend_from_slice(br#""}"#);
}

/// The members of a problem body, without its closing brace.
fn write_head(body: &mut Vec<u8>, outcome: &BatchOutcome<'_>, request_id: &str) {
    let own = outcome.outcomes().enumerate().find_map(|(index, item)| match item {
        ItemOutcome::Refused { code, detail } if code != "batch_refused" => Some((index, code, detail)),
        _ => None,
    });
    let (index, code, reason) = own.unwrap_or_default();
    let head = RefusalHead {
        kind: "urn:florin:problem:batch_refused",
        title: "Batch refused",
        status: StatusCode::UNPROCESSABLE_ENTITY.as_u16(),
        code: "batch_refused",
        detail: format!("Nothing was applied: commands[{index}] was refused ({code}). {reason}"),
        errors: serde_json::Map::new(),
        request_id,
    };
    if let Ok(text) = serde_json::to_string(&head) {
        let members = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or_default();
        body.extend_from_slice(members.as_bytes());
        body.push(b',');
    }
}
