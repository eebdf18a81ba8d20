//! `GET /api/v1/admin/wallets`.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use florin_app::wallet::Wallet;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    django::json,
    pagination::{ListQuery, cursor_text},
    problem::{Problem, ProblemBody},
    state::Http,
    v1::{parse_uuid, wallets::WalletBody},
};

/// A wallet and whose it is.
#[derive(Serialize, ToSchema)]
pub(crate) struct StaffWallet<'a> {
    #[serde(flatten)]
    wallet: WalletBody<'a>,
    /// The owner's `uuid`.
    owner: Uuid,
}

/// A page of wallets.
#[derive(Serialize, ToSchema)]
pub(crate) struct StaffWalletPage<'a> {
    /// The wallets.
    items: Vec<StaffWallet<'a>>,
    /// For the next page; null at the end.
    next_cursor: Option<String>,
}

impl<'a> From<&'a Wallet> for StaffWallet<'a> {
    fn from(wallet: &'a Wallet) -> Self {
        Self { wallet: WalletBody::from(wallet), owner: wallet.owner_id }
    }
}

/// List everybody's wallets, or one user's.
#[utoipa::path(get, path = "/api/v1/admin/wallets", operation_id = "staff_list_wallets", tag = "admin",
    security(("bearer" = [])),
    params(("owner" = Option<i64>, Query, description = "The number of the user whose wallets to show"),
        ("limit" = Option<u16>, Query, description = "1 to 200; 50 if missing"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before")),
    responses((status = 200, description = "A page", body = StaffWalletPage<'_>),
    (status = 400, description = "`validation_error`", body = ProblemBody<'_>),
    (status = 403, description = "`permission_denied`", body = ProblemBody<'_>)))]
pub(crate) async fn list_wallets(State(http): State<Http>, request: Request) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let caller = http.staff(&parts).await?;
    let mut query = ListQuery::read(&parts, &["owner", "limit", "cursor"])?;
    let (limit, after) = (query.limit(), query.cursor(parse_uuid));
    let owner = query.value("owner", "A user's number is required.", |text| text.parse().ok());
    query.finish()?;
    let page = http.app.staff_list_wallets(&caller, after, limit, owner).await?;
    let items = page.items.iter().map(StaffWallet::from).collect();
    Ok(json(StatusCode::OK, &StaffWalletPage { items, next_cursor: cursor_text(page.next) }))
}
