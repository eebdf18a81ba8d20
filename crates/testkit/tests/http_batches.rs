//! Batches over HTTP: all or nothing, each on its own, once per key, and by the rights of the single routes.

#![expect(clippy::unwrap_used, reason = "what a test cannot read or prepare has failed it")]

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Barrier},
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes, HttpBody},
    http::{Request, StatusCode, header},
};
use florin_app::wallet::{BatchItem, BatchMove, BatchRights};
use florin_http::HttpOptions;
use florin_ledger::AccountId;
use florin_testkit::service::{Answer, PASSWORD, Service, settings};
use futures_util::FutureExt as _;
use http_body::{Frame, SizeHint};
use serde_json::{Value, json};
use tokio::task::block_in_place;

const PATH: &str = "/api/v1/batches";
const KEY: &str = "idempotency-key";
const NOWHERE: &str = "0197b9a2-7c31-7d52-9d5e-7f0f2f6f3a11";

async fn balance(service: &Service, token: &str, wallet: &str) -> String {
    let answer = service.call("GET", &format!("/api/v1/wallets/{wallet}/"), token, Value::Null).await;
    answer.json()["balance"].as_str().unwrap().to_owned()
}

fn deposit(wallet: &str, amount: &str) -> Value {
    json!({"type": "DEPOSIT", "wallet": wallet, "amount": amount})
}

fn withdraw(wallet: &str, amount: &str) -> Value {
    json!({"type": "WITHDRAW", "wallet": wallet, "amount": amount})
}

fn codes(answer: &Answer) -> Vec<String> {
    let told = |result: &Value| result["code"].as_str().or(result["status"].as_str()).unwrap().to_owned();
    answer.json()["results"].as_array().unwrap().iter().map(told).collect()
}

/// Three users' worth of wallets: alice has two, bob one.
async fn world(service: &Service) -> (String, String, [String; 3]) {
    let (alice, bob) = (service.user("alice").await, service.user("bob").await);
    let wallets = [
        service.wallet(&alice, "100.00").await,
        service.wallet(&alice, "0").await,
        service.wallet(&bob, "50.00").await,
    ];
    (alice, bob, wallets)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_command_stands_for_itself() {
    let service = Service::new();
    let (alice, bob, [first, second, bobs]) = world(&service).await;
    let commands = json!([
        deposit(&first, "10.50"),
        withdraw(&first, "1000"),
        {"type": "TRANSFER", "from": first, "to": bobs, "amount": 60, "reason": "rent"},
        {"type": "TRANSFER", "from": bobs, "to": first, "amount": 1},
        {"type": "TRANSFER", "from": first, "to": NOWHERE, "amount": 1},
        deposit(&bobs, "1"),
        deposit(NOWHERE, "1"),
        {"type": "ADJUSTMENT", "wallet": first, "amount": "1", "direction": "CREDIT", "reason": "x"},
        deposit(&first, "1.005"),
        deposit(&first, "-1"),
        {"type": "WITHDRAW", "wallet": second, "amount": "0.01"},
        deposit(&second, "7"),
        withdraw(&second, "7.00"),
    ]);
    let answer = service.call("POST", PATH, &alice, json!({"commands": commands})).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.json());
    let expected = [
        "applied",
        "insufficient_funds",
        "applied",
        "wallet_not_found",
        "wallet_not_found",
        "wallet_not_found",
        "wallet_not_found",
        "permission_denied",
        "validation_error",
        "validation_error",
        "insufficient_funds",
        "applied",
        "applied",
    ];
    assert_eq!(codes(&answer), expected);
    let body = answer.json();
    assert_eq!(
        (body["applied"].as_u64(), body["refused"].as_u64(), &body["atomic"]),
        (Some(4), Some(9), &json!(false))
    );
    let applied = |at: usize, figure: &str| {
        let id = &body["results"][at]["transaction_id"];
        let expected = json!({"status": "applied", "transaction_id": id, "posted": figure, "pending": "0.00",
            "available": figure});
        assert_eq!(body["results"][at], expected);
        assert!(uuid::Uuid::parse_str(id.as_str().unwrap()).is_ok(), "{id}");
    };
    applied(0, "110.50");
    // The source after a transfer.
    applied(2, "50.50");
    applied(12, "0.00");
    assert_eq!(body["results"][1]["detail"], "Available: 110.50, required: 1000.00.");
    assert_eq!(body["results"][8]["detail"], "amount: Ensure that there are no more than 2 decimal places.");
    assert_eq!(balance(&service, &alice, &first).await, "50.50");
    assert_eq!(balance(&service, &bob, &bobs).await, "110.00");
    let path = format!("/api/v1/wallets/{first}/operations?limit=1");
    let newest = service.call("GET", &path, &alice, Value::Null).await.json()["items"][0].clone();
    assert_eq!(newest["transaction_id"], body["results"][2]["transaction_id"]);
    assert_eq!(newest["reason"], "rent");
}

