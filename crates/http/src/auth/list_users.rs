//! `GET /api/auth/users/`: the caller alone; for staff, everybody.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};

use super::UserBody;
use crate::{
    django::{Refusal, json},
    state::Http,
};

const PAGE: u16 = 200;
/// The route has no pages; beyond this, staff use the paged list.
const MOST: usize = 1000;

/// List users: yourself, or everybody (at most 1000) for staff.
#[utoipa::path(get, path = "/api/auth/users/", tag = "users", security(("bearer" = [])), responses(
    (status = 200, description = "A plain array", body = Vec<UserBody<'_>>)))]
pub(crate) async fn list_users(State(http): State<Http>, request: Request) -> Result<Response, Refusal> {
    let caller = http.app.with_current_rights(&http.caller(request.headers())?).await?;
    let mut users = Vec::new();
    if caller.is_staff {
        let mut after: Option<String> = None;
        while users.len() < MOST {
            let page = http.app.list_users(&caller, after.as_deref(), PAGE, None).await?;
            users.extend(page.items);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    } else {
        users.push(http.app.get_user(&caller).await?);
    }
    Ok(json(StatusCode::OK, &users.iter().map(UserBody::from).collect::<Vec<_>>()))
}
