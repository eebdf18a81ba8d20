//! What surrounds every request: its id, a time limit, headers, measurements and the log line.

use std::{any::Any, collections::HashMap, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{MatchedPath, Request, State},
    http::{HeaderValue, Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use florin_app::Failure;
use futures_util::FutureExt as _;

use crate::{
    busy::Busy,
    content_encoding::refuse_encoded,
    metrics::RouteMetrics,
    problem::Problem,
    refusal_log::RefusalLog,
    request_id::{RequestId, X_REQUEST_ID},
    route_table::{Dialect, Route},
    security_headers::add_security_headers,
    state::Http,
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
    /// Whether a body with a content coding is refused. The Django wallet service looks at none.
    pub(crate) reads_plain_bodies: bool,
}

impl RouteFacts {
    pub(crate) fn of(route: &Route) -> Self {
        Self {
            allow: Some(route.allow_header()),
            metrics: RouteMetrics::new(route.path),
            reads_plain_bodies: route.dialect == Dialect::Problem,
        }
    }

    /// Of what no route takes.
    pub(crate) fn unmatched() -> Self {
        Self { allow: None, metrics: RouteMetrics::new("other"), reads_plain_bodies: false }
    }
}

/// Shared by all requests.
pub(crate) struct Envelope {
    pub(crate) http: Http,
    pub(crate) timeout: Duration,
    /// By the path as the router knows it.
    pub(crate) routes: HashMap<String, Arc<RouteFacts>>,
    /// For what no route takes.
    pub(crate) unmatched: Arc<RouteFacts>,
    pub(crate) refusals: RefusalLog,
}

/// The middleware, for what the router takes.
pub(crate) async fn envelope(State(envelope): State<Arc<Envelope>>, mut request: Request, next: Next) -> Response {
    let facts = request
        .extensions()
        .get::<MatchedPath>()
        .and_then(|path| envelope.routes.get(path.as_str()))
        .unwrap_or(&envelope.unmatched);
    let facts = Arc::clone(facts);
    let arrival = envelope.arrival(&request);
    request.extensions_mut().insert(arrival.id.clone());
    let refusal = if facts.reads_plain_bodies { refuse_encoded(&request) } else { None };
    let run = async {
        match refusal {
            Some(refusal) => refusal,
            None => next.run(request).await,
        }
    };
    surround(&envelope, &facts, arrival, run).await
}

/// What is kept of a request while it is answered.
pub(crate) struct Arrival {
    started_us: i64,
    id: RequestId,
    method: Method,
    is_docs: bool,
}

impl Envelope {
    pub(crate) fn arrival(&self, request: &Request) -> Arrival {
        let app = &self.http.app;
        Arrival {
            started_us: app.clock().elapsed_us(),
            id: RequestId::of(request.headers(), app.rng()),
            method: request.method().clone(),
            is_docs: request.uri().path().starts_with("/api/docs"),
        }
    }
}

impl Envelope {
    /// Answers a request that nothing can be done for now, with little more than it takes to count it.
    pub(crate) fn refuse(&self, facts: &RouteFacts, arrival: &Arrival, busy: &Busy) -> Response {
        let response = busy.answer(&arrival.id);
        let now_us = self.http.app.clock().elapsed_us();
        let took_us = now_us - arrival.started_us;
        facts.metrics.record(&arrival.method, response.status(), took_us);
        if let Some(left_out) = self.refusals.admit(now_us) {
            let (request_id, method, route) = (arrival.id.as_str(), &arrival.method, facts.metrics.label());
            let (status, cause) = (response.status().as_u16(), "the commit queue is full");
            tracing::warn!(request_id, %method, route, status, took_us, left_out, cause, "request refused");
        }
        response
    }
}

/// Answers a request with what `run` comes to, and with all that every answer has. A panic is a defect of this request
/// alone.
pub(crate) async fn surround(
    envelope: &Envelope,
    facts: &RouteFacts,
    arrival: Arrival,
    run: impl Future<Output: IntoResponse>,
) -> Response {
    let Arrival { started_us, id, method, is_docs } = arrival;
    let running = AssertUnwindSafe(run).catch_unwind();
    let mut response = match tokio::time::timeout(envelope.timeout, running).await {
        Ok(Ok(answer)) => answer.into_response(),
        Ok(Err(panic)) => on_panic(&*panic),
        Err(_) => Problem::timeout().into_response(),
    };

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

    let now_us = envelope.http.app.clock().elapsed_us();
    let took_us = now_us - started_us;
    facts.metrics.record(&method, response.status(), took_us);
    log(&response, (&id, &method, &facts.metrics), took_us, || envelope.refusals.admit(now_us));
    response
}

/// The panic's text is for the log; the answer stays opaque.
fn on_panic(panic: &(dyn Any + Send)) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    let mut response = Problem::internal().into_response();
    response.extensions_mut().insert(Cause::defect(text.unwrap_or("panic")));
    response
}

/// A defect is logged once, here, with its request's id; the answer stays opaque. Of refusals only as many as `admit`
/// lets through. No path, since paths may hold ids that clients consider private, and no query.
fn log(
    response: &Response<Body>,
    (id, method, route): (&RequestId, &Method, &RouteMetrics),
    took_us: i64,
    admit: impl FnOnce() -> Option<u64>,
) {
    let (request_id, route, status) = (id.as_str(), route.label(), response.status().as_u16());
    match response.extensions().get::<Cause>() {
        Some(cause) if cause.is_defect => {
            tracing::error!(request_id, %method, route, status, took_us, cause = &*cause.text, "request failed");
        }
        Some(cause) => {
            let Some(left_out) = admit() else { return };
            let cause = &*cause.text;
            tracing::warn!(request_id, %method, route, status, took_us, left_out, cause, "request refused");
        }
        None => tracing::debug!(request_id, %method, route, status, took_us, "request answered"),
    }
}

#[cfg(test)]
mod tests {
    use florin_testkit::service::Service;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_a_defect_of_its_request_alone() {
        let http = Http::new(Service::new().app, crate::HttpOptions::default());
        let unmatched = Arc::new(RouteFacts::unmatched());
        let timeout = Duration::from_secs(60);
        let refusals = RefusalLog::default();
        let envelope = Envelope { http, timeout, routes: HashMap::new(), unmatched: Arc::clone(&unmatched), refusals };
        let request = Request::get("/").header("x-request-id", "one").body(Body::empty()).unwrap();
        let arrival = envelope.arrival(&request);
        let run = async {
            if request.uri().path() == "/" {
                panic!("a secret");
            }
        };
        let response = surround(&envelope, &unmatched, arrival, run).await;
        assert_eq!(response.status(), axum::http::StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(response.headers()[X_REQUEST_ID], "one");
        assert!(response.extensions().get::<Cause>().is_some_and(|cause| &*cause.text == "a secret"));
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        assert!(!String::from_utf8_lossy(&body).contains("secret"));
    }
}