/// Of the wallets of the larger batch, one is known from a batch, one from a look at it, and one not at all; then all.
#[tokio::test(flavor = "multi_thread")]
async fn whose_wallets_they_are_is_known_after_a_restart() {
    let service = Service::new();
    let (_, _, [first, second, bobs]) = world(&service).await;
    let service = service.restarted();
    let alice = service.token("alice", PASSWORD).await;
    assert_eq!(balance(&service, &alice, &second).await, "0.00");
    let owned = json!([deposit(&first, "1"), deposit(&first, "2")]);
    let mixed = json!([
        deposit(NOWHERE, "4"),
        deposit(&second, "8"),
        deposit(&bobs, "16"),
        deposit(&first, "32"),
        deposit(&second, "64")
    ]);
    for (commands, expected, left) in [
        (&owned, &["applied", "applied"][..], "103.00"),
        (&mixed, &["wallet_not_found", "applied", "wallet_not_found", "applied", "applied"], "135.00"),
        (&mixed, &["wallet_not_found", "applied", "wallet_not_found", "applied", "applied"], "167.00"),
    ] {
        let answer = service.call("POST", PATH, &alice, json!({"commands": commands})).await;
        assert_eq!(codes(&answer), expected);
        assert_eq!(balance(&service, &alice, &first).await, left);
    }
    assert_eq!(balance(&service, &alice, &second).await, "144.00");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_atomic_batch_with_a_refusal_changes_nothing() {
    let service = Service::new();
    let (alice, bob, [first, second, bobs]) = world(&service).await;
    let refusals = [
        (withdraw(&first, "111"), "insufficient_funds"),
        (deposit(&bobs, "1"), "wallet_not_found"),
        (deposit(&first, "0.001"), "validation_error"),
    ];
    for (refused, code) in refusals {
        let commands = json!([deposit(&first, "10"), deposit(&second, "5"), refused, deposit(&first, "1")]);
        let answer = service.call("POST", PATH, &alice, json!({"commands": commands, "atomic": true})).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", answer.json());
        assert_eq!(answer.header("content-type"), "application/problem+json");
        let body = answer.json();
        assert_eq!(
            (&body["code"], &body["status"], &body["errors"]),
            (&json!("batch_refused"), &json!(422), &json!({}))
        );
        assert_eq!(body["request_id"], answer.header("x-request-id"));
        let detail = body["detail"].as_str().unwrap();
        assert!(detail.starts_with(&format!("Nothing was applied: commands[2] was refused ({code}).")), "{detail}");
        assert_eq!(codes(&answer), ["batch_refused", "batch_refused", code, "batch_refused"]);
        assert!(body["results"][0]["detail"].as_str().unwrap().contains("item 2 was refused"), "{body}");
        let balances = [(&alice, &first, "100.00"), (&alice, &second, "0.00"), (&bob, &bobs, "50.00")];
        for (token, wallet, expected) in balances {
            assert_eq!(balance(&service, token, wallet).await, expected);
        }
    }
    let commands = json!([deposit(&second, "10"), {"type": "TRANSFER", "from": second, "to": bobs, "amount": "10"}]);
    let answer = service.call("POST", PATH, &alice, json!({"commands": commands, "atomic": true})).await;
    assert_eq!((answer.status, codes(&answer)), (StatusCode::OK, vec!["applied".to_owned(), "applied".to_owned()]));
    assert_eq!(balance(&service, &bob, &bobs).await, "60.00");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_gives_the_first_answer_again_status_and_body() {
    let service = Service::new();
    let (alice, bob, [first, second, _]) = world(&service).await;
    let mixed = json!({"commands": [deposit(&first, "10"), withdraw(&second, "1")]});
    let refused = json!({"commands": [deposit(&first, "10"), withdraw(&second, "2")], "atomic": true});
    let unread = json!({"commands": [deposit(&first, "1.001")], "atomic": true});
    let cases = [("a", mixed, StatusCode::OK), ("b", refused, StatusCode::UNPROCESSABLE_ENTITY)];
    for (key, body, status) in cases.into_iter().chain([("c", unread, StatusCode::UNPROCESSABLE_ENTITY)]) {
        let once = service.call_with("POST", PATH, &alice, body.clone(), &[(KEY, key)]).await;
        assert_eq!((once.status, once.header("idempotency-replayed")), (status, ""), "{}", once.json());
        // What would be refused now was applied then, and the other way round.
        service.call("POST", PATH, &alice, json!({"commands": [deposit(&second, "1")]})).await;
        let again = service.call_with("POST", PATH, &alice, body.clone(), &[(KEY, key)]).await;
        assert_eq!((again.status, again.header("idempotency-replayed")), (status, "true"));
        assert_eq!(again.bytes, once.bytes);
        assert_eq!(again.header("content-type"), once.header("content-type"));
        let other = json!({"commands": [deposit(&first, "11")]});
        let reused = service.call_with("POST", PATH, &alice, other, &[(KEY, key)]).await;
        assert_eq!(
            (reused.status, &reused.json()["code"]),
            (StatusCode::UNPROCESSABLE_ENTITY, &json!("idempotency_key_reused"))
        );
    }
    assert_eq!(balance(&service, &alice, &first).await, "110.00");
    // Keys are the caller's own.
    let answer =
        service.call_with("POST", PATH, &bob, json!({"commands": [deposit(&first, "1")]}), &[(KEY, "a")]).await;
    assert_eq!((answer.status, codes(&answer)), (StatusCode::OK, vec!["wallet_not_found".to_owned()]));
}

/// As the rows of older databases are, which kept the text.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_whose_text_was_kept_is_given_again() {
    let service = Service::new();
    let (alice, _, [first, ..]) = world(&service).await;
    let body = json!({"commands": [deposit(&first, "10")]});
    service.call_with("POST", PATH, &alice, body.clone(), &[(KEY, "old")]).await;
    let old = br#"{"as":"it was"}"#;
    let params = [florin_store::Value::Int(422), florin_store::Value::Bytes(old.to_vec())];
    let changed = florin_store::write(&*service.engine, |tx| {
        tx.execute("UPDATE request_answers SET status = $1, kept = $2 WHERE key = 'old'", &params)
    });
    assert_eq!(changed.unwrap(), 1);
    let again = service.call_with("POST", PATH, &alice, body, &[(KEY, "old")]).await;
    assert_eq!((again.status, again.header("idempotency-replayed")), (StatusCode::UNPROCESSABLE_ENTITY, "true"));
    assert_eq!((&again.bytes[..], again.header("content-type")), (&old[..], "application/problem+json"));
    assert_eq!(balance(&service, &alice, &first).await, "110.00");
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_requests_at_once_have_one_effect() {
    let service = Arc::new(Service::new());
    let (alice, _, [first, ..]) = world(&service).await;
    let body = json!({"commands": vec![deposit(&first, "1"); 100]});
    let requests: Vec<_> = (0..8)
        .map(|_| {
            let (service, alice, body) = (service.clone(), alice.clone(), body.clone());
            tokio::spawn(async move { service.call_with("POST", PATH, &alice, body, &[(KEY, "k")]).await })
        })
        .collect();
    let mut answers = Vec::new();
    for request in requests {
        answers.push(request.await.unwrap());
    }
    let news = answers.iter().filter(|answer| answer.header("idempotency-replayed").is_empty()).count();
    assert_eq!(news, 1);
    assert!(answers.iter().all(|answer| answer.status == StatusCode::OK && answer.bytes == answers[0].bytes));
    assert_eq!(balance(&service, &alice, &first).await, "200.00");
}

/// Room is taken by what has come: announcing holds nothing, and one user's bodies leave room for those of others.
#[tokio::test]
async fn bodies_on_their_way_in_are_bounded_by_their_bytes() {
    let service = Service::new();
    let (alice, bob, [first, _, bobs]) = world(&service).await;
    let (alices, bobs) = (json!({"commands": [deposit(&first, "1")]}), json!({"commands": [deposit(&bobs, "1")]}));
    let held = |count, declared: Option<u64>, sent: usize| {
        let request = || unfinished(&alice, declared, Bytes::from(vec![b' '; sent]));
        (0..count).map(|_| Box::pin(service.send(request()))).collect::<Vec<_>>()
    };
    for (mut requests, status) in [
        (held(1000, Some(BODY_MAX), 0), StatusCode::OK),
        (held(1000, None, 1), StatusCode::OK),
        (held(7, Some(BODY_MAX), 8 << 20), StatusCode::OK),
        (held(8, None, 8 << 20), StatusCode::SERVICE_UNAVAILABLE),
    ] {
        for request in &mut requests {
            assert!(request.now_or_never().is_none(), "it waits for its body");
        }
        let answer = service.call("POST", PATH, &alice, alices.clone()).await;
        assert_eq!((answer.status, answer.header("retry-after").is_empty()), (status, status == StatusCode::OK));
        let answer = service.call("POST", PATH, &bob, bobs.clone()).await;
        assert_eq!(answer.status, StatusCode::OK, "another user finds room");
    }
    let answer = service.call("POST", PATH, &alice, alices).await;
    assert_eq!(answer.status, StatusCode::OK, "there is room again");
    let declared = unfinished(&alice, Some(BODY_MAX + 1), Bytes::new());
    let answer = service.send(declared).await;
    let expected = (StatusCode::PAYLOAD_TOO_LARGE, &json!("body_too_large"));
    assert_eq!((answer.status, &answer.json()["code"]), expected, "it is not waited for");
}

const BODY_MAX: u64 = 8 << 20;

/// A batch whose body has begun and never ends, of that length by its head.
fn unfinished(token: &str, declared: Option<u64>, sent: Bytes) -> Request<Body> {
    let request = Request::builder().method("POST").uri(PATH).header(header::CONTENT_TYPE, "application/json");
    let request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    request.body(Body::new(Unfinished { declared, sent })).unwrap()
}

struct Unfinished {
    declared: Option<u64>,
    sent: Bytes,
}

impl HttpBody for Unfinished {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Infallible>>> {
        let sent = std::mem::take(&mut self.get_mut().sent);
        if sent.is_empty() { Poll::Pending } else { Poll::Ready(Some(Ok(Frame::data(sent)))) }
    }

    fn size_hint(&self) -> SizeHint {
        self.declared.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_malformed_is_named_by_its_place_and_nothing_is_applied() {
    let service = Service::new();
    let (alice, _, [first, second, _]) = world(&service).await;
    let good = deposit(&first, "1");
    let bad = [
        (json!({"type": "GIFT", "wallet": first, "amount": 1}), "commands[1].type"),
        (json!({"type": "DEPOSIT", "amount": 1}), "commands[1].wallet"),
        (json!({"type": "DEPOSIT", "wallet": "x", "amount": 1}), "commands[1].wallet"),
        (json!({"type": "DEPOSIT", "wallet": first}), "commands[1].amount"),
        (json!({"type": "DEPOSIT", "wallet": first, "amount": [1]}), "commands[1].amount"),
        (json!({"type": "DEPOSIT", "wallet": first, "amount": 1, "to": second}), "commands[1].to"),
        (json!({"type": "DEPOSIT", "wallet": first, "amount": 1, "direction": "DEBIT"}), "commands[1].direction"),
        (json!({"type": "DEPOSIT", "wallet": first, "amount": 1, "reason": "x".repeat(501)}), "commands[1].reason"),
        (json!({"type": "DEPOSIT", "wallet": first, "amount": 1, "reason": 7}), "commands[1].reason"),
        (json!({"type": "TRANSFER", "from": first, "to": first, "amount": 1}), "commands[1].to"),
        (json!({"type": "TRANSFER", "wallet": first, "to": second, "amount": 1}), "commands[1].from"),
        (
            json!({"type": "ADJUSTMENT", "wallet": first, "amount": 1, "direction": "UP", "reason": "x"}),
            "commands[1].direction",
        ),
        (json!({"type": "ADJUSTMENT", "wallet": first, "amount": 1, "direction": "DEBIT"}), "commands[1].reason"),
    ];
    for (bad, name) in bad {
        let answer = service.call("POST", PATH, &alice, json!({"commands": [good, bad, good]})).await;
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (StatusCode::BAD_REQUEST, &json!("validation_error")),
            "{bad}"
        );
        assert!(answer.json()["errors"][name].is_array(), "{bad}: {}", answer.json());
        assert!(answer.json()["detail"].as_str().unwrap().starts_with(name), "{}", answer.json());
    }
    for other in [json!(7), json!(1e300), json!(true), json!(["a"]), json!({"a": [1]})] {
        let bad = json!({"type": "ADJUSTMENT", "wallet": other, "amount": 1, "direction": other, "reason": other});
        let answer = service.call("POST", PATH, &alice, json!({"commands": [good, bad]})).await;
        let no_text = json!(["Not a valid string."]);
        for name in ["wallet", "direction", "reason"] {
            assert_eq!(answer.json()["errors"][format!("commands[1].{name}")], no_text, "{other}: {}", answer.json());
        }
    }
    // An escape that is half a character: no text, so no number, and not left out in silence.
    let text = format!(r#"{{"commands":[{good},{{"type":"DEPOSIT","wallet":"{first}","amount":"\ud800"}}]}}"#);
    let answer = send(&service, &alice, text).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.json());
    assert_eq!(answer.json()["errors"]["commands[1].amount"], json!(["A valid number is required."]));
    assert_eq!(balance(&service, &alice, &first).await, "100.00");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_object_of_commands_is_told_so_in_words_of_json() {
    let service = Service::new();
    let (alice, _, [first, ..]) = world(&service).await;
    let good = deposit(&first, "1");
    let members_alone = format!(r#"{{"commands":[{good},["DEPOSIT","{first}",null,null,1,null,null]]}}"#);
    let parse_errors = [
        (r#"{"commands":[{"type":"DEPOSIT"},{"colour":"red"}]}"#, "commands[1]: unknown field `colour`"),
        (r#"{"commands":[{"type":"DEPOSIT"},7]}"#, "commands[1]: invalid type: integer `7`, expected an object at"),
        (r#"{"commands":[[],{}]}"#, "commands[0]: invalid type: sequence, expected an object at"),
        (&members_alone, "commands[1]: invalid type: sequence, expected an object at"),
        (r#"{"commands":[{"type":"DEPOSIT"}"#, "EOF"),
        (r#"{"commands":{}}"#, "a list of commands"),
        (r#"{"commands":[],"atomic":[1]}"#, "a boolean"),
        (r#"{"commands":[],"extra":1}"#, "unknown field `extra`"),
    ];
    for (text, said) in parse_errors {
        let answer = send(&service, &alice, text.to_owned()).await;
        assert_eq!((answer.status, &answer.json()["code"]), (StatusCode::BAD_REQUEST, &json!("parse_error")), "{text}");
        let body = answer.json();
        let detail = body["detail"].as_str().unwrap();
        assert!(detail.contains(said) && !detail.contains("struct"), "{body}");
    }
    for text in ["{}", "{\"commands\":[]}", "", "[]", "7"] {
        let answer = send(&service, &alice, text.to_owned()).await;
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (StatusCode::BAD_REQUEST, &json!("validation_error")),
            "{text}"
        );
    }
    assert_eq!(balance(&service, &alice, &first).await, "100.00");
    // A mark of the byte order is passed over.
    let marked = send(&service, &alice, format!("\u{feff}{{\"commands\":[{good}]}}")).await;
    assert_eq!((marked.status, codes(&marked)), (StatusCode::OK, vec!["applied".to_owned()]));
}

async fn send(service: &Service, token: &str, text: String) -> Answer {
    let request = Request::builder()
        .method("POST")
        .uri(PATH)
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header(header::CONTENT_TYPE, "application/json");
    service.send(request.body(Body::from(text)).unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_commands_fit_and_no_more() {
    let service = Service::new();
    let (alice, _, [first, ..]) = world(&service).await;
    let one = deposit(&first, "0.01");
    let full = service.call("POST", PATH, &alice, json!({"commands": vec![one.clone(); 10_000]})).await;
    assert_eq!((full.status, full.json()["applied"].as_u64()), (StatusCode::OK, Some(10_000)));
    assert_eq!(full.json()["results"][9_999]["posted"], "200.00");
    let over = service.call("POST", PATH, &alice, json!({"commands": vec![one; 10_001]})).await;
    assert_eq!((over.status, &over.json()["code"]), (StatusCode::PAYLOAD_TOO_LARGE, &json!("batch_too_large")));
    let huge = json!({"commands": [{"type": "DEPOSIT", "wallet": first, "amount": 1, "reason": "x".repeat(9 << 20)}]});
    let huge = service.call("POST", PATH, &alice, huge).await;
    assert_eq!((huge.status, &huge.json()["code"]), (StatusCode::PAYLOAD_TOO_LARGE, &json!("body_too_large")));
    assert_eq!(balance(&service, &alice, &first).await, "200.00");
}

#[tokio::test(flavor = "multi_thread")]
async fn staff_and_the_operator_decide_as_on_the_single_routes() {
    let mut rules = settings();
    rules.self_deposit = false;
    let service = Service::with(rules, HttpOptions::default());
    let (root, alice) = (service.superuser("root").await, service.user("alice").await);
    let wallet = service.wallet(&alice, "0").await;
    let commands = json!({"commands": [
        deposit(&wallet, "5"), withdraw(&wallet, "1"),
        {"type": "ADJUSTMENT", "wallet": wallet, "amount": "2.50", "direction": "CREDIT", "reason": "goodwill"},
        {"type": "ADJUSTMENT", "wallet": wallet, "amount": "0.50", "direction": "DEBIT", "reason": "fee"},
        {"type": "TRANSFER", "from": wallet, "to": NOWHERE, "amount": 1},
    ]});
    let mine = service.call("POST", PATH, &alice, commands.clone()).await;
    let denied = "permission_denied";
    assert_eq!(codes(&mine), [denied, denied, denied, denied, "wallet_not_found"]);
    let theirs = service.call("POST", PATH, &root, commands).await;
    assert_eq!(codes(&theirs), ["applied", "applied", "applied", "applied", "wallet_not_found"]);
    assert_eq!(balance(&service, &alice, &wallet).await, "6.00");
}

/// Nobody is told to come again with what was applied, however much waits for the threads that write answers.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_applied_is_not_refused_for_want_of_a_thread() {
    let service = Service::new();
    let (alice, _, [wallet, ..]) = world(&service).await;
    let (caller, app) = (service.caller(&alice), service.app.clone());
    let id = AccountId(uuid::Uuid::parse_str(&wallet).unwrap());
    let item = BatchItem { what: BatchMove::Deposit, wallet: id, amount: (), reason: None };
    let batch = app.prepare_batch(BatchRights::Caller(caller), &[item], |(), _| Ok(100)).unwrap();
    // The threads are at work, and as much waits for them as may.
    let gate = Arc::new(Barrier::new(settings().batch_parallelism + 1));
    let holding: Vec<_> = (0..settings().batch_parallelism)
        .map(|_| {
            let (app, gate) = (app.clone(), Arc::clone(&gate));
            let hold = move || {
                gate.wait();
                gate.wait();
            };
            tokio::spawn(async move { app.on_batch_thread(hold).await })
        })
        .collect();
    block_in_place(|| gate.wait());
    while app.on_batch_thread(|| ()).now_or_never().is_none() {}
    let apply = {
        let app = app.clone();
        async move {
            app.apply_batch(&caller, batch, false, None, "id", |outcome, _| (200, vec![1; outcome.applied()])).await
        }
    };
    let applying = tokio::spawn(apply);
    while balance(&service, &alice, &wallet).await != "101.00" {
        tokio::task::yield_now().await;
    }
    block_in_place(|| gate.wait());
    assert_eq!(applying.await.unwrap().unwrap().body, [1]);
    for one in holding {
        one.await.unwrap().unwrap();
    }
}
