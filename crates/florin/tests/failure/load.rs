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

use crate::asked::{Asked, Intent, Told};

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

/// What the clients know.
pub struct Load {
    agent: Agent,
    seed: u64,
    next: AtomicU64,
    token: String,
    wallets: Vec<String>,
    /// Balance of each wallet by what was acknowledged, in minor units.
    balances: Mutex<Vec<i64>>,
    /// What is sent again, with its key, until its answer is known.
    unknown: Mutex<Vec<Intent>>,
    asked: Mutex<Asked>,
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
            asked: Mutex::new(Asked::of(WALLETS)),
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
                            self.lose(intent);
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

    fn lose(&self, intent: Intent) {
        if intent.has_key {
            self.unknown.lock().unwrap().push(intent);
        } else {
            self.asked.lock().unwrap().enter(&intent, Told::Nothing);
        }
    }

    /// Lets clients work on `bases` while `meanwhile` runs. Each repeats a request with a key until it is answered, at
    /// the next node each time: nothing that has a key stays unknown.
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
        let tries = if intent.has_key { usize::try_from(TRIES).unwrap() } else { 1 };
        for base in bases.iter().cycle().skip(first % bases.len()).take(tries) {
            if self.send(base, intent) {
                return;
            }
            thread::sleep(BEFORE_ANOTHER_TRY);
        }
        assert!(!intent.has_key, "{} was not answered", intent.name);
        self.lose(intent.clone());
    }

    /// A deposit without a key, sent once.
    pub fn deposit_without_key(&self, base: &str) {
        self.insist(&[base], 0, &Intent { has_key: false, ..self.deposit_of(self.random()) });
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
            assert!(self.send(base, &intent), "the answer to {} was lost again", intent.name);
        }
    }

    /// What was answered not long ago has no second effect, and is answered as it was.
    pub fn ask_again(&self, base: &str) {
        let recent = self.recent.lock().unwrap().clone();
        for intent in &recent {
            let (status, body, replayed) = self.request(base, intent).unwrap();
            assert!(matches!(status, 200 | 201) && replayed, "{}: {status} {body}", intent.name);
        }
    }

    /// Histories have what was acknowledged, once, and nothing that was refused; what has no key and was not answered
    /// they have once or not at all. Every wallet has exactly what follows from that.
    pub fn compare(&self, base: &str, round: u64) {
        let mut asked = self.asked.lock().unwrap();
        let balances = || self.wallets.iter().map(|id| self.find_balance(base, id).unwrap()).collect::<Vec<i64>>();
        let mut found = balances();
        // Again when something came late, whose answer was lost: there is only so much of it.
        while self.read_on(base, &mut asked).unwrap_or_else(|wrong| {
            let expected = self.balances.lock().unwrap();
            let pairs = found.iter().zip(expected.iter()).enumerate();
            let apart: Vec<_> = pairs.filter(|(_, (found, expected))| found != expected).collect();
            panic!("round {round}: {wrong}; wallets that have, and should have, minor units: {apart:?}")
        }) {
            found = balances();
        }
        let mut expected = self.balances.lock().unwrap();
        for (wallet, moved_minor) in asked.settle(round).iter().flat_map(Intent::legs) {
            expected[wallet] += moved_minor;
        }
        assert_eq!(found, *expected, "round {round}: balances differ from what was acknowledged");
    }

    /// Reads histories on from where they were read to; whether there was anything new.
    fn read_on(&self, base: &str, asked: &mut Asked) -> Result<bool, String> {
        let mut is_new = false;
        for (wallet, id) in self.wallets.iter().enumerate() {
            let lines = self.history(base, id, asked.read_to(wallet));
            let lines = lines.map_err(|wrong| format!("wallet {wallet} has no readable history: {wrong}"))?;
            is_new |= !lines.is_empty();
            asked.read(wallet, &lines);
        }
        Ok(is_new)
    }

    /// What happened, for people.
    pub fn summary(&self) -> String {
        format!(
            "{} operations acknowledged, {} of them answered again after a kill; {}",
            self.acknowledged.lock().unwrap(),
            self.replayed.load(Ordering::SeqCst),
            self.asked.lock().unwrap().summary()
        )
    }

    /// The history of each wallet, oldest first.
    pub fn histories(&self, base: &str) -> Vec<Vec<Value>> {
        self.wallets.iter().map(|id| self.history(base, id, 0).unwrap()).collect()
    }

    /// What a wallet's history has behind this version, oldest first.
    fn history(&self, base: &str, id: &str, version: i64) -> Result<Vec<Value>, String> {
        let (mut lines, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.get(base, &format!("/api/v1/wallets/{id}/operations?limit=200{cursor}"));
            let items = page["items"].as_array().ok_or_else(|| page.to_string())?;
            let newest = items.first().map_or(0, |line| line["version"].as_i64().unwrap());
            assert!(!cursor.is_empty() || newest >= version, "wallet {id}: {newest} lines, {version} before");
            lines.extend(items.iter().take_while(|line| line["version"].as_i64() > Some(version)).cloned());
            let is_reached = items.last().is_none_or(|line| line["version"].as_i64() <= Some(version));
            match page["next_cursor"].as_str().filter(|_| !is_reached) {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        lines.reverse();
        Ok(lines)
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
        let wallet = |place: Option<usize>| place.map(|place| &*self.wallets[place]);
        let (path, mut body) = match (wallet(intent.from), wallet(intent.to)) {
            (Some(from), Some(to)) => ("/api/v1/transfers".to_owned(), json!({"from": from, "to": to})),
            (from, to) => {
                let kind = if from.is_some() { "WITHDRAW" } else { "DEPOSIT" };
                let own = from.or(to).unwrap();
                (format!("/api/v1/wallets/{own}/operation"), json!({"operation_type": kind}))
            }
        };
        body["amount"] = json!(amount);
        body["reason"] = json!(intent.name);
        self.post(base, &path, &body, intent.has_key.then_some(&*intent.name))
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
                assert!(intent.has_key || !replayed, "an answer again, without a key: {intent:?}");
                self.acknowledge(intent);
                self.replayed.fetch_add(u64::from(replayed), Ordering::SeqCst);
                if intent.to == Some(GROWING) {
                    self.look(base);
                }
                true
            }
            400 | 422 if intent.from.is_some() && is_lack_of_money(&body) => {
                self.asked.lock().unwrap().enter(intent, Told::Refused);
                true
            }
            // Behind a proxy the node that has gone is 502 or 504.
            502..=504 => false,
            _ => panic!("{status} {body}"),
        }
    }

    fn acknowledge(&self, intent: &Intent) {
        self.asked.lock().unwrap().enter(intent, Told::Done);
        let mut balances = self.balances.lock().unwrap();
        for (wallet, moved_minor) in intent.legs() {
            balances[wallet] += moved_minor;
        }
        drop(balances);
        if intent.has_key {
            let mut recent = self.recent.lock().unwrap();
            recent.push_back(intent.clone());
            if recent.len() > ASKED_AGAIN {
                recent.pop_front();
            }
        }
        *self.acknowledged.lock().unwrap() += 1;
        self.went_on.notify_all();
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
        let deposit = self.deposit_of(draw);
        let from = Some(usize::try_from((draw >> 8) % 12).unwrap()).filter(|from| *from != GROWING);
        match (draw >> 16) % 6 {
            0 | 1 if from != deposit.to => Intent { from, ..deposit },
            2 if from.is_some() => Intent { from, to: None, ..deposit },
            _ => deposit,
        }
    }

    /// Every fourth is sent without a key.
    fn deposit_of(&self, draw: u64) -> Intent {
        Intent {
            name: format!("kill-{:x}-{draw:016x}", self.seed),
            has_key: !(draw >> 40).is_multiple_of(4),
            from: None,
            to: Some(usize::try_from(draw % 12).unwrap()),
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

/// As deposits and withdrawals say it, and as transfers do.
fn is_lack_of_money(body: &Value) -> bool {
    body["code"] == "insufficient_funds" || body["errors"].to_string().contains("Insufficient balance")
}
