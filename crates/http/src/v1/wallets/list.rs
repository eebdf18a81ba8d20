//! `GET /api/v1/wallets`: the caller's wallets.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use florin_app::wallet::{Page, Wallet};
use serde::Serialize;
use utoipa::ToSchema;

use super::WalletBody;
use crate::{
    django::json,
    pagination::{ListQuery, cursor_text},
    problem::{Problem, ProblemBody},
    state::Http,
    v1::parse_uuid,
};

/// A page of wallets.
#[derive(Serialize, ToSchema)]
pub(crate) struct WalletPage<'a> {
    /// The wallets.
    items: Vec<WalletBody<'a>>,
    /// For the next page; null at the end.
    next_cursor: Option<String>,
}

impl<'a> From<&'a Page<Wallet>> for WalletPage<'a> {
    fn from(page: &'a Page<Wallet>) -> Self {
        Self { items: page.items.iter().map(WalletBody::from).collect(), next_cursor: cursor_text(page.next.clone()) }
    }
}

/// List your wallets, oldest first.
#[utoipa::path(get, path = "/api/v1/wallets", tag = "wallets", security(("bearer" = [])),
    params(("limit" = Option<u16>, Query, description = "1 to 200; 50 if missing"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before")),
    responses((status = 200, description = "A page", body = WalletPage<'_>),
    (status = 400, description = "`validation_error`", body = ProblemBody<'_>)))]
pub(crate) async fn list_wallets(State(http): State<Http>, request: Request) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let caller = http.counted_caller(&parts.method, &parts.headers)?;
    let mut query = ListQuery::read(&parts, &["limit", "cursor"])?;
    let (limit, after) = (query.limit(), query.cursor(parse_uuid));
    query.finish()?;
    let page = http.app.list_wallets(&caller, after, limit).await?;
    Ok(json(StatusCode::OK, &WalletPage::from(&page)))
}
