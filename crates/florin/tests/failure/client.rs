//! One user with one wallet.

use std::time::Duration;

use serde_json::{Value, json};
use ureq::Agent;

/// Deposits 1.00 at a time.
pub struct Client {
    agent: Agent,
    wallet_url: String,
    token: String,
}

impl Client {
    /// Registers, signs in and opens a wallet.
    pub fn with_wallet(base: &str) -> Self {
        let config =
            Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(30))).build();
        let agent: Agent = config.into();
        let user = json!({"username": "outage", "password": "Pull-the-plug-1"});
        let post = |path: &str, token: &str, body: &Value| -> Value {
            let request = agent.post(format!("{base}{path}")).header("Authorization", format!("Bearer {token}"));
            request.send_json(body).unwrap().body_mut().read_json().unwrap()
        };
        post("/api/auth/users/", "", &user);
        let token = post("/api/auth/token/", "", &user)["access"].as_str().unwrap().to_owned();
        let wallet = post("/api/v1/wallets", &token, &json!({}));
        let wallet_url = format!("{base}/api/v1/wallets/{}", wallet["id"].as_str().unwrap());
        Self { agent, wallet_url, token }
    }

    /// The status, and what `Retry-After` says.
    pub fn deposit(&self) -> (u16, Option<String>) {
        let answer = self
            .agent
            .post(format!("{}/operation", self.wallet_url))
            .header("Authorization", format!("Bearer {}", self.token))
            .send_json(json!({"operation_type": "DEPOSIT", "amount": "1.00"}))
            .unwrap();
        let retry_after = answer.headers().get("Retry-After").map(|value| value.to_str().unwrap().to_owned());
        (answer.status().as_u16(), retry_after)
    }

    /// The wallet's balance in minor units.
    pub fn balance_minor(&self) -> i64 {
        let request = self.agent.get(&self.wallet_url).header("Authorization", format!("Bearer {}", self.token));
        let body: Value = request.call().unwrap().body_mut().read_json().unwrap();
        body["balance"].as_str().unwrap_or_else(|| panic!("{body}")).replace('.', "").parse().unwrap()
    }
}
