//! `POST /api/v1/admin/wallets/{id}/adjustments`: a correction, with a reason.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use florin_app::wallet::Movement;
use florin_ledger::Side;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    django::{Form, TextRule},
    idempotency_key::request_key,
    problem::{Problem, ProblemBody},
    state::Http,
    v1::{
        IdInPath,
        movement_form::{read_amount_field, read_reason},
        transfers::{MovementReceipt, receipt_answer},
        wallet_id,
    },
};

/// A correction.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({"direction": "CREDIT", "amount": "5.00", "reason": "Goodwill, ticket 4711"}))]
#[expect(dead_code, reason = "documents what the form reads")]
pub(crate) struct Adjustment {
    /// `CREDIT` adds, `DEBIT` subtracts.
    direction: String,
    /// A decimal number, as a number or a string; read exactly from its text.
    amount: String,
    /// At most 500 characters.
    reason: String,
}

fn read_side(form: &mut Form) -> Option<Side> {
    let text = form.text("direction", TextRule::REQUIRED)?;
    match text.as_str() {
        "CREDIT" => Some(Side::Credit),
        "DEBIT" => Some(Side::Debit),
        _ => {
            form.refuse("direction", format!("\"{text}\" is not a valid choice."));
            None
        }
    }
}

/// Correct a wallet's balance.
#[utoipa::path(post, path = "/api/v1/admin/wallets/{id}/adjustments", tag = "admin", security(("bearer" = [])),
    params(("id" = Uuid, Path, description = "The wallet"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable ASCII characters: \
        a repeated request with the same key has one effect")),
    request_body = Adjustment,
    responses((status = 201, description = "Corrected", body = MovementReceipt<'_>),
    (status = 400, description = "`validation_error`, `parse_error`, `invalid_idempotency_key`",
        body = ProblemBody<'_>),
    (status = 403, description = "`permission_denied`", body = ProblemBody<'_>),
    (status = 404, description = "`wallet_not_found`", body = ProblemBody<'_>),
    (status = 422, description = "`insufficient_funds`, `ceiling_exceeded`, `account_closed`, \
        `idempotency_key_reused`", body = ProblemBody<'_>)))]
pub(crate) async fn create_adjustment(
    State(http): State<Http>,
    path: IdInPath,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let caller = http.staff(&parts).await?;
    let id = wallet_id(&path).ok_or_else(|| Problem::not_found("wallet_not_found", "Wallet not found"))?;
    let asset = http.app.asset_of(&caller, id).await?;
    let mut form = Form::read(&parts, &http.read(body).await?)?;
    let side = read_side(&mut form);
    let amount = read_amount_field(&mut form, asset);
    let reason = read_reason(&mut form, true);
    form.finish()?;
    let (Some(side), Some(amount_minor)) = (side, amount) else { return Err(Problem::internal()) };
    let (wallet, amount) = (id.0.to_string(), amount_minor.to_string());
    let direction = if side == Side::Credit { "CREDIT" } else { "DEBIT" };
    let named = reason.as_deref().unwrap_or_default();
    let key = request_key(&parts.headers, &["adjustment", &wallet, direction, &amount, named])?;
    let receipt = http.app.adjust(&caller, id, side, Movement { amount_minor, asset, reason, key }).await?;
    Ok(receipt_answer(StatusCode::CREATED, &receipt))
}
