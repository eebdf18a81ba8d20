//! `/metrics` counts by method, route and status, and no client can make up a series.

use florin_http::{DURATION, DURATION_BUCKETS_S, HttpOptions};
use florin_testkit::service::{Service, settings};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_counted_by_route() {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full(DURATION.to_owned()), DURATION_BUCKETS_S)
        .unwrap()
        .install_recorder()
        .unwrap();
    let service = Service::with(settings(), HttpOptions { metrics: Some(handle), ..HttpOptions::default() });
    for path in ["/api/v1/wallets/a", "/api/v1/wallets/b/", "/healthz", "/no/such/path", "/other/path"] {
        service.call("GET", path, "", Value::Null).await;
    }
    service.call("BREW", "/healthz", "", Value::Null).await;
    let answer = service.call("GET", "/metrics", "", Value::Null).await;
    assert!(answer.header("content-type").starts_with("text/plain; version=0.0.4"));
    let text = String::from_utf8(answer.bytes).unwrap();
    for line in [
        r#"florin_http_requests_total{method="GET",route="/api/v1/wallets/{id}",status="401"} 2"#,
        r#"florin_http_requests_total{method="GET",route="/healthz",status="200"} 1"#,
        r#"florin_http_requests_total{method="GET",route="other",status="404"} 2"#,
        r#"florin_http_request_duration_seconds_count{route="/healthz"} 2"#,
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("BREW") && !text.contains("/no/such/path"), "{text}");
}
