//! The scenarios over HTTP: what is sent, and one measured run of it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::Options;
use super::client::{Connection, Load, Request};
use super::machine::{Usage, processors};
use crate::{Outcome, florin, postgres, process};

const DEPOSIT: &str = r#"{"operation_type":"DEPOSIT","amount":1}"#;

/// The share of the machine that others may use before a run counts as disturbed.
const QUIET_SHARE: f64 = 0.1;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// Authenticated, parsed, nothing stored.
    Ping,
    /// On wallets at random.
    Deposit,
    /// On one wallet.
    DepositHot,
    /// A wallet at random.
    Read,
    /// On wallets at random, so many a second.
    DepositAtRate(u32),
    /// PostgreSQL alone, with so many clients.
    Pgbench(u32),
}

impl Scenario {
    /// Its name in tables and files.
    pub fn name(self) -> String {
        match self {
            Self::Ping => "ping".to_owned(),
            Self::Deposit => "deposit".to_owned(),
            Self::DepositHot => "deposit, hot".to_owned(),
            Self::Read => "read".to_owned(),
            Self::DepositAtRate(rate) => format!("deposit, {rate}/s due"),
            Self::Pgbench(clients) => format!("pgbench, {clients}"),
        }
    }
}

/// One measured run.
#[derive(Debug, Clone)]
pub struct Run {
    /// Of what.
    pub scenario: Scenario,
    /// 1, 2, 3 …
    pub round: u32,
    /// Answers a second.
    pub rate: f64,
    /// p50, p99, p99.9 and the longest, milliseconds; not known of pgbench.
    pub latency_ms: Option<[f64; 4]>,
    /// Processor seconds of everybody.
    pub usage: Usage,
    /// Whether others used too much of the machine.
    pub is_disturbed: bool,
}

impl Run {
    /// A run of `seconds` in which `usage` was used.
    pub fn new(
        scenario: Scenario,
        round: u32,
        rate: f64,
        latency_ms: Option<[f64; 4]>,
        (usage, seconds): (Usage, f64),
    ) -> Self {
        let processors = f64::from(u32::try_from(processors()).unwrap_or(u32::MAX));
        let is_disturbed = usage.others_s() > QUIET_SHARE * processors * seconds;
        Self { scenario, round, rate, latency_ms, usage, is_disturbed }
    }

    /// For the file of raw figures.
    pub fn to_json(&self) -> Value {
        let latency = self.latency_ms.map(|[p50, p99, p999, max]| {
            json!({"p50": rounded(p50), "p99": rounded(p99), "p99_9": rounded(p999), "max": rounded(max)})
        });
        json!({
            "scenario": self.scenario.name(),
            "round": self.round,
            "per_second": rounded(self.rate),
            "latency_ms": latency,
            "cpu_seconds": {
                "client": rounded(self.usage.client_s),
                "server": rounded(self.usage.server_s),
                "database": rounded(self.usage.database_s),
                "others": rounded(self.usage.others_s()),
            },
            "disturbed": self.is_disturbed,
        })
    }
}

fn rounded(figure: f64) -> f64 {
    (figure * 1000.0).round() / 1000.0
}

/// p50, p99, p99.9 and the longest, milliseconds.
fn percentiles(latency: &Histogram<u64>) -> [f64; 4] {
    [0.5, 0.99, 0.999, 1.0].map(|share| {
        let micros = u32::try_from(latency.value_at_quantile(share)).unwrap_or(u32::MAX);
        f64::from(micros) / 1000.0
    })
}

/// A server with its wallets, ready for load.
pub struct Bench<'a> {
    options: &'a Options,
    server: &'a florin::Server,
    database: Option<&'a postgres::Server>,
    runtime: Runtime,
    pings: Arc<Vec<Request>>,
    deposits: Arc<Vec<Request>>,
    hot_deposits: Arc<Vec<Request>>,
    reads: Arc<Vec<Request>>,
    run_number: AtomicU32,
}

