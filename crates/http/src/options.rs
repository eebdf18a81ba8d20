//! What the operator decides about the wire.

use std::time::Duration;

use florin_app::import::ImportFolder;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::Network;

/// How many requests a user may make in an hour, reads and writes counted together, as the Django wallet service
/// counts them: a write is refused when `writes_per_hour` requests were made in the last hour, a read when
/// `reads_per_hour` were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttle {
    /// Requests in the last hour from which on a read is refused.
    pub reads_per_hour: usize,
    /// Requests in the last hour from which on a write is refused.
    pub writes_per_hour: usize,
}

/// The wire's settings.
#[derive(Clone)]
pub struct HttpOptions {
    /// Largest request body, bytes.
    pub body_limit: usize,
    /// Longest time from a request's head to its answer.
    pub request_timeout: Duration,
    /// Origins that browsers may call from, compared exactly. Empty: no CORS headers at all.
    pub cors_origins: Vec<String>,
    /// Off when `None`.
    pub throttle: Option<Throttle>,
    /// Proxies that are believed about where a request comes from (`X-Forwarded-For`). Nobody else is.
    pub trusted_proxies: Vec<Network>,
    /// Failed sign-ins from one address (IPv6: one /64) in ten minutes from which on its sign-ins are refused; failures
    /// under half as many different names are enough. Off when `None`.
    pub sign_in_failures_per_address: Option<u32>,
    /// Where files of imports are put; without it there are no imports.
    pub imports: Option<ImportFolder>,
    /// Renders `/metrics`; without it the route answers 404.
    pub metrics: Option<PrometheusHandle>,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            body_limit: 64 * 1024,
            request_timeout: Duration::from_secs(30),
            cors_origins: Vec::new(),
            throttle: None,
            trusted_proxies: Vec::new(),
            sign_in_failures_per_address: Some(20),
            imports: None,
            metrics: None,
        }
    }
}
