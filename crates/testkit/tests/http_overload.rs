//! The wire when the ledger's queue is full.

use std::sync::Arc;

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use florin_app::QueueSettings;
use florin_testkit::{held::Held, service::Service};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_is_told_before_the_body_is_read() {
    let service =
        Arc::new(Service::with_queue(QueueSettings { capacity: 1, batch_max: 1, ..QueueSettings::default() }));
    let alice = service.user("alice").await;
    let wallet = service.call("POST", "/api/v1/wallets", &alice, json!({})).await.json();
    let path = format!("/api/v1/wallets/{}/operation", wallet["id"].as_str().unwrap());

    let deposit = json!({"operation_type": "DEPOSIT", "amount": 1});
    assert_eq!(service.call("POST", &path, &alice, deposit.clone()).await.status, StatusCode::OK);

    let held = Held::open(service.engine.clone(), |_| Ok(()));

    // One in the writer's hands, then one that waits: that is all there is room for.
    let mut under_way = Vec::new();
    for _ in 0..2 {
        while !service.app.takes_movements() {
            tokio::task::yield_now().await;
        }
        let (service, path, alice, deposit) = (service.clone(), path.clone(), alice.clone(), deposit.clone());
        let mut one = Box::pin(async move { service.call("POST", &path, &alice, deposit).await.status });
        let ended = std::future::poll_fn(|context| std::task::Poll::Ready(one.as_mut().poll(context).is_ready())).await;
        assert!(!ended, "a deposit that fits waits for the writer");
        under_way.push(one);
    }
    // A body that never comes: only a refusal on the head alone can answer.
    let endless = Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let request = Request::post(&path).header("x-request-id", "mine").body(endless).unwrap();
    let answer = service.send(request).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!((answer.header("retry-after"), answer.header("x-request-id")), ("1", "mine"));
    assert_eq!(answer.header("allow"), "POST, OPTIONS");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(answer.json(), json!({"detail": "Service temporarily unavailable, try again later."}));
    let read = service.call("GET", "/api/auth/users/me/", &alice, Value::Null).await;
    assert_eq!(read.status, StatusCode::OK, "everything else goes on");

    held.release().unwrap();
    for one in under_way {
        assert_eq!(one.await, StatusCode::OK, "what was taken is done");
    }
    assert_eq!(service.call("POST", &path, &alice, deposit).await.status, StatusCode::OK);
}
