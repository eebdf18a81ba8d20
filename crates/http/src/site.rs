//! The whole wire as one service: a short way for the three busiest routes, the router for all others.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{Router, body::Body, extract::Request, http::Method, response::Response};
use florin_ledger::AccountId;
use tower::Service;
use tower_http::cors::{Cors, CorsLayer};

use crate::{
    busy::Busy,
    django::Refusal,
    envelope::{Envelope, RouteFacts, surround},
    v1::{parse_uuid, ping, wallets},
};

/// Paths, as the route table has them, that have a short way.
pub(crate) const WALLET: &str = "/api/v1/wallets/{id}";
pub(crate) const OPERATION: &str = "/api/v1/wallets/{id}/operation";
pub(crate) const PING: &str = "/api/v1/ping";

/// Answers requests. Cheap to clone.
#[derive(Clone)]
pub struct Site {
    inner: Arc<Inner>,
    cors: Option<Cors<Plain>>,
}

/// What [`Site`] points to.
pub(crate) struct Inner {
    pub(crate) envelope: Arc<Envelope>,
    pub(crate) wallet: Arc<RouteFacts>,
    pub(crate) operation: Arc<RouteFacts>,
    pub(crate) ping: Arc<RouteFacts>,
    pub(crate) busy: Busy,
    /// Takes everything, the short ways' routes too: what comes in another form or with another method.
    pub(crate) router: Router,
}

/// A request that needs no routing: its path in the one form that nearly all clients send, and its method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ShortWay {
    Wallet(AccountId),
    Operation(AccountId),
    Ping,
}

impl ShortWay {
    fn of(method: &Method, path: &str) -> Option<Self> {
        let path = path.strip_suffix('/').unwrap_or(path).strip_prefix("/api/v1/")?;
        let Some(rest) = path.strip_prefix("wallets/") else {
            return (path == "ping" && *method == Method::POST).then_some(Self::Ping);
        };
        let (id, rest) = rest.split_at_checked(36)?;
        let is_operation = match rest {
            "" if *method == Method::GET => false,
            "/operation" if *method == Method::POST => true,
            _ => return None,
        };
        let id = AccountId(parse_uuid(id)?);
        Some(if is_operation { Self::Operation(id) } else { Self::Wallet(id) })
    }
}

impl Site {
    pub(crate) fn new(inner: Inner, cors: Option<CorsLayer>) -> Self {
        let inner = Arc::new(inner);
        let cors = cors.map(|layer| tower::Layer::layer(&layer, Plain(Arc::clone(&inner))));
        Self { inner, cors }
    }

    /// The answer, whatever comes.
    pub async fn answer(&self, request: Request) -> Response {
        match &self.cors {
            None => self.inner.answer(request).await,
            Some(cors) => Box::pin(cors.clone().call(request)).await.unwrap_or_else(|never| match never {}),
        }
    }
}

impl Inner {
    async fn answer(&self, request: Request) -> Response {
        let Some(way) = ShortWay::of(request.method(), request.uri().path()) else {
            return Box::pin(self.router.clone().call(request)).await.unwrap_or_else(|never| match never {});
        };
        let (http, arrival) = (&self.envelope.http, self.envelope.arrival(&request));
        if matches!(way, ShortWay::Operation(_)) && !http.app.takes_movements() {
            return self.envelope.refuse(&self.operation, &arrival, &self.busy);
        }
        // On the heap, because what surrounds them is moved several times on its way into the connection.
        let (facts, run): (_, Running<'_>) = match way {
            ShortWay::Operation(id) => (&self.operation, Box::pin(wallets::operation::answer(http, Some(id), request))),
            ShortWay::Wallet(id) => (&self.wallet, Box::pin(wallets::get::answer(http, Some(id), request))),
            ShortWay::Ping => (&self.ping, Box::pin(ping::answer(http, request))),
        };
        surround(&self.envelope, facts, arrival, run).await
    }
}

/// A handler at work.
type Running<'a> = Pin<Box<dyn Future<Output = Result<Response, Refusal>> + Send + 'a>>;

/// An answer on its way.
type Answering = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

/// For tests and for whoever wraps it; connections call [`Site::answer`].
impl Service<Request<Body>> for Site {
    type Response = Response;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Answering {
        let site = self.clone();
        Box::pin(async move { Ok(site.answer(request).await) })
    }
}

/// The site without CORS headers, for the layer that adds them.
#[derive(Clone)]
struct Plain(Arc<Inner>);

impl Service<Request<Body>> for Plain {
    type Response = Response;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Answering {
        let inner = Arc::clone(&self.0);
        Box::pin(async move { Ok(inner.answer(request).await) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0197b9a2-7c31-7d52-9d5e-7f0f2f6f3a11";

    #[test]
    fn the_short_ways_are_taken_in_their_usual_form_only() {
        let id = AccountId(parse_uuid(ID).unwrap());
        for slash in ["", "/"] {
            let way = |method, path: &str| ShortWay::of(&method, &format!("{path}{slash}"));
            assert_eq!(way(Method::GET, &format!("/api/v1/wallets/{ID}")), Some(ShortWay::Wallet(id)));
            assert_eq!(way(Method::POST, &format!("/api/v1/wallets/{ID}/operation")), Some(ShortWay::Operation(id)));
            assert_eq!(way(Method::POST, "/api/v1/ping"), Some(ShortWay::Ping));
        }
        let upper = ID.to_uppercase();
        assert_eq!(ShortWay::of(&Method::GET, &format!("/api/v1/wallets/{upper}")), Some(ShortWay::Wallet(id)));
        for other in [
            "/api/v1/ping//",
            "/api/v1//ping",
            "/api/v1/pin",
            "/api/v1/wallets",
            "/api/v1/wallets/",
            "/",
            "",
            "/api/v1/wallets/0197b9a27c317d529d5e7f0f2f6f3a11",
            "/api/v1/wallets/0197b9a2-7c31-7d52-9d5e-7f0f2f6f3a1",
            "/api/v1/wallets/0197b9a2-7c31-7d52-9d5e-7f0f2f6f3a1%31",
            "/api/v1/wallets/äääääääääääääääääääääääääääääää",
            "/api/v1/wallets/0197b9a2-7c31-7d52-9d5e-7f0f2f6f3a11/operations",
            "/API/v1/ping",
        ] {
            for method in [Method::GET, Method::POST] {
                assert_eq!(ShortWay::of(&method, other), None, "{method} {other}");
            }
        }
        assert_eq!(ShortWay::of(&Method::HEAD, &format!("/api/v1/wallets/{ID}")), None);
        assert_eq!(ShortWay::of(&Method::GET, "/api/v1/ping"), None);
    }
}
