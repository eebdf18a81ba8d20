//! What surrounds every request: its id, a time limit, headers, measurements and the log line.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{MatchedPath, Request, State},
    http::{HeaderValue, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use florin_app::Failure;

use crate::{
    metrics::RouteMetrics, problem::Problem, request_id::RequestId, request_id::X_REQUEST_ID,
    security_headers::add_security_headers, state::Http,
};

/// Why a request failed, for the log alone. Travels in the answer's extensions.
#[derive(Debug, Clone)]
pub(crate) struct Cause {
    is_defect: bool,
    text: Arc<str>,
}

impl Cause {
    pub(crate) fn of(failure: &Failure) -> Self {
        Self { is_defect: matches!(failure, Failure::Internal(_)), text: failure.to_string().into() }
    }

    pub(crate) fn defect(text: &str) -> Self {
        Self { is_defect: true, text: text.into() }
    }
}

/// What is known of a route before a request comes.
pub(crate) struct RouteFacts {
    pub(crate) allow: Option<HeaderValue>,
    pub(crate) metrics: RouteMetrics,
}

/// Shared by all requests.
pub(crate) struct Envelope {
    pub(crate) http: Http,
    pub(crate) timeout: Duration,
    /// By the path as the router knows it.
    pub(crate) routes: HashMap<String, Arc<RouteFacts>>,
    /// For what no route takes.
    pub(crate) unmatched: Arc<RouteFacts>,
}

/// The middleware.
pub(crate) async fn envelope(State(envelope): State<Arc<Envelope>>, mut request: Request, next: Next) -> Response {
    let app = &envelope.http.app;
    let started_us = app.clock().elapsed_us();
    let id = RequestId::of(request.headers(), app.rng());
    let facts = request
        .extensions()
        .get::<MatchedPath>()
        .and_then(|path| envelope.routes.get(path.as_str()))
        .unwrap_or(&envelope.unmatched)
        .clone();
    let method = request.method().clone();
    let is_docs = request.uri().path().starts_with("/api/docs");
    request.extensions_mut().insert(id.clone());

    let answer = tokio::time::timeout(envelope.timeout, next.run(request)).await;
    let mut response = answer.unwrap_or_else(|_| Problem::timeout().into_response());

    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        // A HEAD answer has no body; hyper drops it.
        *response.body_mut() = problem.render(&id);
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    let headers = response.headers_mut();
    headers.insert(X_REQUEST_ID, id.header());
    if let Some(allow) = &facts.allow {
        headers.entry(header::ALLOW).or_insert_with(|| allow.clone());
    }
    add_security_headers(headers, if is_docs { "/api/docs" } else { "" });

    let took_us = app.clock().elapsed_us() - started_us;
    facts.metrics.record(&method, response.status(), took_us);
    log(&response, &id, &method, &facts.metrics, took_us);
    response
}

/// A defect is logged once, here, with its request's id; the answer stays opaque. No path, since paths may hold ids
/// that clients consider private, and no query.
fn log(response: &Response<Body>, id: &RequestId, method: &axum::http::Method, route: &RouteMetrics, took_us: i64) {
    let (request_id, route, status) = (id.as_str(), route.label(), response.status().as_u16());
    match response.extensions().get::<Cause>() {
        Some(cause) if cause.is_defect => {
            tracing::error!(request_id, %method, route, status, took_us, cause = &*cause.text, "request failed");
        }
        Some(cause) => {
            tracing::warn!(request_id, %method, route, status, took_us, cause = &*cause.text, "request refused");
        }
        None => tracing::debug!(request_id, %method, route, status, took_us, "request answered"),
    }
}
