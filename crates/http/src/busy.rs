//! The cheapest answer there is: 503 on the head of a request alone, before its token and its body are looked at.

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};

use crate::{
    django::{DetailBody, RETRY_AFTER, UNAVAILABLE},
    request_id::{RequestId, X_REQUEST_ID},
    security_headers::add_security_headers,
};

/// A 503 that is written once and given often.
pub(crate) struct Busy {
    headers: HeaderMap,
    body: Bytes,
}

impl Busy {
    /// In the words of the dialect; `allow` is that of the route.
    pub(crate) fn new(allow: Option<&HeaderValue>) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::RETRY_AFTER, RETRY_AFTER);
        headers.extend(allow.map(|allow| (header::ALLOW, allow.clone())));
        add_security_headers(&mut headers, "");
        let body = serde_json::to_vec(&DetailBody { detail: UNAVAILABLE, code: None }).unwrap_or_default();
        Self { headers, body: body.into() }
    }

    pub(crate) fn answer(&self, id: &RequestId) -> Response {
        let mut response = Response::new(Body::from(self.body.clone()));
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        *response.headers_mut() = self.headers.clone();
        response.headers_mut().insert(X_REQUEST_ID, id.header());
        response
    }
}
