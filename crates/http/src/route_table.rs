//! Every route, in one table: path, methods, dialect.

use axum::{
    Router,
    http::{HeaderValue, StatusCode},
    routing::{MethodRouter, delete, get, patch, post},
};

use crate::{auth, django, docs, probe, problem::Problem, state::Http, v1};

/// In whose words a route refuses a method.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Of Django REST framework.
    Django,
    /// Problem bodies.
    Problem,
}

/// One route.
pub(crate) struct Route {
    /// Without a slash at its end; both forms are served.
    pub(crate) path: &'static str,
    /// What `Allow` says.
    pub(crate) allow: &'static str,
    pub(crate) dialect: Dialect,
    /// Whether the documentation describes it.
    pub(crate) documented: bool,
    pub(crate) methods: MethodRouter<Http>,
}

fn django(path: &'static str, allow: &'static str, methods: MethodRouter<Http>) -> Route {
    Route { path, allow, dialect: Dialect::Django, documented: true, methods }
}

fn own(path: &'static str, allow: &'static str, methods: MethodRouter<Http>) -> Route {
    Route { path, allow, dialect: Dialect::Problem, documented: true, methods }
}

const OBJECT: &str = "GET, PUT, PATCH, DELETE, HEAD, OPTIONS";
const LIST: &str = "GET, POST, HEAD, OPTIONS";
const ACT: &str = "POST, OPTIONS";
/// The Django wallet service names no `HEAD` on its wallet route; it is answered all the same.
const SHOW: &str = "GET, OPTIONS";
const READ: &str = "GET, HEAD, OPTIONS";

/// The table. `Allow` of the Django wallet service's routes is as that service has it.
pub(crate) fn table() -> Vec<Route> {
    let mut routes = auth_routes();
    routes.extend(wallet_routes());
    routes.extend(machine_routes());
    routes
}

fn auth_routes() -> Vec<Route> {
    use auth::{
        activation, change_me, delete_me, get_me, list_users, refresh, register, reset_password, set_password,
        set_username, token, user, verify,
    };
    let me = get(get_me::get_me).put(change_me::put_me).patch(change_me::patch_me).delete(delete_me::delete_me);
    let by_number = get(user::get_user).put(user::put_user).patch(user::patch_user).delete(user::delete_user);
    vec![
        django("/api/auth/users", LIST, get(list_users::list_users).post(register::register)),
        django("/api/auth/users/me", OBJECT, me),
        django("/api/auth/users/{id}", OBJECT, by_number),
        django("/api/auth/users/set_password", ACT, post(set_password::set_password)),
        django("/api/auth/users/set_username", ACT, post(set_username::set_username)),
        django("/api/auth/users/activation", ACT, post(activation::activation)),
        django("/api/auth/users/resend_activation", ACT, post(activation::resend_activation)),
        django("/api/auth/users/reset_password", ACT, post(reset_password::reset_password)),
        django("/api/auth/users/reset_password_confirm", ACT, post(reset_password::reset_password_confirm)),
        django("/api/auth/token", ACT, post(token::create_token)),
        django("/api/auth/token/refresh", ACT, post(refresh::refresh_token)),
        django("/api/auth/token/verify", ACT, post(verify::verify_token)),
        django("/api/auth/jwt/create", ACT, post(token::create_jwt)),
        django("/api/auth/jwt/refresh", ACT, post(refresh::refresh_jwt)),
        django("/api/auth/jwt/verify", ACT, post(verify::verify_jwt)),
    ]
}

fn wallet_routes() -> Vec<Route> {
    use v1::{admin, batches, imports, ping, session, transfers, wallets};
    let wallets_here = get(wallets::list::list_wallets).post(wallets::open::open_wallet);
    vec![
        django("/api/v1/wallets/{id}", SHOW, get(wallets::get::get_wallet)),
        django("/api/v1/wallets/{id}/operation", ACT, post(wallets::operation::operation)),
        django("/api/v1/ping", ACT, post(ping::ping)),
        own("/api/v1/wallets", LIST, wallets_here),
        own("/api/v1/wallets/{id}/operations", READ, get(wallets::history::list_operations)),
        own("/api/v1/wallets/{id}/statement", READ, get(wallets::statement::get_statement)),
        own("/api/v1/transfers", ACT, post(transfers::create_transfer)),
        own("/api/v1/batches", ACT, post(batches::create_batch)),
        own("/api/v1/session", "DELETE, OPTIONS", delete(session::end_session)),
        own("/api/v1/sessions/logout", ACT, post(session::logout)),
        own("/api/v1/imports", LIST, get(imports::list::list_imports).post(imports::create::create_import)),
        own("/api/v1/imports/{id}", READ, get(imports::get::get_import)),
        own("/api/v1/imports/{id}/refused", READ, get(imports::refused::list_refused)),
        own("/api/v1/admin/users", READ, get(admin::users::list_users)),
        own("/api/v1/admin/users/{number}", "PATCH, OPTIONS", patch(admin::set_active::set_active)),
        own("/api/v1/admin/wallets", READ, get(admin::wallets::list_wallets)),
        own("/api/v1/admin/wallets/{id}/adjustments", ACT, post(admin::adjustments::create_adjustment)),
    ]
}

fn machine_routes() -> Vec<Route> {
    let hidden = |path, methods| Route { documented: false, ..own(path, READ, methods) };
    vec![
        own("/healthz", READ, get(probe::healthz)),
        own("/readyz", READ, get(probe::readyz)),
        own("/metrics", READ, get(probe::metrics)),
        own("/.well-known/jwks.json", READ, get(probe::jwks)),
        hidden("/", get(probe::index)),
        hidden("/api/schema", get(docs::schema)),
        hidden("/api/schema/openapi.json", get(docs::schema_json)),
        hidden("/api/schema/openapi.yaml", get(docs::schema_yaml)),
    ]
}

impl Route {
    /// Both forms of the path.
    pub(crate) fn paths(&self) -> Vec<String> {
        if self.path == "/" { vec!["/".to_owned()] } else { vec![self.path.to_owned(), format!("{}/", self.path)] }
    }

    pub(crate) fn allow_header(&self) -> HeaderValue {
        HeaderValue::from_static(self.allow)
    }

    pub(crate) fn add_to(self, router: Router<Http>) -> Router<Http> {
        let paths = self.paths();
        let methods = self.methods.options(django::metadata);
        let methods = match self.dialect {
            Dialect::Django => methods.fallback(django::method_not_allowed),
            Dialect::Problem => methods.fallback(method_not_allowed),
        };
        paths.iter().fold(router, |router, path| router.route(path, methods.clone()))
    }
}

async fn method_not_allowed(method: axum::http::Method) -> Problem {
    let detail = format!("Method \"{method}\" not allowed.");
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Method not allowed", detail)
}

/// Every documented route: its path without a slash at the end, and its methods as `Allow` lists them.
#[must_use]
pub fn routes() -> Vec<(&'static str, &'static str)> {
    table().into_iter().filter(|route| route.documented).map(|route| (route.path, route.allow)).collect()
}
