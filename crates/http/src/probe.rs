//! What machines ask: is it alive, is it ready, how is it doing, which keys sign its tokens.

use axum::{
    Json,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use florin_app::session::JWKS_MAX_AGE_S;
use serde_json::{Value, json};

use crate::{django::Refusal, envelope::Cause, state::Http};

/// The process is alive.
#[utoipa::path(get, path = "/healthz", tag = "probes",
    responses((status = 200, description = "Alive", body = Object, example = json!({"status": "ok"}))))]
pub(crate) async fn healthz() -> Response {
    Json(json!({"status": "ok"})).into_response()
}

/// The database answers.
#[utoipa::path(get, path = "/readyz", tag = "probes", responses(
    (status = 200, description = "Ready", body = Object, example = json!({"status": "ok"})),
    (status = 503, description = "Not ready", body = Object, example = json!({"status": "unavailable"}))))]
pub(crate) async fn readyz(State(http): State<Http>) -> Response {
    match http.app.is_ready().await {
        Ok(()) => Json(json!({"status": "ok"})).into_response(),
        Err(failure) => {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            let mut response = (status, Json(json!({"status": "unavailable"}))).into_response();
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            response.extensions_mut().insert(Cause::of(&failure));
            response
        }
    }
}

/// Measurements in the text format of Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "probes", responses(
    (status = 200, description = "Measurements", body = String, content_type = "text/plain"),
    (status = 404, description = "Not switched on")))]
pub(crate) async fn metrics(State(http): State<Http>) -> Response {
    match &http.options.metrics {
        Some(handle) => {
            let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            ([(header::CONTENT_TYPE, kind)], handle.render()).into_response()
        }
        None => Refusal::not_found().into_response(),
    }
}

/// The public keys that access tokens are checked with (RFC 7517).
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "probes",
    responses((status = 200, description = "A JSON Web Key Set", body = Object)))]
pub(crate) async fn jwks(State(http): State<Http>) -> Response {
    let keys: Value = http.app.jwks();
    ([(header::CACHE_CONTROL, format!("public, max-age={JWKS_MAX_AGE_S}"))], Json(keys)).into_response()
}

/// The way to the documentation.
pub(crate) async fn index() -> Redirect {
    Redirect::temporary("/api/docs/")
}
