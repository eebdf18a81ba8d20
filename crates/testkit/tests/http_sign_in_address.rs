//! Failed sign-ins are counted by where they come from, over real connections from several loopback addresses.

#![expect(clippy::unwrap_used, reason = "what a test cannot read or prepare has failed it")]

use std::net::SocketAddr;

use florin_http::{ConnectionLimits, HttpOptions, serve};
use florin_testkit::service::{PASSWORD, Service, settings};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket},
};

const MINUTE_US: i64 = 60_000_000;

struct Served {
    service: Service,
    address: SocketAddr,
}

async fn served(options: HttpOptions) -> Served {
    let service = Service::with(settings(), options);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, service.router(), ConnectionLimits::default(), std::future::pending::<()>()));
    Served { service, address }
}

impl Served {
    /// Signs in from that loopback address; the answer as it came.
    async fn sign_in(&self, from: &str, forwarded: &str, name: &str, password: &str) -> String {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
        let mut stream = socket.connect(self.address).await.unwrap();
        let body = json!({"username": name, "password": password}).to_string();
        let forwarded = if forwarded.is_empty() { String::new() } else { format!("X-Forwarded-For: {forwarded}\r\n") };
        let request = format!(
            "POST /api/auth/token/ HTTP/1.1\r\nHost: florin\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n{forwarded}\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// The status of a sign-in.
    async fn status(&self, from: &str, forwarded: &str, name: &str, password: &str) -> u16 {
        let answer = self.sign_in(from, forwarded, name, password).await;
        answer.split(' ').nth(1).unwrap().parse().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_guesses_under_many_names_is_stopped_and_nobody_else() {
    let served = served(HttpOptions { sign_in_failures_per_address: Some(6), ..HttpOptions::default() }).await;
    served.service.user("alice").await;
    for name in ["alice", "bob", "carol"] {
        assert_eq!(served.status("127.0.0.2", "", name, "guess").await, 401, "{name}");
    }
    let answer = served.sign_in("127.0.0.2", "", "dave", "guess").await;
    assert!(answer.starts_with("HTTP/1.1 429 ") && answer.contains("\r\nretry-after: 600\r\n"), "{answer}");
    assert!(answer.ends_with(r#"{"detail":"Request was throttled. Expected available in 600 seconds."}"#), "{answer}");
    // Not with the right password either, and not by writing another address into the request.
    assert_eq!(served.status("127.0.0.2", "203.0.113.1", "alice", PASSWORD).await, 429);
    // The account is not held back where its owner is; nor is the address for good.
    assert_eq!(served.status("127.0.0.3", "", "alice", PASSWORD).await, 200);
    served.service.clock.advance_us(10 * MINUTE_US);
    assert_eq!(served.status("127.0.0.2", "", "alice", PASSWORD).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_trusted_proxy_its_clients_are_told_apart() {
    let trusted_proxies = vec!["127.0.0.9".parse().unwrap()];
    let options = HttpOptions { sign_in_failures_per_address: Some(2), trusted_proxies, ..HttpOptions::default() };
    let served = served(options).await;
    served.service.user("alice").await;
    assert_eq!(served.status("127.0.0.9", "2001:db8::1", "alice", "guess").await, 401);
    assert_eq!(served.status("127.0.0.9", "2001:db8::2", "alice", PASSWORD).await, 429, "the same /64");
    assert_eq!(served.status("127.0.0.9", "2001:db8::1, 203.0.113.1", "alice", PASSWORD).await, 200);
    // Who is no proxy is not believed.
    assert_eq!(served.status("127.0.0.2", "2001:db8::1", "alice", PASSWORD).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_by_address_can_be_turned_off() {
    let served = served(HttpOptions { sign_in_failures_per_address: None, ..HttpOptions::default() }).await;
    for number in 0..12 {
        assert_eq!(served.status("127.0.0.2", "", &format!("name{number}"), "guess").await, 401);
    }
}