impl<'a> Bench<'a> {
    /// Signs in and opens the wallets, over the API.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn prepare(
        options: &'a Options,
        server: &'a florin::Server,
        database: Option<&'a postgres::Server>,
    ) -> Outcome<Self> {
        let threads = usize::try_from(options.client_threads)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
        let token = server.sign_in()?;
        let wallets = runtime.block_on(open_wallets(server.port(), &token, options))?;
        let deposit = |id: &String| {
            Request::new("POST", &format!("/api/v1/wallets/{id}/operation"), &token, DEPOSIT, options.keys)
        };
        let read = |id: &String| Request::new("GET", &format!("/api/v1/wallets/{id}"), &token, "", false);
        Ok(Self {
            options,
            server,
            database,
            runtime,
            pings: Arc::new(vec![Request::new("POST", "/api/v1/ping", &token, DEPOSIT, false)]),
            hot_deposits: Arc::new(wallets.iter().take(1).map(deposit).collect()),
            deposits: Arc::new(wallets.iter().map(deposit).collect()),
            reads: Arc::new(wallets.iter().map(read).collect()),
            run_number: AtomicU32::new(0),
        })
    }

    /// One measured run.
    ///
    /// # Errors
    /// A wrong answer under load, with the end of the server's log.
    pub fn run(&self, scenario: Scenario, round: u32) -> Outcome<Run> {
        if process::is_interrupted() {
            return Err("interrupted".into());
        }
        let requests = match scenario {
            Scenario::Ping => &self.pings,
            Scenario::DepositHot => &self.hot_deposits,
            Scenario::Read => &self.reads,
            Scenario::Deposit | Scenario::DepositAtRate(_) | Scenario::Pgbench(_) => &self.deposits,
        };
        let load = Load {
            port: self.server.port(),
            connections: self.options.connections,
            requests: Arc::clone(requests),
            warm_up: self.options.warm_up(),
            run_time: self.options.run_time(),
            rate: if let Scenario::DepositAtRate(rate) = scenario { Some(rate) } else { None },
            run_number: self.run_number.fetch_add(1, Ordering::Relaxed),
        };
        eprintln!("bench: round {round}: {}", scenario.name());
        let database_pid = self.database.map(postgres::Server::pid);
        let usage = || Usage::now(Some(self.server.pid()), database_pid);
        let mut before = usage();
        let sample = self.runtime.block_on(load.run(|| before = usage()));
        let sample = sample.map_err(|error| format!("{error}\nthe server said:\n{}", self.server.log()))?;
        let used = usage().since(before);
        let answers = f64::from(u32::try_from(sample.answers)?);
        let latency = Some(percentiles(&sample.latency));
        Ok(Run::new(scenario, round, answers / sample.seconds, latency, (used, sample.seconds)))
    }
}

async fn open_wallets(port: u16, token: &str, options: &Options) -> io::Result<Vec<String>> {
    let request = Arc::new(Request::new("POST", "/api/v1/wallets", token, "{}", false));
    let connections = options.connections.min(options.wallets);
    let mut tasks = Vec::new();
    for number in 0..connections {
        let share = options.wallets / connections + u32::from(number < options.wallets % connections);
        tasks.push(tokio::spawn(open_share(port, Arc::clone(&request), share)));
    }
    let mut wallets = Vec::new();
    for task in tasks {
        wallets.extend(task.await.map_err(io::Error::other)??);
    }
    Ok(wallets)
}

async fn open_share(port: u16, request: Arc<Request>, count: u32) -> io::Result<Vec<String>> {
    let mut connection = Connection::open(port).await?;
    let mut wallets = Vec::new();
    for _ in 0..count {
        let status = connection.exchange(request.bytes()).await?.status;
        let body = String::from_utf8_lossy(connection.body()).into_owned();
        let wallet: Value = serde_json::from_str(&body).unwrap_or_default();
        match wallet["id"].as_str() {
            Some(id) if status == 201 => wallets.push(id.to_owned()),
            _ => return Err(io::Error::other(format!("opening a wallet: {status} {body}"))),
        }
    }
    Ok(wallets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_machine_disturbs() {
        let quiet = Usage { client_s: 1.0, server_s: 1.0, database_s: 0.0, machine_s: 2.0 };
        let busy = Usage { machine_s: 2.0 + 10.0 * f64::from(u32::try_from(processors()).unwrap()), ..quiet };
        assert!(!Run::new(Scenario::Ping, 1, 1.0, None, (quiet, 5.0)).is_disturbed);
        assert!(Run::new(Scenario::Ping, 1, 1.0, None, (busy, 5.0)).is_disturbed);
    }

    #[test]
    fn percentiles_are_milliseconds() {
        let mut latency = Histogram::new(3).unwrap();
        (1..=1000).for_each(|millis| latency.record(millis * 1000).unwrap());
        let [p50, p99, _, max] = percentiles(&latency);
        assert!((p50 - 500.0).abs() < 2.0 && (p99 - 990.0).abs() < 3.0 && (max - 1000.0).abs() < 3.0);
    }
}
