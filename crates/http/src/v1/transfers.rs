//! `POST /api/v1/transfers`: money from one wallet to another.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use florin_app::wallet::Movement;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    movement_form::{read_amount_field, read_reason, read_wallet},
    wallets::WalletBody,
};
use crate::{
    django::{Form, json},
    idempotency_key::{mark_replayed, request_key},
    problem::{Problem, ProblemBody},
    state::Http,
};

/// A transfer.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({"from": "0197b9a2-7c31-7d52-9d5e-7f0f2f6f3a11", "amount": "25.00",
    "to": "0197b9a2-9e0a-7b1c-8c3d-1f2e3d4c5b6a", "reason": "rent"}))]
#[expect(dead_code, reason = "documents what the form reads")]
pub(crate) struct TransferBody {
    /// Your wallet.
    from: Uuid,
    /// Any other wallet of the same asset.
    to: Uuid,
    /// A decimal number, as a number or a string; read exactly from its text.
    amount: String,
    /// At most 500 characters.
    #[schema(required = false)]
    reason: String,
}

/// A movement and the wallet it left or entered.
#[derive(Serialize, ToSchema)]
pub(crate) struct MovementReceipt<'a> {
    /// The transaction.
    pub(crate) transaction_id: Uuid,
    /// The transaction's hash in the ledger's chain, hexadecimal.
    pub(crate) hash: String,
    /// The wallet after it (of a transfer: the source).
    pub(crate) wallet: WalletBody<'a>,
}

/// Transfer money between wallets of one asset, at once and whole.
#[utoipa::path(post, path = "/api/v1/transfers", tag = "wallets", security(("bearer" = [])),
    request_body = TransferBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable ASCII characters: \
        a repeated request with the same key has one effect")),
    responses((status = 201, description = "Transferred", body = MovementReceipt<'_>),
    (status = 400, description = "`validation_error`, `parse_error`, `invalid_idempotency_key`, `malformed`",
        body = ProblemBody<'_>),
    (status = 404, description = "`wallet_not_found`: no such wallet, or the source is not yours",
        body = ProblemBody<'_>),
    (status = 422, description = "`insufficient_funds`, `asset_mismatch`, `ceiling_exceeded`, `account_closed`, \
        `idempotency_key_reused`", body = ProblemBody<'_>)))]
pub(crate) async fn create_transfer(State(http): State<Http>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let caller = http.counted_caller(&parts.method, &parts.headers)?;
    let mut form = Form::read(&parts, &http.read(body).await?)?;
    let (from, to) = (read_wallet(&mut form, "from"), read_wallet(&mut form, "to"));
    if from.is_some() && from == to {
        form.refuse("to", "Must be another wallet.".to_owned());
    }
    // How the amount is read depends on the wallet's asset; other mistakes are told without it.
    let asset = match from {
        Some(from) => http.app.asset_of(&caller, from).await?,
        None => http.app.settings().default_asset,
    };
    let amount = read_amount_field(&mut form, asset);
    let reason = read_reason(&mut form, false);
    form.finish()?;
    let (Some(from), Some(to), Some(amount_minor)) = (from, to, amount) else {
        return Err(Problem::internal());
    };
    let amount_text = amount_minor.to_string();
    let ids = (from.0.to_string(), to.0.to_string());
    let named = reason.as_deref().unwrap_or_default();
    let key = request_key(&parts.headers, &["transfer", &ids.0, &ids.1, &amount_text, named])?;
    let receipt = http.app.transfer(&caller, from, to, Movement { amount_minor, asset, reason, key }).await?;
    Ok(receipt_answer(StatusCode::CREATED, &receipt))
}

/// The answer to a movement on Florin's own routes.
pub(crate) fn receipt_answer(status: StatusCode, receipt: &florin_app::wallet::Receipt) -> Response {
    let body = MovementReceipt {
        transaction_id: receipt.transaction_id.0,
        hash: hex(&receipt.hash),
        wallet: WalletBody::from(&receipt.wallet),
    };
    let mut response = json(status, &body);
    mark_replayed(&mut response, receipt.replayed);
    response
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
