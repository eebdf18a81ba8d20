//! Who gets in: no token, a dead one, a forged one, and somebody else's.

use std::time::Duration;

use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};
use florin_testkit::service::{PASSWORD, Service, settings};
use futures_util::FutureExt as _;
use serde_json::{Value, json};

/// Routes that everybody may ask.
const PUBLIC: &[&str] = &[
    "POST /api/auth/users",
    "POST /api/auth/users/activation",
    "POST /api/auth/users/resend_activation",
    "POST /api/auth/users/reset_password",
    "POST /api/auth/users/reset_password_confirm",
    "POST /api/auth/token",
    "POST /api/auth/token/refresh",
    "POST /api/auth/token/verify",
    "POST /api/auth/jwt/create",
    "POST /api/auth/jwt/refresh",
    "POST /api/auth/jwt/verify",
    "GET /healthz",
    "GET /readyz",
    "GET /metrics",
    "GET /.well-known/jwks.json",
];

/// Every route that is not public, with ids filled in.
fn private(wallet: &str, number: i64) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (path, allow) in florin_http::routes() {
        for method in allow.split(", ").filter(|method| !matches!(*method, "HEAD" | "OPTIONS")) {
            if PUBLIC.contains(&format!("{method} {path}").as_str()) {
                continue;
            }
            let number = number.to_string();
            let id = if path.contains("/users/") { &number } else { wallet };
            found.push((method.to_owned(), path.replace("{id}", id).replace("{number}", &number)));
        }
    }
    assert!(found.len() > 20);
    found
}

