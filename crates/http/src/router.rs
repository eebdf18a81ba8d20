//! From the route table to the site: the router with the documentation pages, and what surrounds it.

use std::{collections::HashMap, sync::Arc};

use axum::{
    Router,
    http::{HeaderName, HeaderValue, Method, header},
    middleware,
};
use florin_app::App;
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::{
    HttpOptions, Site,
    busy::Busy,
    django, docs,
    envelope::{Envelope, RouteFacts, envelope},
    metrics,
    refusal_log::RefusalLog,
    request_id::X_REQUEST_ID,
    route_table::table,
    site::{Inner, OPERATION, PING, WALLET},
    state::Http,
};

/// All routes over `app`, ready to be served.
pub fn router(app: Arc<App>, options: HttpOptions) -> Site {
    metrics::describe();
    let cors = cors(&options.cors_origins);
    let timeout = options.request_timeout;
    let http = Http::new(app, options);
    let mut facts = HashMap::new();
    let mut router = Router::new();
    for route in table() {
        let fact = Arc::new(RouteFacts::of(&route));
        facts.extend(route.paths().into_iter().map(|path| (path, Arc::clone(&fact))));
        router = route.add_to(router);
    }
    let unmatched = Arc::new(RouteFacts::unmatched());
    let named = |path| Arc::clone(facts.get(path).unwrap_or(&unmatched));
    let (wallet, operation, ping) = (named(WALLET), named(OPERATION), named(PING));
    let refusals = RefusalLog::default();
    let envelope_of_all = Arc::new(Envelope { http: http.clone(), timeout, routes: facts, unmatched, refusals });
    let busy = Busy::new(operation.allow.as_ref());
    let router = router
        .merge(docs::pages())
        .fallback(django::not_found)
        .layer(middleware::from_fn_with_state(Arc::clone(&envelope_of_all), envelope))
        .with_state(http);
    Site::new(Inner { envelope: envelope_of_all, wallet, operation, ping, busy, router }, cors)
}

fn cors(origins: &[String]) -> Option<CorsLayer> {
    let origins: Vec<HeaderValue> = origins.iter().filter_map(|origin| origin.parse().ok()).collect();
    if origins.is_empty() {
        return None;
    }
    let named = |name| HeaderName::from_static(name);
    let layer = CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE, named("idempotency-key"), X_REQUEST_ID])
        .expose_headers([X_REQUEST_ID, header::RETRY_AFTER, header::LOCATION, named("idempotency-replayed")])
        .max_age(std::time::Duration::from_secs(600));
    Some(layer)
}
