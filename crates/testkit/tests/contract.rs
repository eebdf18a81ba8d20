//! Holds every recorded answer of the Django wallet service that Florin replaces against Florin's.
//!
//! `vectors/django-wallet.jsonl` has one case a line. `<…>` stands for what changes from run to run. A case holds when
//! status, listed headers and body agree; a body may carry more members than recorded.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what a test cannot read or prepare has failed it")]

use std::collections::{BTreeSet, HashMap};

use axum::{
    body::Body,
    http::{Request, header},
};
use florin_http::{HttpOptions, Throttle};
use florin_testkit::service::{Answer, PASSWORD, Service, settings};
use serde_json::Value;

/// Where Florin answers otherwise on purpose: case, and why.
const DEVIATIONS: &[(&str, &str)] = &[];

const UNKNOWN_WALLET: &str = "0197b9a2-7c31-7d52-9d5e-7f0f2f6f3a11";
const CONCURRENT: usize = 10;
const SECOND_US: i64 = 1_000_000;

struct Case {
    name: String,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: String,
    status: u16,
    answer_headers: Vec<(String, String)>,
    answer: Value,
    note: String,
}

fn cases() -> Vec<Case> {
    let text = include_str!("../vectors/django-wallet.jsonl");
    text.lines().map(|line| case_from(&serde_json::from_str(line).unwrap())).collect()
}

fn case_from(value: &Value) -> Case {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let pairs = |value: &Value| {
        value.as_object().unwrap().iter().map(|(name, value)| (name.clone(), text(value))).collect::<Vec<_>>()
    };
    let (request, response) = (&value["request"], &value["response"]);
    Case {
        name: text(&value["case"]),
        method: text(&request["method"]),
        path: text(&request["path"]),
        headers: pairs(&request["headers"]),
        body: text(&request["body"]),
        status: response["status"].as_u64().unwrap().try_into().unwrap(),
        answer_headers: pairs(&response["headers"]),
        answer: response["body"].clone(),
        note: text(&value["note"]),
    }
}

/// What placeholders mean in one case.
#[derive(Default)]
struct Meaning {
    /// The bearer of the request.
    token: String,
    /// What `<jwt>` in the body is.
    body_token: String,
    labels: HashMap<&'static str, String>,
}

impl Meaning {
    fn fill(&self, text: &str, token: &str) -> String {
        let filled = text.replace("<jwt>", token);
        self.labels.iter().fold(filled, |text, (label, value)| text.replace(label, value))
    }

    fn request(&self, case: &Case) -> Request<Body> {
        let mut request = Request::builder().method(case.method.as_str()).uri(self.fill(&case.path, &self.token));
        for (name, value) in &case.headers {
            request = request.header(name, self.fill(value, &self.token));
        }
        let mut body = self.fill(&case.body, &self.body_token).into_bytes();
        if case.name.ends_with("invalid_utf8") {
            body = raw_bytes(&body);
        }
        request.body(Body::from(body)).unwrap()
    }
}

/// `\xff` written out stands for that byte.
fn raw_bytes(text: &[u8]) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text);
    while let Some((first, after)) = rest.split_first() {
        if rest.starts_with(b"\\x") {
            bytes.push(u8::from_str_radix(std::str::from_utf8(&rest[2..4]).unwrap(), 16).unwrap());
            rest = &rest[4..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    bytes
}

/// What is wrong with an answer; empty if it agrees.
fn differences(case: &Case, meaning: &Meaning, answer: &Answer) -> Vec<String> {
    let mut wrong = Vec::new();
    if answer.status.as_u16() != case.status {
        wrong.push(format!("status {} instead of {}", answer.status, case.status));
    }
    for (name, expected) in &case.answer_headers {
        let found = answer.header(name);
        let set = |text: &str| text.split(", ").map(ToOwned::to_owned).collect::<BTreeSet<_>>();
        let same = if name == "Allow" { set(found) == set(expected) } else { found == expected };
        if !same {
            wrong.push(format!("{name}: {found:?} instead of {expected:?}"));
        }
    }
    let is_empty = case.answer.is_null() || case.answer == "";
    if is_empty && !answer.bytes.is_empty() {
        wrong.push("a body where none belongs".to_owned());
    } else if !is_empty && !matches(&case.answer, &answer.json(), meaning) {
        wrong.push(format!("body {} instead of {}", answer.json(), case.answer));
    }
    wrong
}

fn matches(expected: &Value, found: &Value, meaning: &Meaning) -> bool {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            expected.iter().all(|(name, value)| found.get(name).is_some_and(|found| matches(value, found, meaning)))
        }
        (Value::Array(expected), Value::Array(found)) => {
            expected.len() == found.len()
                && expected.iter().zip(found).all(|(expected, found)| matches(expected, found, meaning))
        }
        (Value::String(expected), Value::String(found)) => text_matches(expected, found, meaning),
        (Value::String(expected), Value::Number(found)) => expected.starts_with("<int") && found.is_i64(),
        (expected, found) => expected == found,
    }
}

