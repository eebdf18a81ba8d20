//! What surrounds every request: ids, headers, limits, origins, pages, and the connections themselves.

#![expect(clippy::unwrap_used, reason = "what a test cannot read or prepare has failed it")]

use std::{net::SocketAddr, time::Duration};

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use florin_http::{ConnectionLimits, HttpOptions, serve};
use florin_testkit::service::{Service, settings};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::AbortHandle,
};

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_carries_an_id_and_security_headers() {
    let service = Service::new();
    let paths = ["/", "/healthz", "/api/docs/", "/api/nothing", "/api/auth/users/me/", "/api/v1/wallets"];
    for path in paths {
        let answer = service.call("GET", path, "", Value::Null).await;
        assert_eq!(answer.header("x-request-id").len(), 32, "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{path}");
        assert!(answer.header("content-security-policy").contains("frame-ancestors 'none'"), "{path}");
        let sent = service.call_with("GET", path, "", Value::Null, &[("x-request-id", "mine-1")]).await;
        assert_eq!(sent.header("x-request-id"), "mine-1", "{path}");
        let bad = service.call_with("GET", path, "", Value::Null, &[("x-request-id", "<b>")]).await;
        assert_ne!(bad.header("x-request-id"), "<b>", "{path}");
    }
    let token = service.call("POST", "/api/auth/token/", "", json!({"username": "x", "password": "y"})).await;
    assert_eq!(token.header("cache-control"), "no-store");
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_paths_and_ids_are_json_404() {
    let service = Service::new();
    let alice = service.user("alice").await;
    for path in ["/api/nothing", "/nothing", "/api/v1/wallets/abc/", "/api/v1/wallets/%FF", "/api/auth/users/%FF/"] {
        let answer = service.call("GET", path, &alice, Value::Null).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(answer.json(), json!({"detail": "Not found."}), "{path}");
    }
    let answer = service.call("PATCH", "/api/v1/transfers", &alice, json!({})).await;
    assert_eq!((answer.status, answer.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, "POST, OPTIONS"));
    assert_eq!(answer.json()["code"], "method_not_allowed");
    let answer = service.call("HEAD", "/api/auth/users/me/", &alice, Value::Null).await;
    assert_eq!((answer.status, answer.bytes.len()), (StatusCode::OK, 0));
    let answer = service.call("OPTIONS", "/api/auth/users/me/", "", Value::Null).await;
    assert_eq!((answer.status, answer.header("allow")), (StatusCode::OK, "GET, PUT, PATCH, DELETE, HEAD, OPTIONS"));
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_bounded() {
    let service = Service::with(settings(), HttpOptions { body_limit: 100, ..HttpOptions::default() });
    let alice = service.user("alice").await;
    let body = json!({"label": "x".repeat(200)});
    let answer = service.call("POST", "/api/v1/wallets", &alice, body.clone()).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(answer.json()["code"], "body_too_large");
    let answer = service.call("POST", "/api/auth/token/", "", body).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(answer.json()["detail"].as_str().unwrap().contains("100 bytes"));
}

/// Refused, not misread, and nothing of it is applied; the routes of the Django wallet service look at the body alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_with_a_content_encoding_is_refused() {
    let service = Service::new();
    let (alice, root) = (service.user("alice").await, service.superuser("root").await);
    let wallet = service.wallet(&alice, "100").await;
    let deposit = json!({"type": "DEPOSIT", "wallet": wallet, "amount": 1});
    let adjustment = format!("/api/v1/admin/wallets/{wallet}/adjustments");
    for (method, path, token, body) in [
        ("POST", "/api/v1/batches", &alice, json!({"commands": [deposit]})),
        ("POST", "/api/v1/batches/", &alice, json!({"commands": [deposit]})),
        ("POST", "/api/v1/wallets", &alice, json!({})),
        ("POST", "/api/v1/transfers", &alice, json!({"from": wallet, "to": wallet, "amount": 1})),
        ("POST", "/api/v1/imports", &root, json!({})),
        ("PATCH", "/api/v1/admin/users/1", &root, json!({"is_active": false})),
        ("POST", &adjustment, &root, json!({"amount": 1, "direction": "CREDIT", "reason": "x"})),
    ] {
        let answer = service.call_with(method, path, token, body, &[("content-encoding", "gzip")]).await;
        assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{path}");
        assert_eq!((answer.header("accept-encoding"), answer.header("x-request-id").len()), ("identity", 32), "{path}");
        let body = answer.json();
        assert_eq!(body["code"], "unsupported_content_encoding", "{path}");
        assert!(body["detail"].as_str().unwrap().contains("\"gzip\""), "{body}");
    }
    let headers = [("content-encoding", "Identity")];
    let body = json!({"commands": [deposit]});
    let answer = service.call_with("POST", "/api/v1/batches", &alice, body, &headers).await;
    assert_eq!(answer.status, StatusCode::OK);
    let none = service.call_with("GET", "/api/v1/wallets", &alice, Value::Null, &[("content-encoding", "gzip")]).await;
    assert_eq!(none.status, StatusCode::OK, "there is no body");
    let path = format!("/api/v1/wallets/{wallet}/operation");
    let body = json!({"operation_type": "DEPOSIT", "amount": 1});
    let answer = service.call_with("POST", &path, &alice, body, &[("content-encoding", "gzip")]).await;
    assert_eq!((answer.status, &answer.json()["balance"]), (StatusCode::OK, &json!("102.00")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_never_ends_is_ended() {
    let request_timeout = Duration::from_millis(20);
    let service = Service::with(settings(), HttpOptions { request_timeout, ..HttpOptions::default() });
    let endless = Body::from_stream(futures_endless());
    let request = Request::post("/api/auth/token/").body(endless).unwrap();
    let answer = service.send(request).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!((answer.json()["code"].as_str(), answer.header("retry-after")), (Some("timeout"), "1"));
}

fn futures_endless() -> impl futures_util::Stream<Item = Result<Vec<u8>, std::io::Error>> {
    futures_util::stream::pending()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_listed_origins_are_let_in() {
    let cors_origins = vec!["https://app.example".to_owned()];
    let service = Service::with(settings(), HttpOptions { cors_origins, ..HttpOptions::default() });
    let ask = async |service: &Service, origin: &str| {
        let headers = [("origin", origin), ("access-control-request-method", "POST")];
        let answer = service.call_with("OPTIONS", "/api/auth/token/", "", Value::Null, &headers).await;
        answer.header("access-control-allow-origin").to_owned()
    };
    assert_eq!(ask(&service, "https://app.example").await, "https://app.example");
    for other in ["https://app.example.evil", "http://app.example", "https://app.example:8443", "null"] {
        assert_eq!(ask(&service, other).await, "", "{other}");
    }
    assert_eq!(ask(&Service::new(), "https://app.example").await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_and_the_document_are_served() {
    let service = Service::new();
    let index = service.call("GET", "/", "", Value::Null).await;
    assert_eq!((index.status, index.header("location")), (StatusCode::TEMPORARY_REDIRECT, "/api/docs/"));
    let page = service.call("GET", "/api/docs/", "", Value::Null).await;
    let html = String::from_utf8(page.bytes).unwrap();
    assert_eq!(page.status, StatusCode::OK);
    assert!(!html.contains("<script>"), "an inline script would be refused by the page's own policy");
    let script = service.call("GET", "/api/docs/swagger-initializer.js", "", Value::Null).await;
    let script = String::from_utf8(script.bytes).unwrap();
    assert!(script.contains("/api/schema/openapi.json") && script.contains("persistAuthorization"), "{script}");
    let json = service.call("GET", "/api/schema/", "", Value::Null).await;
    assert_eq!(json.json(), florin_http::openapi());
    let yaml = service.call_with("GET", "/api/schema", "", Value::Null, &[("accept", "application/yaml")]).await;
    assert_eq!(yaml.header("content-type"), "application/yaml");
    assert!(String::from_utf8(yaml.bytes).unwrap().contains("/api/v1/wallets/{id}/operation"));
    let yaml = service.call("GET", "/api/schema/openapi.yaml", "", Value::Null).await;
    assert_eq!(yaml.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_are_told_how_it_is() {
    let service = Service::new();
    for path in ["/healthz", "/readyz"] {
        let answer = service.call("GET", path, "", Value::Null).await;
        assert_eq!(answer.json(), json!({"status": "ok"}), "{path}");
    }
    let keys = service.call("GET", "/.well-known/jwks.json", "", Value::Null).await.json();
    assert!(keys["keys"].as_array().is_some_and(|keys| !keys.is_empty()), "{keys}");
    assert!(!keys.to_string().contains("\"d\""), "a private key must never be shown");
    let answer = service.call("GET", "/metrics", "", Value::Null).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
}

async fn exchange(stream: &mut TcpStream, text: &str) -> String {
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let count = stream.read(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[..count]).into_owned()
}

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nHost: florin\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_served_bounded_and_drained() {
    let service = Service::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let limits = ConnectionLimits {
        max_connections: 1,
        header_read_timeout: Duration::from_secs(20),
        drain: Duration::from_secs(20),
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(serve(listener, service.router(), limits, stopped));

    let mut first = TcpStream::connect(address).await.unwrap();
    assert!(exchange(&mut first, HEALTH).await.starts_with("HTTP/1.1 200 OK"));
    assert!(exchange(&mut first, HEALTH).await.starts_with("HTTP/1.1 200 OK"), "the connection is kept");
    // A second connection waits until the first is gone.
    let mut second = TcpStream::connect(address).await.unwrap();
    second.write_all(HEALTH.as_bytes()).await.unwrap();
    drop(first);
    assert!(exchange(&mut second, "").await.starts_with("HTTP/1.1 200 OK"));

    // A request under way is finished; then the server ends, and nobody is let in.
    let head = "POST /api/auth/token/ HTTP/1.1\r\nHost: florin\r\nContent-Type: application/json\r\n\
        Content-Length: 2\r\nExpect: 100-continue\r\n\r\n";
    assert!(exchange(&mut second, head).await.starts_with("HTTP/1.1 100 Continue"));
    stop.send(()).unwrap();
    assert!(exchange(&mut second, "{}").await.starts_with("HTTP/1.1 400 Bad Request"));
    server.await.unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

/// Where the service is served until it is aborted.
async fn serving(service: &Service, limits: ConnectionLimits) -> (SocketAddr, AbortHandle) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(serve(listener, service.router(), limits, std::future::pending::<()>()));
    (address, server.abort_handle())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_whether_to_send_too_much_is_told_not_to() {
    let service = Service::new();
    let alice = service.user("alice").await;
    let (address, server) = serving(&service, ConnectionLimits::default()).await;
    for (path, bytes, said) in [
        ("/api/v1/batches", 8 << 20, "HTTP/1.1 100 Continue"),
        ("/api/v1/batches", (8 << 20) + 1, "HTTP/1.1 413 Payload Too Large"),
        ("/api/v1/transfers", 100, "HTTP/1.1 100 Continue"),
        ("/api/v1/transfers", 9 << 20, "HTTP/1.1 413 Payload Too Large"),
    ] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: florin\r\nAuthorization: Bearer {alice}\r\nContent-Length: {bytes}\r\n\
             Content-Type: application/json\r\nExpect: 100-continue\r\n\r\n"
        );
        let answer = exchange(&mut TcpStream::connect(address).await.unwrap(), &head).await;
        assert!(answer.starts_with(said), "{path} {bytes}: {answer}");
    }
    server.abort();
}

/// What can be read of it is answered before the connection is closed, also behind a request that was good.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_is_answered_and_ends_the_connection() {
    let service = Service::new();
    let alice = service.user("alice").await;
    let (address, server) = serving(&service, ConnectionLimits::default()).await;
    let batch = format!("POST /api/v1/batches HTTP/1.1\r\nHost: florin\r\nAuthorization: Bearer {alice}\r\n");
    for (sent, status) in [
        ("GARBAGE\r\n\r\n".to_owned(), 400),
        ("GET /healthz HTTP/1.1\r\nHost florin\r\n\r\n".to_owned(), 400),
        (format!("GET /healthz HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(300)), 431),
        (format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(70_000)), 414),
        (format!("{batch}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}"), 400),
        (format!("{batch}Transfer-Encoding: chunked\r\n\r\nzz\r\n{{}}\r\n"), 400),
    ] {
        for before in ["", HEALTH] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(format!("{before}{sent}").as_bytes()).await.unwrap();
            let mut answers = Vec::new();
            stream.read_to_end(&mut answers).await.unwrap();
            let answers = String::from_utf8(answers).unwrap();
            let last = answers.rfind("HTTP/1.1 ").map(|start| &answers[start..]).unwrap_or_default();
            assert!(last.starts_with(&format!("HTTP/1.1 {status} ")), "{}: {answers}", &sent[..sent.len().min(50)]);
            assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), usize::from(!before.is_empty()), "{answers}");
        }
    }
    server.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_dawdles_is_cut_off() {
    let service = Service::new();
    let limits = ConnectionLimits { header_read_timeout: Duration::from_millis(50), ..ConnectionLimits::default() };
    let (address, server) = serving(&service, limits).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: ").await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(!String::from_utf8_lossy(&rest).contains("200 OK"));
    server.abort();
}
