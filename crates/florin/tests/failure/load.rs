//! Clients that remember what was acknowledged, and what they never learned.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use ureq::Agent;

const CLIENTS: u64 = 8;
const WALLETS: usize = 12;
const PASSWORD: &str = "kill-Minus-9!";

/// A request with its key: what is sent again until its answer is known.
#[derive(Clone)]
struct Intent {
    key: String,
    from: Option<usize>,
    to: usize,
    amount_minor: i64,
}

/// What the clients know.
pub struct Load {
    agent: Agent,
    seed: u64,
    next: AtomicU64,
    token: String,
    wallets: Vec<String>,
    /// Balance of each wallet by what was acknowledged, in minor units.
    balances: Mutex<Vec<i64>>,
    unknown: Mutex<Vec<Intent>>,
    acknowledged: AtomicU64,
    replayed: AtomicU64,
}

impl Load {
    /// No wallets yet.
    pub fn new(seed: u64) -> Self {
        let config =
            Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(20))).build();
        Self {
            agent: config.into(),
            seed,
            next: AtomicU64::new(0),
            token: String::new(),
            wallets: Vec::new(),
            balances: Mutex::new(vec![0; WALLETS]),
            unknown: Mutex::new(Vec::new()),
            acknowledged: AtomicU64::new(0),
            replayed: AtomicU64::new(0),
        }
    }

    /// Registers, signs in and opens the wallets.
    pub fn prepare(&mut self, base: &str) {
        let user = json!({"username": "killer", "password": PASSWORD});
        let (status, body, _) = self.post(base, "/api/auth/users/", &user, None).unwrap();
        assert_eq!(status, 201, "{body}");
        let (status, body, _) = self.post(base, "/api/auth/token/", &user, None).unwrap();
        assert_eq!(status, 200, "{body}");
        self.token = body["access"].as_str().unwrap().to_owned();
        for _ in 0..WALLETS {
            let (status, body, _) = self.post(base, "/api/v1/wallets", &json!({}), None).unwrap();
            assert_eq!(status, 201, "{body}");
            self.wallets.push(body["id"].as_str().unwrap().to_owned());
        }
    }

    /// Lets clients work on `bases` until `kill` was called in the middle and every client met its end.
    pub fn run(&self, bases: &[&str], kill: impl FnOnce()) {
        let quota = 20 + self.random() % 300;
        let (done, killed) = (AtomicU64::new(0), AtomicU64::new(0));
        let (reached, signal) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                let (done, killed, reached) = (&done, &killed, reached.clone());
                let base = bases[usize::try_from(client).unwrap() % bases.len()];
                scope.spawn(move || {
                    // A client stops at its first lost answer, or when the kill has happened.
                    while killed.load(Ordering::SeqCst) == 0 {
                        let intent = self.intent();
                        if !self.send(base, &intent) {
                            self.unknown.lock().unwrap().push(intent);
                            break;
                        }
                        if done.fetch_add(1, Ordering::SeqCst) == quota {
                            let _ = reached.send(());
                        }
                    }
                });
            }
            drop(reached);
            signal.recv().expect("every client lost an answer before the kill");
            kill();
            killed.store(1, Ordering::SeqCst);
        });
    }

    /// Sends everything again whose answer was lost; the key makes it happen once.
    pub fn settle(&self, base: &str) {
        let unknown = std::mem::take(&mut *self.unknown.lock().unwrap());
        for intent in unknown {
            assert!(self.send(base, &intent), "the answer to {} was lost again", intent.key);
        }
    }

    /// Every wallet has exactly what was acknowledged.
    pub fn compare(&self, base: &str, round: u64) {
        let expected = self.balances.lock().unwrap().clone();
        let found: Vec<i64> = self.wallets.iter().map(|id| self.balance(base, id)).collect();
        assert_eq!(found, expected, "round {round}: balances differ from what was acknowledged");
    }

    /// What happened, for people.
    pub fn summary(&self) -> String {
        format!(
            "{} operations acknowledged, {} of them answered again after a kill",
            self.acknowledged.load(Ordering::SeqCst),
            self.replayed.load(Ordering::SeqCst)
        )
    }

    fn balance(&self, base: &str, id: &str) -> i64 {
        let mut answer = self
            .agent
            .get(format!("{base}/api/v1/wallets/{id}/"))
            .header("Authorization", format!("Bearer {}", self.token))
            .call()
            .unwrap();
        let body: Value = answer.body_mut().read_json().unwrap();
        body["balance"].as_str().unwrap_or_else(|| panic!("{body}")).replace('.', "").parse().unwrap()
    }

    /// Whether an answer came. A refusal for lack of money is an answer.
    fn send(&self, base: &str, intent: &Intent) -> bool {
        let amount = format!("{}.{:02}", intent.amount_minor / 100, intent.amount_minor % 100);
        let to = &self.wallets[intent.to];
        let answer = match intent.from {
            None => {
                let body = json!({"operation_type": "DEPOSIT", "amount": amount});
                self.post(base, &format!("/api/v1/wallets/{to}/operation"), &body, Some(&intent.key))
            }
            Some(from) => {
                let body = json!({"from": self.wallets[from], "to": to, "amount": amount});
                self.post(base, "/api/v1/transfers", &body, Some(&intent.key))
            }
        };
        let Some((status, body, replayed)) = answer else { return false };
        match status {
            200 | 201 => {
                let mut balances = self.balances.lock().unwrap();
                balances[intent.to] += intent.amount_minor;
                if let Some(from) = intent.from {
                    balances[from] -= intent.amount_minor;
                }
                self.acknowledged.fetch_add(1, Ordering::SeqCst);
                self.replayed.fetch_add(u64::from(replayed), Ordering::SeqCst);
                true
            }
            422 => true,
            503 => false,
            _ => panic!("{status} {body}"),
        }
    }

    fn post(&self, base: &str, path: &str, body: &Value, key: Option<&str>) -> Option<(u16, Value, bool)> {
        let mut request = self.agent.post(format!("{base}{path}"));
        if !self.token.is_empty() {
            request = request.header("Authorization", format!("Bearer {}", self.token));
        }
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        let mut answer = request.send_json(body).ok()?;
        let replayed = answer.headers().contains_key("Idempotency-Replayed");
        let body = answer.body_mut().read_json().ok()?;
        Some((answer.status().as_u16(), body, replayed))
    }

    fn intent(&self) -> Intent {
        let draw = self.random();
        let to = usize::try_from(draw % 12).unwrap();
        let from = usize::try_from((draw >> 8) % 12).unwrap();
        let is_transfer = (draw >> 16).is_multiple_of(3) && from != to;
        Intent {
            key: format!("kill-{draw:016x}"),
            from: is_transfer.then_some(from),
            to,
            amount_minor: i64::try_from(1 + (draw >> 24) % 500).unwrap(),
        }
    }

    /// `SplitMix64` over a shared counter: one stream, whoever draws.
    fn random(&self) -> u64 {
        let step = self.next.fetch_add(1, Ordering::SeqCst);
        let mut z = self.seed.wrapping_add(step.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
