//! The OpenAPI document, generated from the handlers.

use serde_json::{Value, json};
use utoipa::{
    Modify, OpenApi,
    openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};

use crate::{
    auth, django, probe, problem,
    route_table::{Dialect, table},
    v1,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Florin",
        description = "Wallets with exact money. Sign in at `/api/auth/token/`, send the access token as \
            `Authorization: Bearer <token>`, and repeat requests that move money with the same `Idempotency-Key`.\n\n\
            Every path is answered with and without a slash at its end. Every answer carries `X-Request-Id`."
    ),
    paths(
        auth::register::register, auth::list_users::list_users, auth::get_me::get_me, auth::change_me::put_me,
        auth::change_me::patch_me, auth::delete_me::delete_me, auth::user::get_user, auth::user::put_user,
        auth::user::patch_user, auth::user::delete_user, auth::set_password::set_password,
        auth::set_username::set_username, auth::activation::activation, auth::activation::resend_activation,
        auth::reset_password::reset_password, auth::reset_password::reset_password_confirm,
        auth::token::create_token, auth::token::create_jwt, auth::refresh::refresh_token, auth::refresh::refresh_jwt,
        auth::verify::verify_token, auth::verify::verify_jwt,
        v1::wallets::get::get_wallet, v1::wallets::operation::operation, v1::wallets::list::list_wallets,
        v1::wallets::open::open_wallet, v1::wallets::history::list_operations,
        v1::wallets::statement::get_statement, v1::transfers::create_transfer,
        v1::batches::create_batch, v1::session::end_session, v1::session::logout, v1::ping::ping,
        v1::imports::list::list_imports, v1::imports::create::create_import, v1::imports::get::get_import,
        v1::imports::refused::list_refused,
        v1::admin::users::list_users, v1::admin::set_active::set_active, v1::admin::wallets::list_wallets,
        v1::admin::adjustments::create_adjustment,
        probe::healthz, probe::readyz, probe::metrics, probe::jwks,
    ),
    components(schemas(django::DetailBody<'_>, problem::ProblemBody<'_>)),
    tags(
        (name = "sessions", description = "Signing in and out"),
        (name = "users", description = "Registering, and one's own account"),
        (name = "wallets", description = "Wallets and money"),
        (name = "admin", description = "What staff may do"),
        (name = "probes", description = "For machines"),
    ),
    modifiers(&Bearer)
)]
struct Document;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
        openapi.components.get_or_insert_default().add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

/// The document as JSON, with the answers that every route may give filled in.
#[must_use]
pub fn openapi() -> Value {
    // The derived document always serializes; an empty one would fail the comparison with the routes.
    let mut document = serde_json::to_value(Document::openapi()).unwrap_or_default();
    let problem_paths: Vec<&str> =
        table().iter().filter(|route| route.dialect == Dialect::Problem).map(|route| route.path).collect();
    let Some(paths) = document.get_mut("paths").and_then(Value::as_object_mut) else { return document };
    for (path, item) in paths {
        let is_problem = problem_paths.contains(&path.trim_end_matches('/'));
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            if path.starts_with("/api") {
                add_shared_answers(operation, is_problem, matches!(method.as_str(), "post" | "put" | "patch"));
            }
        }
    }
    document
}

/// The document as YAML.
pub(crate) fn openapi_yaml() -> Result<String, String> {
    let document: utoipa::openapi::OpenApi = serde_json::from_value(openapi()).map_err(|error| error.to_string())?;
    document.to_yaml().map_err(|error| error.to_string())
}

fn add_shared_answers(operation: &mut Value, is_problem: bool, has_body: bool) {
    let is_public = operation.get("security").is_none();
    let takes_body = has_body && operation.get("requestBody").is_some();
    let Some(answers) = operation.get_mut("responses").and_then(Value::as_object_mut) else { return };
    let (kind, schema) = if is_problem {
        ("application/problem+json", "#/components/schemas/Problem")
    } else {
        ("application/json", "#/components/schemas/Detail")
    };
    for (status, answer) in answers.iter_mut() {
        if is_problem && status.starts_with(['4', '5']) {
            use_problem_type(answer);
        }
    }
    let mut add = |status: &str, description: &str| {
        let content = json!({ kind: { "schema": { "$ref": schema } } });
        let answer = json!({ "description": description, "content": content });
        answers.entry(status.to_owned()).or_insert(answer);
    };
    if !is_public {
        add("401", "No token, or not one that is alive (`not_authenticated`, `token_not_valid`, `user_not_found`)");
        add("429", "Too many requests (`throttled`), where a limit is set; `Retry-After` says when to come again");
    }
    if takes_body {
        add("413", "The body is too large (`body_too_large`)");
        let encoded = " or has a `Content-Encoding` (`unsupported_content_encoding`)";
        let encoded = if is_problem { encoded } else { "" };
        add("415", &format!("The body is not `application/json` (`unsupported_media_type`){encoded}"));
    }
    add("500", "A defect (`internal_error`); the request id finds it in the log");
    add("503", "Not now (`unavailable`, `timeout`); `Retry-After` says when to come again");
}

/// The macro writes `application/json` for every body; problems have a type of their own.
fn use_problem_type(answer: &mut Value) {
    let Some(content) = answer.get_mut("content").and_then(Value::as_object_mut) else { return };
    if let Some(body) = content.shift_remove("application/json") {
        content.insert("application/problem+json".to_owned(), body);
    }
}