fn text_matches(expected: &str, found: &str, meaning: &Meaning) -> bool {
    match expected {
        "<jwt>" => !found.is_empty(),
        "<datetime>" => is_datetime(found),
        "JSON parse error - <text>" => found.starts_with("JSON parse error - "),
        _ => meaning.labels.get(expected).map_or(expected, String::as_str) == found,
    }
}

/// `2025-01-19T10:00:00.123456Z`, or without the fraction.
fn is_datetime(text: &str) -> bool {
    let shape: String = text.chars().map(|sign| if sign.is_ascii_digit() { '0' } else { sign }).collect();
    matches!(shape.as_str(), "0000-00-00T00:00:00.000000Z" | "0000-00-00T00:00:00Z")
}

/// The users that the recordings speak of, and what they come to on the way.
struct Stage {
    service: Service,
    password_user: (&'static str, &'static str),
}

impl Stage {
    async fn set_up() -> Self {
        let service = Service::new();
        service.app.create_superuser("root", "root@example.com", PASSWORD).await.unwrap();
        Self { service, password_user: ("pwuser", PASSWORD) }
    }

    /// Between the registrations and the rest.
    async fn add_users(&self) {
        for name in ["bob", "pwuser", "deluser", "inactive"] {
            self.service.user(name).await;
        }
        let root = self.service.caller(&self.service.token("root", PASSWORD).await);
        let inactive = self.service.caller(&self.service.token("inactive", PASSWORD).await).user_number;
        self.service.app.set_active(&root, inactive, false, "test").await.unwrap();
    }

    async fn meaning_of(&mut self, case: &Case) -> Meaning {
        let service = &self.service;
        // Every case has a time of its own: of too many sessions the oldest ends.
        service.clock.advance_us(1);
        let mut meaning = Meaning::default();
        let (group, rest) = case.name.split_once('.').unwrap();
        meaning.token = match (group, rest) {
            ("register" | "token" | "activation" | "reset_password", _) | ("delete", "fixed.login_of_deleted_user") => {
                String::new()
            }
            ("set_password" | "set_username", _) => service.token(self.password_user.0, self.password_user.1).await,
            ("delete", _) => service.token("deluser", PASSWORD).await,
            ("users", "list_self_only") => service.token("bob", PASSWORD).await,
            _ => service.token("alice", PASSWORD).await,
        };
        match (group, rest) {
            ("refresh" | "verify", _) => {
                let pair = service.app.sign_in("alice", PASSWORD, "test").await.unwrap();
                let is_access = matches!(rest, "access_used_as_refresh" | "access_ok");
                meaning.body_token = if is_access { pair.access } else { pair.refresh };
            }
            ("me", "patch_username_read_only") => {
                let alice = service.caller(&meaning.token);
                service.app.set_email(&alice, "alice@new.example.com", "test").await.unwrap();
            }
            ("set_password", "ok_204") => self.password_user.1 = "N3w-Passw0rd!!",
            ("set_username", "ok") => self.password_user.0 = "pwuser_renamed",
            ("users", _) => {
                for (label, name) in [("<int:alice>", "alice"), ("<int:bob>", "bob")] {
                    let number = service.caller(&service.token(name, PASSWORD).await).user_number;
                    meaning.labels.insert(label, number.to_string());
                }
            }
            ("wallet_get" | "op", _) => {
                let balance = case.note.strip_prefix("balance before ").unwrap_or("1000.00");
                let balance = balance.split(';').next().unwrap_or_default();
                meaning.labels.insert("<uuid:own>", service.wallet(&meaning.token, balance).await);
                meaning.labels.insert("<uuid:own_zero>", service.wallet(&meaning.token, "0").await);
                meaning.labels.insert("<uuid:unknown>", UNKNOWN_WALLET.to_owned());
            }
            _ => {}
        }
        meaning
    }
}

fn is_one_of_its_own(case: &Case) -> bool {
    case.name.starts_with("op.concurrent.") || case.name.starts_with("throttle.")
}

