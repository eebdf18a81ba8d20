//! One user with one wallet.

use std::time::Duration;

use serde_json::{Value, json};
use ureq::{Agent, Body, http::Response};

/// What a batch was answered.
#[derive(Debug)]
pub struct BatchAnswer {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: Value,
    /// Whether it is the first answer again.
    pub is_replayed: bool,
    /// What `Retry-After` says.
    pub retry_after: Option<String>,
}

/// Deposits 1.00 at a time.
#[derive(Clone)]
pub struct Client {
    agent: Agent,
    base: String,
    wallet_path: String,
    token: String,
    refresh: String,
}

fn user() -> Value {
    json!({"username": "outage", "password": "Pull-the-plug-1"})
}

impl Client {
    /// Registers, signs in and opens a wallet.
    pub fn with_wallet(base: &str) -> Self {
        let config =
            Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(30))).build();
        let mut client = Self {
            agent: config.into(),
            wallet_path: String::new(),
            base: base.to_owned(),
            token: String::new(),
            refresh: String::new(),
        };
        assert_eq!(client.post("/api/auth/users/", &user()).0, 201);
        client.sign_in();
        let (_, wallet) = client.post("/api/v1/wallets", &json!({}));
        client.wallet_path = format!("/api/v1/wallets/{}", wallet["id"].as_str().unwrap());
        client
    }

    /// The same user with the same tokens, at another server.
    pub fn at(mut self, base: &str) -> Self {
        base.clone_into(&mut self.base);
        self
    }

    /// New tokens by the password.
    pub fn sign_in(&mut self) {
        let (status, pair) = self.post("/api/auth/token/", &user());
        assert_eq!(status, 200, "{pair}");
        pair["access"].as_str().unwrap().clone_into(&mut self.token);
        pair["refresh"].as_str().unwrap().clone_into(&mut self.refresh);
    }

    /// The status of asking for new tokens by the refresh token.
    pub fn refresh(&self) -> u16 {
        self.post("/api/auth/token/refresh/", &json!({"refresh": self.refresh})).0
    }

    /// The status of asking for the wallet.
    pub fn look(&self) -> u16 {
        self.get().status().as_u16()
    }

    fn get(&self) -> Response<Body> {
        let request = self.agent.get(format!("{}{}", self.base, self.wallet_path));
        request.header("Authorization", format!("Bearer {}", self.token)).call().unwrap()
    }

    fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let mut request = self.agent.post(format!("{}{path}", self.base));
        if !self.token.is_empty() && !path.starts_with("/api/auth/token/") {
            request = request.header("Authorization", format!("Bearer {}", self.token));
        }
        let mut answer = request.send_json(body).unwrap();
        (answer.status().as_u16(), answer.body_mut().read_json().unwrap())
    }

    /// The status, and what `Retry-After` says.
    pub fn deposit(&self) -> (u16, Option<String>) {
        let answer = self
            .agent
            .post(format!("{}{}/operation", self.base, self.wallet_path))
            .header("Authorization", format!("Bearer {}", self.token))
            .send_json(json!({"operation_type": "DEPOSIT", "amount": "1.00"}))
            .unwrap();
        let retry_after = answer.headers().get("Retry-After").map(|value| value.to_str().unwrap().to_owned());
        (answer.status().as_u16(), retry_after)
    }

    /// The wallet's id.
    pub fn wallet(&self) -> &str {
        self.wallet_path.rsplit('/').next().unwrap_or_default()
    }

    /// Sends this batch with this key.
    pub fn batch(&self, key: &str, batch: &Value) -> BatchAnswer {
        let request = self.agent.post(format!("{}/api/v1/batches", self.base)).header("Idempotency-Key", key);
        let mut answer = request.header("Authorization", format!("Bearer {}", self.token)).send_json(batch).unwrap();
        let text = |name| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let (is_replayed, retry_after) = (text("Idempotency-Replayed").is_some(), text("Retry-After"));
        let status = answer.status().as_u16();
        BatchAnswer { status, body: answer.body_mut().read_json().unwrap(), is_replayed, retry_after }
    }

    /// The status of asking whether the server is ready, and what `Retry-After` says.
    pub fn readiness(&self) -> (u16, Option<String>) {
        let answer = self.agent.get(format!("{}/readyz", self.base)).call().unwrap();
        let retry_after = answer.headers().get("Retry-After").map(|value| value.to_str().unwrap().to_owned());
        (answer.status().as_u16(), retry_after)
    }

    /// The wallet's balance in minor units.
    pub fn balance_minor(&self) -> i64 {
        let body: Value = self.get().body_mut().read_json().unwrap();
        body["balance"].as_str().unwrap_or_else(|| panic!("{body}")).replace('.', "").parse().unwrap()
    }

    /// The status of a deposit of 1.00 with this key; none when no answer came.
    pub fn deposit_once(&self, key: &str) -> Option<u16> {
        let request = self.agent.post(format!("{}{}/operation", self.base, self.wallet_path));
        let request = request.header("Authorization", format!("Bearer {}", self.token)).header("Idempotency-Key", key);
        let answer = request.send_json(json!({"operation_type": "DEPOSIT", "amount": "1.00"})).ok()?;
        Some(answer.status().as_u16())
    }
}
