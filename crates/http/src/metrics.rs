//! Measurements of requests: how many by method, route and status, and how long by route.

use std::{collections::HashMap, time::Duration};

use axum::http::{Method, StatusCode};
use metrics::{Counter, Histogram, counter, describe_counter, describe_histogram, histogram};
use parking_lot::RwLock;

const REQUESTS: &str = "florin_http_requests_total";
/// The histogram of durations.
pub const DURATION: &str = "florin_http_request_duration_seconds";
/// Buckets that suit it, seconds: for the recorder.
pub const DURATION_BUCKETS_S: &[f64] =
    &[0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Describes the series to whatever recorder is installed.
pub(crate) fn describe() {
    describe_counter!(REQUESTS, "Requests answered, by method, route and status");
    describe_histogram!(DURATION, metrics::Unit::Seconds, "Time from a request's head to its answer, by route");
}

/// One route's series; handles are kept, so that a request costs no lookup by label.
pub(crate) struct RouteMetrics {
    label: String,
    duration: Histogram,
    requests: RwLock<HashMap<(Method, StatusCode), Counter>>,
}

impl RouteMetrics {
    pub(crate) fn new(label: &str) -> Self {
        let duration = histogram!(DURATION, "route" => label.to_owned());
        Self { label: label.to_owned(), duration, requests: RwLock::default() }
    }

    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    pub(crate) fn record(&self, method: &Method, status: StatusCode, took_us: i64) {
        let took = Duration::from_micros(u64::try_from(took_us).unwrap_or_default());
        self.duration.record(took.as_secs_f64());
        let key = (known_method(method), status);
        if let Some(counter) = self.requests.read().get(&key) {
            counter.increment(1);
            return;
        }
        let name = key.0.as_str().to_owned();
        let counter = counter!(
            REQUESTS, "method" => name, "route" => self.label.clone(), "status" => status.as_str().to_owned()
        );
        counter.increment(1);
        self.requests.write().insert(key, counter);
    }
}

/// Clients may invent methods; they must not invent series.
fn known_method(method: &Method) -> Method {
    const KNOWN: [Method; 7] =
        [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::HEAD, Method::OPTIONS];
    if KNOWN.contains(method) { method.clone() } else { Method::TRACE }
}