fn deviates(name: &str) -> bool {
    DEVIATIONS.iter().any(|(case, _)| *case == name)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_recorded_answer_is_given() {
    let mut stage = Stage::set_up().await;
    let (mut wrong, mut seen, mut has_users) = (Vec::new(), 0, false);
    for case in cases().iter().filter(|case| !is_one_of_its_own(case)) {
        if !has_users && !case.name.starts_with("register.") {
            stage.add_users().await;
            has_users = true;
        }
        let meaning = stage.meaning_of(case).await;
        let answer = stage.service.send(meaning.request(case)).await;
        let found = differences(case, &meaning, &answer);
        if found.is_empty() == deviates(&case.name) {
            wrong.push(format!("{}: {}", case.name, found.join("; ")));
        }
        seen += 1;
    }
    assert!(wrong.is_empty(), "{} of {seen} cases differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(seen > 190, "only {seen} cases were found");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_path_is_answered_without_its_slash_too() {
    let mut stage = Stage::set_up().await;
    stage.service.user("alice").await;
    stage.add_users().await;
    for mut case in cases() {
        // What changes the users was done with the slash in the other test; here the rest.
        let group = case.name.split('.').next().unwrap();
        if !matches!(group, "token" | "verify" | "me" | "wallet_get" | "op") || is_one_of_its_own(&case) {
            continue;
        }
        case.path = case.path.replacen("/?", "?", 1).trim_end_matches('/').to_owned();
        let meaning = stage.meaning_of(&case).await;
        let answer = stage.service.send(meaning.request(&case)).await;
        assert_eq!(answer.status.as_u16(), case.status, "{}", case.name);
    }
}

/// Ten requests at once: every recorded answer is among theirs, each as often as recorded.
async fn hold_concurrent(prefix: &str, balance: &str) {
    let service = Service::new();
    let token = service.user("alice").await;
    let wallet = service.wallet(&token, balance).await;
    let meaning = Meaning { token, body_token: String::new(), labels: HashMap::from([("<uuid:conc>", wallet)]) };
    let wanted: Vec<Case> = cases().into_iter().filter(|case| case.name.starts_with(prefix)).collect();
    assert!(!wanted.is_empty());
    let mut running = tokio::task::JoinSet::new();
    let service = std::sync::Arc::new(service);
    for _ in 0..CONCURRENT {
        let (service, request) = (service.clone(), meaning.request(&wanted[0]));
        running.spawn(async move { service.send(request).await });
    }
    let mut answers = running.join_all().await;
    for case in &wanted {
        let place = answers.iter().position(|answer| differences(case, &meaning, answer).is_empty());
        answers.swap_remove(place.unwrap_or_else(|| panic!("{}: nobody got {}", case.name, case.answer)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_withdrawals_are_answered_as_recorded() {
    hold_concurrent("op.concurrent.withdraw_100_x10_from_500.", "500.00").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_deposits_are_answered_as_recorded() {
    hold_concurrent("op.concurrent.deposit_10_x10_from_0.", "0.00").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rate_limit_is_as_recorded() {
    let throttle = Some(Throttle { reads_per_hour: 200, writes_per_hour: 100 });
    let service = Service::with(settings(), HttpOptions { throttle, ..HttpOptions::default() });
    let token = service.user("throttled").await;
    let wallet = service.wallet(&token, "0").await;
    let meaning = Meaning { token, body_token: String::new(), labels: HashMap::from([("<uuid:throttled>", wallet)]) };
    let cases: HashMap<String, Case> = cases().into_iter().map(|case| (case.name.clone(), case)).collect();
    let hold = async |name: &str| {
        let case = &cases[name];
        let answer = service.send(meaning.request(case)).await;
        assert_eq!(differences(case, &meaning, &answer), Vec::<String>::new(), "{name}");
    };
    for _ in 0..100 {
        let answer = service.send(meaning.request(&cases["throttle.write_429"])).await;
        assert_eq!(answer.status, 200);
    }
    service.clock.advance_us(2 * SECOND_US);
    hold("throttle.write_429").await;
    hold("throttle.write_429_again").await;
    hold("throttle.read_still_ok_after_write_limit").await;
    for _ in 0..99 {
        let answer = service.send(meaning.request(&cases["throttle.read_429"])).await;
        assert_eq!(answer.status, 200);
    }
    service.clock.advance_us(2 * SECOND_US);
    hold("throttle.read_429").await;
    hold("throttle.anon_401_not_throttled").await;
    let other = service.user("other").await;
    let answer = service.call("GET", "/api/v1/wallets", &other, Value::Null).await;
    assert_eq!(answer.status, 200, "another user is not throttled");
    assert!(answer.headers.get(header::RETRY_AFTER).is_none());
}
