//! `POST /api/v1/wallets/{id}/operation`: a deposit or a withdrawal.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use florin_app::wallet::Movement;
use florin_ledger::AccountId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::WalletBody;
use crate::{
    django::{DetailBody, OperationForm, Refusal, json},
    idempotency_key::{mark_replayed, request_key},
    state::Http,
    v1::{IdInPath, wallet_id},
};

/// An operation.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({"operation_type": "DEPOSIT", "amount": 1000}))]
#[expect(dead_code, reason = "documents what the form reads")]
pub(crate) struct OperationBody {
    /// `DEPOSIT` adds, `WITHDRAW` subtracts.
    operation_type: OperationType,
    /// A decimal number greater than zero, as a number or a string; read exactly from its text. At most 18 digits
    /// before the point, and as many after it as the wallet's asset has.
    #[schema(value_type = f64)]
    amount: serde_json::Number,
    /// At most 500 characters.
    #[schema(required = false)]
    reason: String,
}

/// What an operation does.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum OperationType {
    /// Adds.
    Deposit,
    /// Subtracts.
    Withdraw,
}

/// The wallet after an operation.
#[derive(Serialize, ToSchema)]
pub(crate) struct OperationAnswer<'a> {
    #[serde(flatten)]
    wallet: WalletBody<'a>,
    /// The transaction.
    transaction_id: Uuid,
}

/// Deposit to or withdraw from a wallet of yours.
#[utoipa::path(post, path = "/api/v1/wallets/{id}/operation", tag = "wallets", security(("bearer" = [])),
    params(("id" = Uuid, Path, description = "The wallet"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable ASCII characters: a repeated \
        request with the same key has one effect, and its answer carries `Idempotency-Replayed: true`")),
    request_body = OperationBody,
    responses((status = 200, description = "The wallet after the operation", body = OperationAnswer<'_>),
    (status = 400, description = "Messages by field, insufficient balance, or a body that cannot be read",
        body = Object, example = json!({"errors": {"non_field_errors":
        ["Insufficient balance. Current balance: 1000.00, Required: 1000.01"]}})),
    (status = 403, description = "Users may not deposit or withdraw themselves here", body = DetailBody<'_>),
    (status = 404, description = "No such wallet, or not yours", body = DetailBody<'_>,
        example = json!({"detail": "Wallet not found"})),
    (status = 422, description = "The key was used with another request", body = Object,
        example = json!({"errors": {"non_field_errors": ["This Idempotency-Key was used with another request."]}}))))]
pub(crate) async fn operation(State(http): State<Http>, path: IdInPath, request: Request) -> Result<Response, Refusal> {
    answer(&http, wallet_id(&path), request).await
}

/// The same, for whoever has read the path already; `None` if it holds no id.
pub(crate) async fn answer(http: &Http, id: Option<AccountId>, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let caller = http.counted_caller(&parts.method, &parts.headers)?;
    let id = id.ok_or_else(Refusal::not_found)?;
    // The wallet is looked up before the body is looked at: nobody learns from a 400 that a wallet exists.
    let asset = http.app.asset_of(&caller, id).await?;
    let OperationForm { kind, amount_minor, reason } =
        OperationForm::read(&parts.headers, &http.read(body).await?, asset)?;
    let key = if parts.headers.contains_key("idempotency-key") {
        let (id, amount) = (id.0.to_string(), amount_minor.to_string());
        let named = reason.as_deref().unwrap_or_default();
        let request = ["operation", &id, kind.as_str(), &amount, named];
        request_key(&parts.headers, &request).map_err(|invalid| Refusal::from(invalid).under_errors())?
    } else {
        None
    };
    let movement = Movement { amount_minor, asset, reason, key };
    let receipt = http.app.operate(&caller, id, kind, movement).await?;
    let wallet = WalletBody::from(&receipt.wallet);
    let mut response = json(StatusCode::OK, &OperationAnswer { wallet, transaction_id: receipt.transaction_id.0 });
    mark_replayed(&mut response, receipt.replayed);
    Ok(response)
}
