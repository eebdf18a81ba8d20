//! Money over HTTP on Florin's own routes: opening, keys, transfers, histories, corrections.

#![expect(clippy::unwrap_used, reason = "what a test cannot read or prepare has failed it")]

use std::sync::Arc;

use axum::{
    body::Body,
    http::{Request, StatusCode, header},
    response::Response,
};
use florin_app::App;
use florin_http::{HttpOptions, Site, router};
use florin_store::{Engine, Tx};
use florin_store_postgres::PostgresEngine;
use florin_testkit::{
    held::Held,
    node::{node, run},
    postgres::{FreshDatabase, fresh_database},
    service::{Answer, PASSWORD, Service},
};
use serde_json::{Value, json};
use tokio::task::{block_in_place, yield_now};

const KEY: &str = "idempotency-key";

async fn balance(service: &Service, token: &str, wallet: &str) -> String {
    let answer = service.call("GET", &format!("/api/v1/wallets/{wallet}/"), token, Value::Null).await;
    answer.json()["balance"].as_str().unwrap().to_owned()
}

fn assert_problem(answer: &Answer, status: StatusCode, code: &str) {
    assert_eq!(answer.status, status, "{}", answer.json());
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let body = answer.json();
    assert_eq!(body["code"], code, "{body}");
    assert_eq!(body["status"], status.as_u16());
    assert_eq!(body["type"], format!("urn:florin:problem:{code}"));
    assert_eq!(body["request_id"], answer.header("x-request-id"));
    assert!(body["title"].is_string() && body["detail"].is_string() && body["errors"].is_object());
}

