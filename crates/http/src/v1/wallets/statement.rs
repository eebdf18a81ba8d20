//! `GET /api/v1/wallets/{id}/statement`: what a wallet held at both ends of a period, and what happened in it.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    Figure,
    history::{Asked, OperationLine, read_asked},
};
use crate::{
    django::json,
    pagination::cursor_text,
    problem::{Problem, ProblemBody},
    state::Http,
    v1::IdInPath,
};

const KNOWN: &[&str] = &["from", "to", "limit", "cursor"];

/// A period of a wallet's history.
#[derive(Serialize, ToSchema)]
pub(crate) struct Statement<'a> {
    /// The wallet.
    wallet: Uuid,
    /// What it counts.
    asset: &'a str,
    /// Settled balance before the first operation of the period.
    #[schema(value_type = String, example = "0.00")]
    opening_balance: Figure,
    /// Settled balance after the last one.
    #[schema(value_type = String, example = "1000.00")]
    closing_balance: Figure,
    /// How many operations the period has, on all pages together.
    operations: i64,
    /// The operations, newest first.
    items: Vec<OperationLine<'a>>,
    /// For the next page; null at the end.
    next_cursor: Option<String>,
}

/// Show what a wallet held when a period began and ended, and its operations in between.
#[utoipa::path(get, path = "/api/v1/wallets/{id}/statement", tag = "wallets", security(("bearer" = [])),
    params(("id" = Uuid, Path, description = "The wallet"),
        ("from" = Option<String>, Query, description = "It begins at this time (RFC 3339); with the wallet if missing"),
        ("to" = Option<String>, Query, description = "It ends before this time (RFC 3339); now if missing"),
        ("limit" = Option<u16>, Query, description = "1 to 200; 50 if missing"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before")),
    responses((status = 200, description = "The statement", body = Statement<'_>),
    (status = 400, description = "`validation_error`", body = ProblemBody<'_>),
    (status = 404, description = "`wallet_not_found`: no such wallet, or not yours", body = ProblemBody<'_>)))]
pub(crate) async fn get_statement(
    State(http): State<Http>,
    path: IdInPath,
    request: Request,
) -> Result<Response, Problem> {
    let Asked { caller, id, asset, filter, mut query } = read_asked(&http, &path, request, KNOWN).await?;
    if filter.from_us.zip(filter.to_us).is_some_and(|(from_us, to_us)| from_us > to_us) {
        query.refuse("to", "A time that is not before \"from\" is required.".to_owned());
    }
    query.finish()?;
    let (wallet, statement, page) = http.app.statement(&caller, id, filter).await?;
    let figure = |minor| Figure { minor, exponent: asset.exponent() };
    let code = asset.code();
    let body = Statement {
        wallet: wallet.id.0,
        asset: code.as_str(),
        opening_balance: figure(statement.opening_minor),
        closing_balance: figure(statement.closing_minor),
        operations: statement.operations,
        items: page.items.iter().map(|operation| OperationLine::new(operation, asset)).collect(),
        next_cursor: cursor_text(page.next),
    };
    Ok(json(StatusCode::OK, &body))
}
