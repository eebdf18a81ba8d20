//! The wire: routes, dialects, limits and the document that describes them.
//!
//! To add an endpoint: one file in `v1/` (or `auth/`), one line in `route_table.rs`, its handler in `openapi.rs`.

mod auth;
mod busy;
mod caller;
mod client_address;
mod content_encoding;
mod django;
mod docs;
mod envelope;
mod idempotency_key;
mod limits;
mod metrics;
mod openapi;
mod options;
mod pagination;
mod probe;
mod problem;
mod refusal_log;
mod request_body;
mod request_id;
mod route_table;
mod router;
mod security_headers;
mod serve;
mod sign_in_limit;
mod site;
mod state;
mod v1;

pub use client_address::{Network, NotANetwork};
pub use metrics::{DURATION, DURATION_BUCKETS_S};
pub use openapi::openapi;
pub use options::{HttpOptions, Throttle};
pub use route_table::routes;
pub use router::router;
pub use serve::{ConnectionLimits, serve};
pub use site::Site;