#[tokio::test(flavor = "multi_thread")]
async fn wallets_are_opened_once_per_key_and_listed_by_page() {
    let service = Service::new();
    let alice = service.user("alice").await;
    let body = json!({"asset": "JPY", "label": "Savings"});
    let first = service.call_with("POST", "/api/v1/wallets", &alice, body.clone(), &[(KEY, "one")]).await;
    assert_eq!(first.status, StatusCode::CREATED);
    let id = first.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(first.header("location"), format!("/api/v1/wallets/{id}"));
    assert_eq!(first.json()["balance"], "0");
    let again = service.call_with("POST", "/api/v1/wallets", &alice, body, &[(KEY, "one")]).await;
    assert_eq!((again.json()["id"].as_str(), again.header("idempotency-replayed")), (Some(id.as_str()), "true"));
    let other = service.call_with("POST", "/api/v1/wallets", &alice, json!({"label": "X"}), &[(KEY, "one")]).await;
    assert_problem(&other, StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused");
    let unknown = service.call("POST", "/api/v1/wallets", &alice, json!({"asset": "XXX"})).await;
    assert_problem(&unknown, StatusCode::UNPROCESSABLE_ENTITY, "unknown_asset");

    for _ in 0..4 {
        service.clock.advance_us(1000);
        service.call("POST", "/api/v1/wallets/", &alice, json!({})).await;
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = service.call("GET", &format!("/api/v1/wallets?limit=2{cursor}"), &alice, Value::Null).await.json();
        seen.extend(page["items"].as_array().unwrap().iter().map(|wallet| wallet["id"].to_string()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen.len(), 5);
    seen.dedup();
    assert_eq!(seen.len(), 5);
}

/// A node of a PostgreSQL database, and its wire.
fn serving(engine: PostgresEngine, writer: u16) -> (Arc<App>, Site) {
    let app = node(Arc::new(engine), writer);
    (app.clone(), router(app, HttpOptions::default()))
}

fn open_request(token: &str, label: &str) -> Request<Body> {
    let request = Request::post("/api/v1/wallets").header(header::AUTHORIZATION, format!("Bearer {token}"));
    let request = request.header(header::CONTENT_TYPE, "application/json").header(KEY, "one");
    request.body(Body::from(json!({"label": label}).to_string())).unwrap()
}

async fn told(response: Response) -> (StatusCode, String, Value) {
    let (parts, body) = response.into_parts();
    let replayed = parts.headers.get("idempotency-replayed").map(|value| value.to_str().unwrap().to_owned());
    let bytes = axum::body::to_bytes(body, 100_000).await.unwrap();
    (parts.status, replayed.unwrap_or_default(), serde_json::from_slice(&bytes).unwrap())
}

/// Waits until so many sessions wait for another one's lock.
async fn until_waiting(engine: &PostgresEngine, count: usize) {
    let sql = "SELECT pid::bigint FROM pg_stat_activity WHERE datname = current_database() \
        AND wait_event_type = 'Lock'";
    while block_in_place(|| florin_store::read(engine, |tx| tx.query(sql, &[]))).unwrap().len() < count {
        yield_now().await;
    }
}

/// On two nodes and on one: the first is held before its commit until the second waits for it.
#[test]
fn of_two_openings_with_one_key_at_once_both_are_told_the_same() {
    for (nodes, labels) in [([0, 1], ["a", "a"]), ([0, 0], ["a", "a"]), ([0, 1], ["a", "b"])] {
        let Some(database) = fresh_database() else { return };
        run(two_openings(&database, nodes, labels));
    }
}

async fn two_openings(database: &FreshDatabase, nodes: [usize; 2], labels: [&str; 2]) {
    let engine = database.connect();
    block_in_place(|| engine.migrate()).unwrap();
    let sites = [serving(database.connect(), 0), serving(database.connect(), 1)];
    sites[0].0.register("alice", "alice@example.com", PASSWORD, "test").await.unwrap();
    let token = sites[0].0.sign_in("alice", PASSWORD, "test").await.unwrap().access;

    let holding = Arc::new(database.connect());
    let lock = |tx: &mut dyn Tx| tx.execute("LOCK TABLE wallets IN SHARE MODE", &[]).map(drop);
    let held = block_in_place(|| Held::open(holding, lock));
    let mut answers = Vec::new();
    for (count, (at, label)) in nodes.into_iter().zip(labels).enumerate() {
        let (site, request) = (sites[at].1.clone(), open_request(&token, label));
        answers.push(tokio::spawn(async move { told(site.answer(request).await).await }));
        until_waiting(&engine, count + 1).await;
    }
    block_in_place(|| held.release()).unwrap();
    let (first, second) = (answers.remove(0).await.unwrap(), answers.remove(0).await.unwrap());
    assert_eq!((first.0, &*first.1), (StatusCode::CREATED, ""), "{nodes:?}: {}", first.2);
    if labels[0] == labels[1] {
        assert_eq!((second.0, &*second.1, second.2), (StatusCode::CREATED, "true", first.2), "{nodes:?}");
    } else {
        let expected = (StatusCode::UNPROCESSABLE_ENTITY, &json!("idempotency_key_reused"));
        assert_eq!((second.0, &second.2["code"]), expected);
    }
    let wallets = block_in_place(|| florin_store::read(&engine, |tx| tx.query("SELECT id FROM wallets", &[])));
    assert_eq!(wallets.unwrap().len(), 1, "one effect");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_operation_has_one_effect() {
    let service = Service::new();
    let alice = service.user("alice").await;
    let wallet = service.wallet(&alice, "100.00").await;
    let path = format!("/api/v1/wallets/{wallet}/operation");
    let deposit = json!({"operation_type": "DEPOSIT", "amount": 10});
    let first = service.call_with("POST", &path, &alice, deposit.clone(), &[(KEY, "k")]).await;
    assert_eq!((first.status, first.header("idempotency-replayed")), (StatusCode::OK, ""));
    service.call("POST", &path, &alice, deposit).await;
    // Written otherwise, it is the same request, and the answer is the one of then.
    let same = json!({"amount": "10.00", "operation_type": "DEPOSIT"});
    let again = service.call_with("POST", &path, &alice, same, &[(KEY, "k")]).await;
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.json(), first.json());
    assert_eq!(balance(&service, &alice, &wallet).await, "120.00");

    let other = json!({"operation_type": "DEPOSIT", "amount": 11});
    let answer = service.call_with("POST", &path, &alice, other, &[(KEY, "k")]).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(answer.json()["errors"]["non_field_errors"][0].is_string());
    let answer =
        service.call_with("POST", &path, &alice, json!({"operation_type": "DEPOSIT", "amount": 1}), &[(KEY, "")]);
    assert_eq!(answer.await.status, StatusCode::BAD_REQUEST);

    let much = json!({"operation_type": "WITHDRAW", "amount": 1000});
    for replayed in ["", "true"] {
        let answer = service.call_with("POST", &path, &alice, much.clone(), &[(KEY, "refused")]).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert_eq!(answer.header("idempotency-replayed"), replayed);
    }
}

/// Histories name the bank's account beside each deposit.
#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_goes_to_a_wallet_and_not_to_an_account_of_the_house() {
    let service = Service::new();
    let alice = service.user("alice").await;
    let from = service.wallet(&alice, "100").await;
    let history = service.call("GET", &format!("/api/v1/wallets/{from}/operations"), &alice, Value::Null).await;
    let bank = history.json()["items"][0]["counterpart"].clone();
    assert!(bank.is_string(), "{}", history.json());
    let transfer = json!({"from": from, "to": bank, "amount": "1"});
    let answer = service.call("POST", "/api/v1/transfers", &alice, transfer).await;
    assert_problem(&answer, StatusCode::NOT_FOUND, "wallet_not_found");
    assert_eq!(balance(&service, &alice, &from).await, "100.00");
}

#[tokio::test(flavor = "multi_thread")]
async fn transfers_move_money_whole_or_not_at_all() {
    let service = Service::new();
    let (alice, bob) = (service.user("alice").await, service.user("bob").await);
    let (from, to) = (service.wallet(&alice, "100.00").await, service.wallet(&bob, "0").await);
    let transfer = async |body: Value| service.call("POST", "/api/v1/transfers", &alice, body).await;
    let answer = transfer(json!({"from": from, "to": to, "amount": "30.50", "reason": "rent"})).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.json());
    assert_eq!(answer.json()["wallet"]["balance"], "69.50");
    assert_eq!(balance(&service, &bob, &to).await, "30.50");

    let answer = transfer(json!({"from": from, "to": to, "amount": "69.51"})).await;
    assert_problem(&answer, StatusCode::UNPROCESSABLE_ENTITY, "insufficient_funds");
    let yen = service.call("POST", "/api/v1/wallets", &bob, json!({"asset": "JPY"})).await.json();
    let answer = transfer(json!({"from": from, "to": yen["id"], "amount": "1"})).await;
    assert_problem(&answer, StatusCode::UNPROCESSABLE_ENTITY, "asset_mismatch");
    let nowhere = "0197b9a2-7c31-7d52-9d5e-7f0f2f6f3a11";
    let answer = transfer(json!({"from": from, "to": nowhere, "amount": "1"})).await;
    assert_problem(&answer, StatusCode::NOT_FOUND, "wallet_not_found");
    let answer = transfer(json!({"from": to, "to": from, "amount": "1"})).await;
    assert_problem(&answer, StatusCode::NOT_FOUND, "wallet_not_found");
    let answer = transfer(json!({"from": from, "to": from, "amount": "1.001"})).await;
    assert_problem(&answer, StatusCode::BAD_REQUEST, "validation_error");
    let errors = &answer.json()["errors"];
    assert!(errors["to"].is_array() && errors["amount"].is_array(), "{errors}");
    assert_eq!(balance(&service, &alice, &from).await, "69.50");
}

#[tokio::test(flavor = "multi_thread")]
async fn histories_are_filtered_and_paged() {
    let service = Service::new();
    let alice = service.user("alice").await;
    let wallet = service.wallet(&alice, "0").await;
    let path = format!("/api/v1/wallets/{wallet}/operation");
    for amount in 1..=5 {
        service.clock.advance_us(1_000_000);
        service.call("POST", &path, &alice, json!({"operation_type": "DEPOSIT", "amount": amount})).await;
    }
    service.call("POST", &path, &alice, json!({"operation_type": "WITHDRAW", "amount": 2, "reason": "cash"})).await;
    let list = async |query: &str| {
        let path = format!("/api/v1/wallets/{wallet}/operations{query}");
        service.call("GET", &path, &alice, Value::Null).await
    };
    let amounts = |answer: &Answer| {
        let items = answer.json()["items"].clone();
        items.as_array().unwrap().iter().map(|line| line["amount"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let all = list("").await;
    assert_eq!(amounts(&all), ["2.00", "5.00", "4.00", "3.00", "2.00", "1.00"]);
    let newest = all.json()["items"][0].clone();
    assert_eq!((newest["type"].as_str(), newest["direction"].as_str()), (Some("WITHDRAW"), Some("DEBIT")));
    assert_eq!((newest["balance"].as_str(), newest["reason"].as_str()), (Some("13.00"), Some("cash")));
    assert_eq!(amounts(&list("?type=DEPOSIT&min_amount=2&max_amount=4.00").await), ["4.00", "3.00", "2.00"]);
    let from = all.json()["items"][2]["recorded_at"].as_str().unwrap().to_owned();
    assert_eq!(amounts(&list(&format!("?from={from}")).await), ["2.00", "5.00", "4.00"]);
    assert_eq!(amounts(&list(&format!("?to={from}")).await), ["3.00", "2.00", "1.00"]);
    let first = list("?limit=4").await;
    let next = first.json()["next_cursor"].as_str().unwrap().to_owned();
    let second = list(&format!("?limit=4&cursor={next}")).await;
    assert_eq!(amounts(&second), ["2.00", "1.00"]);
    assert!(second.json()["next_cursor"].is_null());

    let bad = "?type=GIFT&from=yesterday&min_amount=1.005&limit=0&cursor=zzz";
    let answer = list(bad).await;
    assert_problem(&answer, StatusCode::BAD_REQUEST, "validation_error");
    for name in ["type", "from", "min_amount", "limit", "cursor"] {
        assert!(answer.json()["errors"][name].is_array(), "{name}");
    }
    assert_problem(&list("?colour=red").await, StatusCode::BAD_REQUEST, "validation_error");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_has_both_ends_of_its_period() {
    let service = Service::new();
    let alice = service.user("alice").await;
    let wallet = service.wallet(&alice, "0").await;
    let statement = async |query: &str| {
        let path = format!("/api/v1/wallets/{wallet}/statement{query}");
        service.call("GET", &path, &alice, Value::Null).await
    };
    let ends = |answer: &Answer| {
        let body = answer.json();
        let text = |name: &str| body[name].as_str().unwrap().to_owned();
        (text("opening_balance"), text("closing_balance"), body["operations"].as_i64().unwrap())
    };
    let expected = |opening: &str, closing: &str, operations| (opening.to_owned(), closing.to_owned(), operations);
    assert_eq!(ends(&statement("").await), expected("0.00", "0.00", 0));
    let path = format!("/api/v1/wallets/{wallet}/operation");
    for amount in 1..=5 {
        service.clock.advance_us(1_000_000);
        service.call("POST", &path, &alice, json!({"operation_type": "DEPOSIT", "amount": amount})).await;
    }
    let all = statement("").await;
    assert_eq!(ends(&all), expected("0.00", "15.00", 5));
    let at = |line: usize| all.json()["items"][line]["recorded_at"].as_str().unwrap().to_owned();
    let (second, fourth) = (at(3), at(1));
    let middle = statement(&format!("?from={second}&to={fourth}&limit=1")).await;
    assert_eq!(ends(&middle), expected("1.00", "6.00", 2), "the second and the third");
    assert_eq!(middle.json()["items"][0]["amount"], "3.00");
    let next = middle.json()["next_cursor"].as_str().unwrap().to_owned();
    let rest = statement(&format!("?from={second}&to={fourth}&limit=1&cursor={next}")).await;
    assert_eq!(ends(&rest), expected("1.00", "6.00", 2), "on every page");
    assert_eq!(rest.json()["items"][0]["amount"], "2.00");
    assert!(rest.json()["next_cursor"].is_null());
    assert_eq!(ends(&statement("?from=2999-01-01T00:00:00Z").await), expected("15.00", "15.00", 0));

    for bad in [format!("?from={fourth}&to={second}"), "?type=DEPOSIT".to_owned(), "?from=soon".to_owned()] {
        assert_problem(&statement(&bad).await, StatusCode::BAD_REQUEST, "validation_error");
    }
    let bob = service.user("bob").await;
    let path = format!("/api/v1/wallets/{wallet}/statement");
    let answer = service.call("GET", &path, &bob, Value::Null).await;
    assert_problem(&answer, StatusCode::NOT_FOUND, "wallet_not_found");
}

/// Texts and times that PostgreSQL cannot hold.
#[tokio::test(flavor = "multi_thread")]
async fn queries_that_no_database_can_hold_are_refused() {
    let service = Service::new();
    let root = service.superuser("root").await;
    let cursor = |place: &str| base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, place);
    let odd = [
        "/api/v1/admin/users?query=%00".to_owned(),
        format!("/api/v1/admin/users?cursor={}", cursor("1:a\0b")),
        format!("/api/v1/imports?cursor={}", cursor(&format!("1:{}:{}", i64::MIN, uuid::Uuid::nil()))),
    ];
    for path in odd {
        let answer = service.call("GET", &path, &root, Value::Null).await;
        assert_problem(&answer, StatusCode::BAD_REQUEST, "validation_error");
    }
}

#[test]
fn a_statement_of_any_time_is_one() {
    let Some(database) = fresh_database() else { return };
    run(statements_of_odd_times(&database));
}

async fn statements_of_odd_times(database: &FreshDatabase) {
    let engine = database.connect();
    block_in_place(|| engine.migrate()).unwrap();
    let (app, site) = serving(engine, 0);
    app.register("alice", "alice@example.com", PASSWORD, "test").await.unwrap();
    let token = app.sign_in("alice", PASSWORD, "test").await.unwrap().access;
    let wallet = told(site.answer(open_request(&token, "a")).await).await.2["id"].as_str().unwrap().to_owned();
    for query in ["to=-009998-01-01T00:00:00Z", "from=9999-12-30T21:59:59Z"] {
        let request = Request::get(format!("/api/v1/wallets/{wallet}/statement?{query}"));
        let request = request.header(header::AUTHORIZATION, format!("Bearer {token}")).body(Body::empty());
        let (status, _, body) = told(site.answer(request.unwrap()).await).await;
        assert_eq!((status, &body["operations"]), (StatusCode::OK, &json!(0)), "{query}: {body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn staff_list_disable_and_correct() {
    let service = Service::new();
    let (root, alice) = (service.superuser("root").await, service.user("alice").await);
    let wallet = service.wallet(&alice, "10.00").await;
    let number = service.caller(&alice).user_number;
    let users = service.call("GET", "/api/v1/admin/users?query=ali", &root, Value::Null).await.json();
    assert_eq!(users["items"][0]["username"], "alice", "{users}");
    let path = format!("/api/v1/admin/wallets?owner={number}");
    let wallets = service.call("GET", &path, &root, Value::Null).await.json();
    assert_eq!(wallets["items"][0]["id"], wallet.as_str(), "{wallets}");

    let path = format!("/api/v1/admin/wallets/{wallet}/adjustments");
    let body = json!({"direction": "CREDIT", "amount": "5.00", "reason": "goodwill"});
    let answer = service.call("POST", &path, &root, body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.json());
    assert_eq!(balance(&service, &alice, &wallet).await, "15.00");
    let body = json!({"direction": "DEBIT", "amount": "15.01", "reason": "x"});
    assert_problem(
        &service.call("POST", &path, &root, body).await,
        StatusCode::UNPROCESSABLE_ENTITY,
        "insufficient_funds",
    );
    let answer = service.call("POST", &path, &root, json!({"direction": "UP", "amount": 1})).await;
    assert_problem(&answer, StatusCode::BAD_REQUEST, "validation_error");

    let path = format!("/api/v1/admin/users/{number}");
    let answer = service.call("PATCH", &path, &root, json!({"is_active": false})).await;
    assert_eq!(answer.json()["is_active"], false);
    let answer = service.call("GET", "/api/auth/users/me/", &alice, Value::Null).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn amounts_follow_the_asset() {
    let service = Service::new();
    let alice = service.user("alice").await;
    for (asset, amount, after) in
        [("JPY", json!(10), "10"), ("KWD", json!("0.005"), "0.005"), ("POINTS", json!(3), "3")]
    {
        let wallet = service.call("POST", "/api/v1/wallets", &alice, json!({"asset": asset})).await.json();
        let path = format!("/api/v1/wallets/{}/operation", wallet["id"].as_str().unwrap());
        let answer = service.call("POST", &path, &alice, json!({"operation_type": "DEPOSIT", "amount": amount})).await;
        assert_eq!(answer.json()["balance"], after, "{asset}");
        let answer = service.call("POST", &path, &alice, json!({"operation_type": "DEPOSIT", "amount": 0.0001})).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{asset}");
    }
    let ping = json!({"operation_type": "WITHDRAW", "amount": "1e1"});
    let answer = service.call("POST", "/api/v1/ping", &alice, ping).await;
    assert_eq!(answer.json(), json!({"operation_type": "WITHDRAW", "amount": "10.00"}));
}
