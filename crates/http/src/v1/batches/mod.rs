//! `POST /api/v1/batches`: many movements in one request.

mod answer;
mod member;
mod read;
mod room;

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use florin_app::wallet::{BatchError, BatchOutcome, BatchRights, RequestKey};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

pub(crate) use self::room::Room;
use self::{
    answer::write_answer,
    read::read_batch,
    room::{Place, STANDSTILL},
};
use crate::{
    django::read_amount,
    idempotency_key::{mark_replayed, request_key},
    problem::{Problem, ProblemBody},
    request_body::json_text,
    request_id::RequestId,
    state::Http,
};

/// Most commands in one batch.
pub(crate) const COMMANDS_MAX: usize = 10_000;
/// Largest body of a batch, bytes.
pub(crate) const BODY_MAX: usize = 8 * 1024 * 1024;

/// Many movements.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({"atomic": true, "commands": [
    {"type": "DEPOSIT", "wallet": "0197b9a2-7c31-7d52-9d5e-7f0f2f6f3a11", "amount": "100.00", "reason": "wages"},
    {"type": "TRANSFER", "from": "0197b9a2-7c31-7d52-9d5e-7f0f2f6f3a11",
        "to": "0197b9a2-9e0a-7b1c-8c3d-1f2e3d4c5b6a", "amount": "25.00"},
    {"type": "WITHDRAW", "wallet": "0197b9a2-7c31-7d52-9d5e-7f0f2f6f3a11", "amount": 5}]}))]
#[expect(dead_code, reason = "documents what the reader reads")]
pub(crate) struct BatchBody {
    /// 1 to 10 000 of them.
    #[schema(max_items = 10_000, min_items = 1)]
    commands: Vec<BatchCommand>,
    /// Whether all are applied or none. Without it each command stands for itself.
    #[schema(required = false, default = false)]
    atomic: bool,
}

/// One movement of a batch.
#[derive(Deserialize, ToSchema)]
#[expect(dead_code, reason = "documents what the reader reads")]
pub(crate) struct BatchCommand {
    /// `ADJUSTMENT` is for staff.
    #[serde(rename = "type")]
    kind: BatchCommandType,
    /// The wallet; of a transfer there are `from` and `to` instead.
    #[schema(required = false)]
    wallet: Uuid,
    /// The source of a transfer: your wallet.
    #[schema(required = false)]
    from: Uuid,
    /// The destination of a transfer: any other wallet of the same asset.
    #[schema(required = false)]
    to: Uuid,
    /// A decimal number, as a number or a string; read exactly from its text.
    amount: String,
    /// Of an adjustment, and required there: `CREDIT` adds, `DEBIT` subtracts.
    #[schema(required = false)]
    direction: String,
    /// At most 500 characters; an adjustment needs one.
    #[schema(required = false)]
    reason: String,
}

/// What a command of a batch does.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum BatchCommandType {
    /// Adds to a wallet.
    Deposit,
    /// Subtracts from a wallet.
    Withdraw,
    /// From your wallet to another one.
    Transfer,
    /// Corrects a wallet.
    Adjustment,
}

/// What came of a batch.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"atomic": false, "applied": 1, "refused": 1, "results": [
    {"status": "applied", "transaction_id": "0197b9a4-1c2d-7a3b-8e4f-5a6b7c8d9e0f", "posted": "100.00",
        "pending": "0.00", "available": "100.00"},
    {"status": "refused", "code": "insufficient_funds", "detail": "Available: 100.00, required: 250.00."}]}))]
pub(crate) struct BatchAnswerBody {
    /// As asked.
    atomic: bool,
    /// How many commands were applied.
    applied: usize,
    /// How many were refused.
    refused: usize,
    /// One for each command, in their order.
    results: Vec<BatchResult>,
}

/// What came of one command.
#[derive(Serialize, ToSchema)]
pub(crate) struct BatchResult {
    /// `applied` or `refused`.
    status: String,
    /// Of an applied command: its transaction.
    #[schema(required = false)]
    transaction_id: Uuid,
    /// Of an applied command: the wallet's settled balance after it (of a transfer: the source's).
    #[schema(required = false)]
    posted: String,
    /// Of an applied command: what is held.
    #[schema(required = false)]
    pending: String,
    /// Of an applied command: what can be spent.
    #[schema(required = false)]
    available: String,
    /// Of a refused command: why, for programs.
    #[schema(required = false)]
    code: String,
    /// Of a refused command: why, for people.
    #[schema(required = false)]
    detail: String,
}

/// Move money many times in one request: all or nothing, or each command on its own.
#[utoipa::path(post, path = "/api/v1/batches", tag = "wallets", security(("bearer" = [])),
    request_body = BatchBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable ASCII characters: the same \
        request with the same key has one effect, and is answered as it was the first time, with \
        `Idempotency-Replayed: true`. The same body is the same bytes")),
    responses((status = 200, description = "Every command has its result; of a batch that is not atomic, some or all \
        may be refused", body = BatchAnswerBody),
    (status = 400, description = "`validation_error` names the commands by their place (`commands[17].wallet`), \
        `parse_error`, `invalid_idempotency_key`. Nothing was applied", body = ProblemBody<'_>),
    (status = 408, description = "`body_too_slow`: the body came to a standstill for 5 s. Nothing was applied",
        body = ProblemBody<'_>),
    (status = 413, description = "`body_too_large` (8 MiB), `batch_too_large` (10 000 commands). Nothing was applied",
        body = ProblemBody<'_>),
    (status = 422, description = "`batch_refused`: the batch is atomic and a command was refused; nothing was \
        applied, and `results` beside the problem's members says why, command by command. \
        `idempotency_key_reused`: the key was used with another request", body = ProblemBody<'_>)))]
pub(crate) async fn create_batch(State(http): State<Http>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let caller = http.counted_caller(&parts.method, &parts.headers)?;
    let key = request_key(&parts.headers, &[])?;
    let mut place = Place::new(&http.batches, caller.user_id);
    let body = place.read(body, STANDSTILL).await?;
    let request_id = RequestId::from_extensions(&parts.extensions);
    let (app, headers) = (http.app.clone(), parts.headers);
    let prepared = http.app.on_batch_thread(move || {
        let key = key.map(|key| RequestKey { fingerprint: fingerprint_of(&body), ..key });
        let text = json_text(&headers, &body)?.unwrap_or_default();
        let batch = read_batch(text)?;
        let items = app
            .prepare_batch(BatchRights::Caller(caller), &batch.items, |amount, asset| {
                read_amount(amount.as_text(), asset)
            })
            .map_err(|failure| Problem::failure(&failure))?;
        Ok::<_, Problem>((items, batch.atomic, key))
    });
    let (items, atomic, key) = prepared.await.map_err(|failure| Problem::failure(&failure))??;
    let write = |outcome: BatchOutcome<'_>, request_id: &str| write_answer(&outcome, request_id);
    let applied = http.app.apply_batch(&caller, items, atomic, key, request_id.as_str(), write);
    let answer = applied.await.map_err(|error| match error {
        BatchError::KeyReused => Problem::key_reused(),
        BatchError::Failure(failure) => Problem::failure(&failure),
    })?;
    drop(place);
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let kind = if status.is_success() { "application/json" } else { "application/problem+json" };
    let mut response =
        (status, [(header::CONTENT_TYPE, HeaderValue::from_static(kind))], Body::from(answer.body)).into_response();
    mark_replayed(&mut response, answer.replayed);
    Ok(response)
}

fn fingerprint_of(body: &[u8]) -> [u8; 32] {
    use sha2::{Digest as _, Sha256};
    Sha256::digest(body).into()
}