fn is_challenged(answer: &florin_testkit::service::Answer) -> bool {
    answer.status == StatusCode::UNAUTHORIZED && answer.header("www-authenticate") == "Bearer realm=\"api\""
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_in_without_a_live_token() {
    let service = Service::new();
    let token = service.user("alice").await;
    let wallet = service.wallet(&token, "10.00").await;
    let number = service.caller(&token).user_number;
    let ended = service.token("alice", PASSWORD).await;
    service.app.end_session(&service.caller(&ended), "test").await.unwrap();
    let mut forged = token.clone();
    forged.replace_range(forged.len() - 4.., "AAAA");
    for (method, path) in private(&wallet, number) {
        for bad in ["", "garbage", "a.b.c", &ended, &forged] {
            let answer = service.call(&method, &path, bad, Value::Null).await;
            assert!(is_challenged(&answer), "{method} {path} with {bad:?}: {}", answer.status);
        }
    }
    service.clock.advance_us(2 * 3600 * 1_000_000);
    for (method, path) in private(&wallet, number) {
        let answer = service.call(&method, &path, &token, Value::Null).await;
        assert!(is_challenged(&answer), "{method} {path} with an expired token: {}", answer.status);
    }
}

fn is_staffs(path: &str) -> bool {
    path.contains("/admin/") || path.contains("/imports")
}

#[tokio::test(flavor = "multi_thread")]
async fn another_user_finds_nothing() {
    let service = Service::new();
    let alice = service.user("alice").await;
    let wallet = service.wallet(&alice, "10.00").await;
    let number = service.caller(&alice).user_number;
    let mallory = service.user("mallory").await;
    let body = json!({
        "operation_type": "DEPOSIT", "amount": "1.00", "from": wallet, "to": "0197b9a2-7c31-7d52-9d5e-7f0f2f6f3a11",
        "direction": "CREDIT", "reason": "x", "is_active": false, "current_password": PASSWORD,
    });
    for (method, path) in private(&wallet, number) {
        let names_alice =
            path.contains(&wallet) || path.ends_with(&format!("/{number}")) || path.ends_with("transfers");
        if !names_alice && !is_staffs(&path) {
            continue;
        }
        let answer = service.call(&method, &path, &mallory, body.clone()).await;
        let staff_only = is_staffs(&path) || (method == "DELETE" && path.contains("/users/"));
        let expected = if staff_only { StatusCode::FORBIDDEN } else { StatusCode::NOT_FOUND };
        assert_eq!(answer.status, expected, "{method} {path}");
        let text = String::from_utf8(answer.bytes).unwrap();
        assert!(!text.contains("alice") && !text.contains("10.00"), "{method} {path}: {text}");
    }
    let answer = service.call("GET", &format!("/api/v1/wallets/{wallet}"), &alice, Value::Null).await;
    assert_eq!(answer.json()["balance"], "10.00");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_of_somebody_else_is_as_unknown_as_none() {
    let service = Service::new();
    let wallet = service.wallet(&service.user("alice").await, "10.00").await;
    let mallory = service.user("mallory").await;
    for tail in ["", "/operations"] {
        let theirs = service.call("GET", &format!("/api/v1/wallets/{wallet}{tail}"), &mallory, Value::Null).await;
        let none = "/api/v1/wallets/0197b9a2-7c31-7d52-9d5e-7f0f2f6f3a11";
        let none = service.call("GET", &format!("{none}{tail}"), &mallory, Value::Null).await;
        let (mut theirs, mut none) = (theirs.json(), none.json());
        for answer in [&mut theirs, &mut none] {
            answer.as_object_mut().unwrap().remove("request_id");
        }
        assert_eq!(theirs, none);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_out_ends_the_session_at_once() {
    let service = Service::new();
    service.user("alice").await;
    for (method, path) in [("DELETE", "/api/v1/session"), ("POST", "/api/v1/sessions/logout/")] {
        let pair = service.app.sign_in("alice", PASSWORD, "test").await.unwrap();
        let answer = service.call(method, path, &pair.access, Value::Null).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
        let answer = service.call("GET", "/api/auth/users/me/", &pair.access, Value::Null).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        let answer = service.call("POST", "/api/auth/token/refresh/", "", json!({"refresh": pair.refresh})).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    }
}

/// The client is gone before it is answered, as when its connection is lost or the request takes too long.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_also_when_nobody_waits_for_the_answer() {
    let service = Service::new();
    service.user("alice").await;
    let pair = service.app.sign_in("alice", PASSWORD, "test").await.unwrap();
    let request = Request::delete("/api/v1/session").header(header::AUTHORIZATION, format!("Bearer {}", pair.access));
    // Asked once, and dropped with whatever it still waits for.
    let _ = service.send(request.body(Body::empty()).unwrap()).now_or_never();
    let ended = async |path: &str, token: &str, body: Value| {
        while service.call("POST", path, token, body.clone()).await.status != StatusCode::UNAUTHORIZED {
            tokio::task::yield_now().await;
        }
    };
    let within = Duration::from_secs(10);
    let stored = ended("/api/auth/token/verify/", "", json!({"token": pair.refresh}));
    tokio::time::timeout(within, stored).await.unwrap();
    let known = ended("/api/v1/ping", &pair.access, json!({"operation_type": "DEPOSIT", "amount": 1}));
    tokio::time::timeout(within, known).await.expect("its access token is dead as well");
}

#[tokio::test(flavor = "multi_thread")]
async fn users_do_not_deposit_where_the_operator_says_so() {
    let mut rules = settings();
    rules.self_deposit = false;
    let service = Service::with(rules, florin_http::HttpOptions::default());
    let alice = service.user("alice").await;
    let wallet = service.wallet(&alice, "0").await;
    let path = format!("/api/v1/wallets/{wallet}/operation");
    let answer = service.call("POST", &path, &alice, json!({"operation_type": "DEPOSIT", "amount": 5})).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert_eq!(answer.json()["detail"], "You do not have permission to perform this action.");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_registered_a_password_with_blanks_gets_in() {
    let service = Service::new();
    let password = "  Str0ng-Passw0rd!  ";
    let account = json!({"username": "blank", "password": password});
    assert_eq!(service.call("POST", "/api/auth/users/", "", account.clone()).await.status, StatusCode::CREATED);
    let answer = service.call("POST", "/api/auth/token/", "", account).await;
    assert_eq!(answer.status, StatusCode::OK);
    let access = answer.json()["access"].as_str().unwrap().to_owned();
    let change = json!({"new_password": "N3w-Passw0rd!!", "current_password": password});
    let answer = service.call("POST", "/api/auth/users/set_password/", &access, change).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_sign_ins_are_slowed_down_in_the_words_of_the_route() {
    let service = Service::new();
    service.user("alice").await;
    // Blanks around a password are tried both ways, and count once.
    for (name, path) in [("alice", "/api/auth/token/"), ("nobody", "/api/auth/jwt/create/")] {
        let attempt = async || service.call("POST", path, "", json!({"username": name, "password": " wrong "})).await;
        for _ in 0..5 {
            assert_eq!(attempt().await.status, StatusCode::UNAUTHORIZED);
        }
        let answer = attempt().await;
        assert_eq!((answer.status, answer.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, "1"));
        let sentence = "Request was throttled. Expected available in 1 second.";
        assert_eq!(answer.json(), json!({"detail": sentence}));
    }
    service.clock.advance_us(1_000_000);
    service.token("alice", PASSWORD).await;
}
