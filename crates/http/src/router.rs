//! The router: the table's routes, the documentation pages, and what surrounds them.

use std::{any::Any, collections::HashMap, sync::Arc};

use axum::{
    Router,
    http::{HeaderName, HeaderValue, Method, header},
    middleware,
    response::{IntoResponse, Response},
};
use florin_app::App;
use tower_http::{
    catch_panic::CatchPanicLayer,
    cors::{AllowOrigin, CorsLayer},
};

use crate::{
    HttpOptions, django, docs,
    envelope::{Cause, Envelope, RouteFacts, envelope},
    metrics::{self, RouteMetrics},
    problem::Problem,
    request_id::X_REQUEST_ID,
    route_table::table,
    state::Http,
};

/// All routes over `app`, ready to be served.
pub fn router(app: Arc<App>, options: HttpOptions) -> Router {
    metrics::describe();
    let cors = cors(&options.cors_origins);
    let timeout = options.request_timeout;
    let http = Http::new(app, options);
    let mut facts = HashMap::new();
    let mut router = Router::new();
    for route in table() {
        let fact = Arc::new(RouteFacts { allow: Some(route.allow_header()), metrics: RouteMetrics::new(route.path) });
        facts.extend(route.paths().into_iter().map(|path| (path, Arc::clone(&fact))));
        router = route.add_to(router);
    }
    let unmatched = Arc::new(RouteFacts { allow: None, metrics: RouteMetrics::new("other") });
    let shared = Arc::new(Envelope { http: http.clone(), timeout, routes: facts, unmatched });
    let router = router
        .merge(docs::pages())
        .fallback(django::not_found)
        .layer(CatchPanicLayer::custom(on_panic))
        .layer(middleware::from_fn_with_state(shared, envelope))
        .with_state(http);
    match cors {
        Some(cors) => router.layer(cors),
        None => router,
    }
}

/// The panic's text is for the log; the answer stays opaque.
fn on_panic(panic: Box<dyn Any + Send>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    let mut response = Problem::internal().into_response();
    response.extensions_mut().insert(Cause::defect(text.unwrap_or("panic")));
    response
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
