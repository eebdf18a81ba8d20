//! `POST /api/v1/ping`: an operation's way in and out, without the ledger.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use florin_money::format_minor;
use serde::Serialize;
use utoipa::ToSchema;

use super::wallets::operation::OperationBody;
use crate::{
    django::{OperationForm, Refusal, json},
    state::Http,
};

/// The operation as understood.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"operation_type": "DEPOSIT", "amount": "1000.00"}))]
pub(crate) struct Pong<'a> {
    /// `DEPOSIT` or `WITHDRAW`.
    operation_type: &'a str,
    /// In the default asset.
    amount: String,
}

/// Check connection, token and body: reads an operation as the wallet route does, echoes it and stores nothing.
#[utoipa::path(post, path = "/api/v1/ping", tag = "wallets", security(("bearer" = [])), request_body = OperationBody,
    responses((status = 200, description = "The operation as understood", body = Pong<'_>),
    (status = 400, description = "Messages by field", body = Object,
        example = json!({"errors": {"amount": ["A valid number is required."]}}))))]
pub(crate) async fn ping(State(http): State<Http>, request: Request) -> Result<Response, Refusal> {
    answer(&http, request).await
}

/// The same, for whoever has found the route already.
pub(crate) async fn answer(http: &Http, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    http.counted_caller(&parts.method, &parts.headers)?;
    let asset = http.app.settings().default_asset;
    let form = OperationForm::read(&parts.headers, &http.read(body).await?, asset)?;
    let amount = format_minor(form.amount_minor, asset.exponent());
    Ok(json(StatusCode::OK, &Pong { operation_type: form.kind.as_str(), amount }))
}
