//! Clients that remember what was acknowledged, and what they never learned.

use std::{
    collections::VecDeque,
    sync::{
        Condvar, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use ureq::Agent;

const CLIENTS: u64 = 8;
const WALLETS: usize = 12;
/// The wallet that nothing is taken from: whatever it was seen to have, it has for ever.
const GROWING: usize = WALLETS - 1;
/// How many are remembered to be asked again.
const ASKED_AGAIN: usize = 20;
const PASSWORD: &str = "kill-Minus-9!";
/// How often a request is repeated until it must have been answered, and what a client waits before it repeats it.
const TRIES: u32 = 6000;
const BEFORE_ANOTHER_TRY: Duration = Duration::from_millis(10);
/// Longest wait for operations to go on.
const PATIENCE: Duration = Duration::from_secs(90);

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
    /// The last ones that were answered with success.
    recent: Mutex<VecDeque<Intent>>,
    acknowledged: Mutex<u64>,
    /// Told when `acknowledged` grows.
    went_on: Condvar,
    replayed: AtomicU64,
}

/// Tells the clients to stop, also when the test does.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
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
            recent: Mutex::new(VecDeque::new()),
            acknowledged: Mutex::new(0),
            went_on: Condvar::new(),
            replayed: AtomicU64::new(0),
        }
    }

    /// Registers, signs in and opens the wallets.
    pub fn prepare(&mut self, base: &str) {
        let user = json!({"username": format!("killer-{}", self.seed), "password": PASSWORD});
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
        thread::scope(|scope| {
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

    /// Lets clients work on `bases` while `meanwhile` runs. Each repeats a request until it is answered, at the next
    /// node each time: nothing stays unknown.
    pub fn run_on(&self, bases: &[&str], meanwhile: impl FnOnce()) {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for client in 0..CLIENTS {
                let (stop, first) = (&stop, usize::try_from(client).unwrap());
                scope.spawn(move || {
                    while !stop.load(Ordering::SeqCst) {
                        self.insist(bases, first, &self.intent());
                    }
                });
            }
            let _stop = StopOnDrop(&stop);
            meanwhile();
        });
    }

    fn insist(&self, bases: &[&str], first: usize, intent: &Intent) {
        for base in bases.iter().cycle().skip(first % bases.len()).take(usize::try_from(TRIES).unwrap()) {
            if self.send(base, intent) {
                return;
            }
            thread::sleep(BEFORE_ANOTHER_TRY);
        }
        panic!("{} was not answered", intent.key);
    }

    /// Waits until so many more operations are acknowledged, from 1 to `most`.
    pub fn await_more(&self, most: u64) {
        let mut now = self.acknowledged.lock().unwrap();
        let enough = *now + 1 + self.random() % most;
        while *now < enough {
            let (guard, waited) = self.went_on.wait_timeout(now, PATIENCE).unwrap();
            assert!(!waited.timed_out(), "nothing was acknowledged for {PATIENCE:?}");
            now = guard;
        }
    }

    /// Operations acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        *self.acknowledged.lock().unwrap()
    }

    /// Sends everything again whose answer was lost; the key makes it happen once.
    pub fn settle(&self, base: &str) {
        let unknown = std::mem::take(&mut *self.unknown.lock().unwrap());
        for intent in unknown {
            assert!(self.send(base, &intent), "the answer to {} was lost again", intent.key);
        }
    }

    /// What was answered not long ago has no second effect, and is answered as it was.
    pub fn ask_again(&self, base: &str) {
        let recent = self.recent.lock().unwrap().clone();
        for intent in &recent {
            let (status, body, replayed) = self.request(base, intent).unwrap();
            assert!(matches!(status, 200 | 201) && replayed, "{}: {status} {body}", intent.key);
        }
    }

    /// Every wallet has exactly what was acknowledged.
    pub fn compare(&self, base: &str, round: u64) {
        let expected = self.balances.lock().unwrap().clone();
        let found: Vec<i64> = self.wallets.iter().map(|id| self.find_balance(base, id).unwrap()).collect();
        assert_eq!(found, expected, "round {round}: balances differ from what was acknowledged");
    }

    /// What happened, for people.
    pub fn summary(&self) -> String {
        format!(
            "{} operations acknowledged, {} of them answered again after a kill",
            self.acknowledged.lock().unwrap(),
            self.replayed.load(Ordering::SeqCst)
        )
    }

    /// The history of each wallet, oldest first.
    pub fn histories(&self, base: &str) -> Vec<Vec<Value>> {
        let history = |id: &String| {
            let (mut lines, mut cursor) = (Vec::new(), String::new());
            loop {
                let page = self.get(base, &format!("/api/v1/wallets/{id}/operations?limit=200{cursor}"));
                lines.extend(page["items"].as_array().unwrap().iter().cloned());
                let Some(next) = page["next_cursor"].as_str() else { break };
                cursor = format!("&cursor={next}");
            }
            lines.reverse();
            lines
        };
        self.wallets.iter().map(history).collect()
    }

    fn get(&self, base: &str, path: &str) -> Value {
        self.find(base, path).unwrap().1
    }

    /// Status and body, if an answer came.
    fn find(&self, base: &str, path: &str) -> Option<(u16, Value)> {
        let request = self.agent.get(format!("{base}{path}"));
        let mut answer = request.header("Authorization", format!("Bearer {}", self.token)).call().ok()?;
        Some((answer.status().as_u16(), answer.body_mut().read_json().ok()?))
    }

    /// The balance of a wallet in minor units, if an answer came.
    fn find_balance(&self, base: &str, id: &str) -> Option<i64> {
        let (status, body) = self.find(base, &format!("/api/v1/wallets/{id}/"))?;
        match status {
            200 => Some(body["balance"].as_str().unwrap_or_else(|| panic!("{body}")).replace('.', "").parse().unwrap()),
            502..=504 => None,
            _ => panic!("{status} {body}"),
        }
    }

    fn request(&self, base: &str, intent: &Intent) -> Option<(u16, Value, bool)> {
        let amount = format!("{}.{:02}", intent.amount_minor / 100, intent.amount_minor % 100);
        let to = &self.wallets[intent.to];
        match intent.from {
            None => {
                let body = json!({"operation_type": "DEPOSIT", "amount": amount});
                self.post(base, &format!("/api/v1/wallets/{to}/operation"), &body, Some(&intent.key))
            }
            Some(from) => {
                let body = json!({"from": self.wallets[from], "to": to, "amount": amount});
                self.post(base, "/api/v1/transfers", &body, Some(&intent.key))
            }
        }
    }

    /// What any node acknowledged before a read is seen by it, unless its node is gone.
    fn look(&self, base: &str) {
        let least = self.balances.lock().unwrap()[GROWING];
        let Some(found) = self.find_balance(base, &self.wallets[GROWING]) else { return };
        assert!(found >= least, "{found} was read after {least} had been acknowledged");
    }

    /// Whether an answer came. A refusal for lack of money is an answer.
    fn send(&self, base: &str, intent: &Intent) -> bool {
        let Some((status, body, replayed)) = self.request(base, intent) else { return false };
        match status {
            200 | 201 => {
                let mut balances = self.balances.lock().unwrap();
                balances[intent.to] += intent.amount_minor;
                if let Some(from) = intent.from {
                    balances[from] -= intent.amount_minor;
                }
                drop(balances);
                let mut recent = self.recent.lock().unwrap();
                recent.push_back(intent.clone());
                if recent.len() > ASKED_AGAIN {
                    recent.pop_front();
                }
                drop(recent);
                *self.acknowledged.lock().unwrap() += 1;
                self.went_on.notify_all();
                self.replayed.fetch_add(u64::from(replayed), Ordering::SeqCst);
                if intent.to == GROWING {
                    self.look(base);
                }
                true
            }
            422 => true,
            // Behind a proxy the node that has gone is 502 or 504.
            502..=504 => false,
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
        let is_transfer = (draw >> 16).is_multiple_of(3) && from != to && from != GROWING;
        Intent {
            key: format!("kill-{:x}-{draw:016x}", self.seed),
            from: is_transfer.then_some(from),
            to,
            amount_minor: i64::try_from(1 + (draw >> 24) % 500).unwrap(),
        }
    }

    /// `SplitMix64` over a shared counter: one stream, whoever draws.
    pub fn random(&self) -> u64 {
        let step = self.next.fetch_add(1, Ordering::SeqCst);
        let mut z = self.seed.wrapping_add(step.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
