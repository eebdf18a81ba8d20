//! The document and the pages that show it.

use std::sync::OnceLock;

use axum::{
    Router,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::{
    django::Refusal,
    openapi::{openapi, openapi_yaml},
    state::Http,
};

/// Swagger UI at `/api/docs/`; it keeps the token that was entered.
pub(crate) fn pages() -> Router<Http> {
    let config = Config::new(["/api/schema/openapi.json"])
        .persist_authorization(true)
        .try_it_out_enabled(true)
        .display_request_duration(true)
        // No other server is told of this one.
        .validator_url("none");
    SwaggerUi::new("/api/docs").config(config).into()
}

fn json_text() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| openapi().to_string())
}

fn typed(kind: &'static str, text: &'static str) -> Response {
    let cache = HeaderValue::from_static("no-cache");
    ([(header::CONTENT_TYPE, HeaderValue::from_static(kind)), (header::CACHE_CONTROL, cache)], text).into_response()
}

/// The document in the form that `Accept` names first; JSON if it names neither.
pub(crate) async fn schema(headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let first = accept.split(',').find(|kind| kind.contains("yaml") || kind.contains("json") || kind.contains("*/*"));
    if first.is_some_and(|kind| kind.contains("yaml")) { schema_yaml().await } else { schema_json().await }
}

/// The document as JSON.
pub(crate) async fn schema_json() -> Response {
    typed("application/json", json_text())
}

/// The document as YAML.
pub(crate) async fn schema_yaml() -> Response {
    static TEXT: OnceLock<Result<String, String>> = OnceLock::new();
    match TEXT.get_or_init(openapi_yaml) {
        Ok(text) => typed("application/yaml", text),
        Err(error) => Refusal::defect(error).into_response(),
    }
}
