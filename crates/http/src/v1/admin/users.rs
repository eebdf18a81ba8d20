//! `GET /api/v1/admin/users`.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use florin_app::user::User;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    django::{json, time_text},
    pagination::{ListQuery, cursor_text},
    problem::{Problem, ProblemBody},
    state::Http,
};

/// A user, as staff see one.
#[derive(Serialize, ToSchema)]
pub(crate) struct StaffUser<'a> {
    /// May be empty.
    email: &'a str,
    /// The user's number.
    id: i64,
    /// Name to sign in with.
    username: &'a str,
    /// The user's id inside Florin.
    uuid: Uuid,
    /// A disabled user cannot sign in.
    is_active: bool,
    /// Staff routes are open.
    is_staff: bool,
    /// Made on the command line.
    is_superuser: bool,
    /// When the user registered.
    created_at: String,
}

impl<'a> From<&'a User> for StaffUser<'a> {
    fn from(user: &'a User) -> Self {
        Self {
            email: &user.email,
            id: user.number,
            username: &user.username,
            uuid: user.id,
            is_active: user.is_active,
            is_staff: user.is_staff,
            is_superuser: user.is_superuser,
            created_at: time_text(user.created_at_us),
        }
    }
}

/// A page of users.
#[derive(Serialize, ToSchema)]
pub(crate) struct StaffUserPage<'a> {
    /// The users.
    items: Vec<StaffUser<'a>>,
    /// For the next page; null at the end.
    next_cursor: Option<String>,
}

/// List users.
#[utoipa::path(get, path = "/api/v1/admin/users", operation_id = "staff_list_users", tag = "admin",
    security(("bearer" = [])),
    params(("query" = Option<String>, Query, description = "Part of a username or an e-mail address"),
        ("limit" = Option<u16>, Query, description = "1 to 200; 50 if missing"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before")),
    responses((status = 200, description = "A page", body = StaffUserPage<'_>),
    (status = 400, description = "`validation_error`", body = ProblemBody<'_>),
    (status = 403, description = "`permission_denied`", body = ProblemBody<'_>)))]
pub(crate) async fn list_users(State(http): State<Http>, request: Request) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let caller = http.staff(&parts).await?;
    let mut query = ListQuery::read(&parts, &["query", "limit", "cursor"])?;
    let (limit, after) = (query.limit(), query.cursor(|place| Some(place.to_owned())));
    let wanted = query.find("query").map(ToOwned::to_owned);
    query.finish()?;
    let page = http.app.list_users(&caller, after.as_deref(), limit, wanted.as_deref()).await?;
    let items = page.items.iter().map(StaffUser::from).collect();
    Ok(json(StatusCode::OK, &StaffUserPage { items, next_cursor: cursor_text(page.next) }))
}
