//! `GET /api/v1/wallets/{id}/operations`: what happened to a wallet.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use florin_app::{
    Caller,
    wallet::{HistoryFilter, Operation},
};
use florin_ledger::{AccountId, Kind, Side};
use florin_money::{Asset, parse_minor};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Figure;
use crate::{
    django::{json, time_text},
    pagination::{ListQuery, cursor_text},
    problem::{Problem, ProblemBody},
    state::Http,
    v1::{IdInPath, wallet_id},
};

const KNOWN: &[&str] = &["type", "from", "to", "min_amount", "max_amount", "limit", "cursor"];
const NOT_A_TIME: &str = "A time like 2025-01-19T10:00:00Z is required.";
const NOT_AN_AMOUNT: &str = "An amount in the wallet's asset is required.";

/// One line of a wallet's history.
#[derive(Serialize, ToSchema)]
#[schema(as = Operation, example = json!({
    "transaction_id": "0197b9a2-9e0a-7b1c-8c3d-1f2e3d4c5b6a", "type": "DEPOSIT", "direction": "CREDIT",
    "amount": "1000.00", "balance": "1000.00", "available": "1000.00", "version": 1,
    "counterpart": "1d3c5f7a-0000-5000-8000-000000000000", "reason": null, "recorded_at": "2025-01-19T10:00:00.123456Z"
}))]
pub(crate) struct OperationLine<'a> {
    /// The transaction.
    transaction_id: Uuid,
    /// `DEPOSIT`, `WITHDRAW`, `TRANSFER` or `ADJUSTMENT`.
    #[serde(rename = "type")]
    kind: &'a str,
    /// `CREDIT`: into the wallet; `DEBIT`: out of it.
    direction: &'a str,
    /// How much.
    #[schema(value_type = String)]
    amount: Figure,
    /// The wallet's settled balance after it.
    #[schema(value_type = String)]
    balance: Figure,
    /// What could be spent after it.
    #[schema(value_type = String)]
    available: Figure,
    /// The line's place in the history, from 1.
    version: i64,
    /// The other account.
    counterpart: Uuid,
    /// The reason given, if any.
    reason: Option<&'a str>,
    /// When.
    recorded_at: String,
}

/// A page of a wallet's history.
#[derive(Serialize, ToSchema)]
pub(crate) struct OperationPage<'a> {
    /// The lines, newest first.
    items: Vec<OperationLine<'a>>,
    /// For the next page; null at the end.
    next_cursor: Option<String>,
}

impl<'a> OperationLine<'a> {
    pub(super) fn new(operation: &'a Operation, asset: Asset) -> Self {
        let figure = |minor| Figure { minor, exponent: asset.exponent() };
        Self {
            transaction_id: operation.transaction_id.0,
            kind: operation.kind.as_str(),
            direction: if operation.side == Side::Credit { "CREDIT" } else { "DEBIT" },
            amount: figure(operation.amount_minor),
            balance: figure(operation.balance.posted_minor),
            available: figure(operation.balance.available_minor),
            version: operation.version,
            counterpart: operation.counterpart_id.0,
            reason: operation.reason.as_deref(),
            recorded_at: time_text(operation.recorded_at_us),
        }
    }
}

fn read_time(text: &str) -> Option<i64> {
    text.parse().ok().map(Timestamp::as_microsecond)
}

fn read_filter(query: &mut ListQuery, asset: Asset) -> HistoryFilter {
    let read_amount = |text: &str| parse_minor(text, asset.exponent()).ok().filter(|minor| *minor >= 0);
    HistoryFilter {
        kind: query.value("type", "DEPOSIT, WITHDRAW, TRANSFER or ADJUSTMENT is required.", Kind::from_name),
        from_us: query.value("from", NOT_A_TIME, read_time),
        to_us: query.value("to", NOT_A_TIME, read_time),
        min_minor: query.value("min_amount", NOT_AN_AMOUNT, read_amount),
        max_minor: query.value("max_amount", NOT_AN_AMOUNT, read_amount),
        before_version: query.cursor(|place| place.parse().ok()),
        limit: query.limit(),
    }
}

/// Who asks for which part of which history. The query is still to be finished.
pub(super) struct Asked {
    pub(super) caller: Caller,
    pub(super) id: AccountId,
    pub(super) asset: Asset,
    pub(super) filter: HistoryFilter,
    pub(super) query: ListQuery,
}

/// `known`: the query's members that the route takes.
pub(super) async fn read_asked(
    http: &Http,
    path: &IdInPath,
    request: Request,
    known: &[&'static str],
) -> Result<Asked, Problem> {
    let (parts, _) = request.into_parts();
    let caller = http.counted_caller(&parts.method, &parts.headers)?;
    let id = wallet_id(path).ok_or_else(|| Problem::not_found("wallet_not_found", "Wallet not found"))?;
    let asset = http.app.asset_of(&caller, id).await?;
    let mut query = ListQuery::read(&parts, known)?;
    let filter = read_filter(&mut query, asset);
    Ok(Asked { caller, id, asset, filter, query })
}

/// Show a wallet's history, newest first.
#[utoipa::path(get, path = "/api/v1/wallets/{id}/operations", tag = "wallets", security(("bearer" = [])),
    params(("id" = Uuid, Path, description = "The wallet"),
        ("type" = Option<String>, Query, description = "`DEPOSIT`, `WITHDRAW`, `TRANSFER` or `ADJUSTMENT`"),
        ("from" = Option<String>, Query, description = "Recorded at or after this time (RFC 3339)"),
        ("to" = Option<String>, Query, description = "Recorded before this time (RFC 3339)"),
        ("min_amount" = Option<String>, Query, description = "At least so much"),
        ("max_amount" = Option<String>, Query, description = "At most so much"),
        ("limit" = Option<u16>, Query, description = "1 to 200; 50 if missing"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before")),
    responses((status = 200, description = "A page", body = OperationPage<'_>),
    (status = 400, description = "`validation_error`", body = ProblemBody<'_>),
    (status = 404, description = "`wallet_not_found`: no such wallet, or not yours", body = ProblemBody<'_>)))]
pub(crate) async fn list_operations(
    State(http): State<Http>,
    path: IdInPath,
    request: Request,
) -> Result<Response, Problem> {
    let Asked { caller, id, filter, mut query, .. } = read_asked(&http, &path, request, KNOWN).await?;
    query.finish()?;
    let (wallet, page) = http.app.history(&caller, id, filter).await?;
    let items = page.items.iter().map(|operation| OperationLine::new(operation, wallet.asset)).collect();
    Ok(json(StatusCode::OK, &OperationPage { items, next_cursor: cursor_text(page.next) }))
}
