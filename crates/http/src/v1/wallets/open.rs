//! `POST /api/v1/wallets`: a new wallet.

use axum::{
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use serde::Deserialize;
use utoipa::ToSchema;

use super::WalletBody;
use crate::{
    django::{Form, TextRule, json},
    idempotency_key::{mark_replayed, request_key},
    problem::{Problem, ProblemBody},
    state::Http,
};

const LABEL_MAX_CHARS: usize = 100;

/// A new wallet.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({"asset": "EUR", "label": "Savings"}))]
#[expect(dead_code, reason = "documents what the form reads")]
pub(crate) struct NewWallet {
    /// An ISO 4217 code, or a unit of the operator's; the operator's default if missing.
    #[schema(required = false)]
    asset: String,
    /// Your name for it, at most 100 characters.
    #[schema(required = false)]
    label: String,
}

/// Open a wallet.
#[utoipa::path(post, path = "/api/v1/wallets", tag = "wallets", security(("bearer" = [])), request_body = NewWallet,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable ASCII characters: \
        a repeated request with the same key has one effect")),
    responses((status = 201, description = "Opened", body = WalletBody<'_>,
        headers(("Location" = String, description = "The wallet's path"))),
    (status = 400, description = "`validation_error`, `parse_error`, `invalid_idempotency_key`",
        body = ProblemBody<'_>),
    (status = 422, description = "`unknown_asset`, `idempotency_key_reused`", body = ProblemBody<'_>)))]
pub(crate) async fn open_wallet(State(http): State<Http>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let caller = http.counted_caller(&parts.method, &parts.headers)?;
    let mut form = Form::read(&parts, &http.read(body).await?)?;
    let optional = TextRule { null_ok: true, ..TextRule::default() };
    let asset = form.text("asset", optional);
    let rule = TextRule { blank_ok: true, max_chars: LABEL_MAX_CHARS, ..optional };
    let label = form.text("label", rule).unwrap_or_default();
    form.finish()?;
    let key = request_key(&parts.headers, &["open", asset.as_deref().unwrap_or_default(), &label])?;
    let (wallet, replayed) = http.app.open_wallet(&caller, asset.as_deref(), &label, key).await?;
    let mut response = json(StatusCode::CREATED, &WalletBody::from(&wallet));
    if let Ok(location) = HeaderValue::try_from(format!("/api/v1/wallets/{}", wallet.id.0)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    mark_replayed(&mut response, replayed);
    Ok(response)
}
