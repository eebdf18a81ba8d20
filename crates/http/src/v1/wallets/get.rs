//! `GET /api/v1/wallets/{id}`.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};

use florin_ledger::AccountId;

use super::WalletBody;
use crate::{
    django::{DetailBody, Refusal, json},
    state::Http,
    v1::{IdInPath, wallet_id},
};

/// Show a wallet of yours.
#[utoipa::path(get, path = "/api/v1/wallets/{id}", tag = "wallets", security(("bearer" = [])),
    params(("id" = Uuid, Path, description = "The wallet")),
    responses((status = 200, description = "The wallet", body = WalletBody<'_>),
    (status = 404, description = "No such wallet, or not yours", body = DetailBody<'_>,
        example = json!({"detail": "Wallet not found"}))))]
pub(crate) async fn get_wallet(
    State(http): State<Http>,
    path: IdInPath,
    request: Request,
) -> Result<Response, Refusal> {
    answer(&http, wallet_id(&path), request).await
}

/// The same, for whoever has read the path already; `None` if it holds no id.
pub(crate) async fn answer(http: &Http, id: Option<AccountId>, request: Request) -> Result<Response, Refusal> {
    let caller = http.counted_caller(request.method(), request.headers())?;
    let id = id.ok_or_else(Refusal::not_found)?;
    let wallet = http.app.get_wallet(&caller, id).await?;
    Ok(json(StatusCode::OK, &WalletBody::from(&wallet)))
}
