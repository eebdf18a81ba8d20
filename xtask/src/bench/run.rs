//! One measured run of a scenario, whatever made it.

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::django::Setting;
use super::machine::{Usage, processors};
use super::pgbench::Form;

/// The share of the machine that others may use before a run counts as disturbed.
const QUIET_SHARE: f64 = 0.1;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// Authenticated, parsed, nothing stored.
    Ping,
    /// On wallets at random.
    Deposit,
    /// On wallets at random, an idempotency key with each.
    DepositKeyed,
    /// As [`Scenario::DepositKeyed`], over so many connections.
    DepositWide(u32),
    /// On one wallet.
    DepositHot,
    /// On one wallet, an idempotency key with each.
    DepositHotKeyed,
    /// A wallet at random; as all but those of several nodes, from a node that is alone on its database.
    Read,
    /// As [`Scenario::Read`], from one of several nodes of one database.
    ReadBesideNodes,
    /// So many deposits in each request.
    Batch(u32),
    /// As [`Scenario::Batch`], an idempotency key with each request.
    BatchKeyed(u32),
    /// On wallets at random, over two nodes of one database.
    TwoNodes,
    /// On wallets at random, through nginx, over so many nodes of one database, over so many connections.
    BehindNginx(u32, u32),
    /// As [`Scenario::Ping`], through nginx, over so many nodes.
    PingBehindNginx(u32),
    /// PostgreSQL alone, with so many clients.
    Pgbench(Form, u32),
    /// SQLite alone, one operation a commit.
    SqliteAlone,
    /// The wallet service on Django, on wallets at random, over so many connections.
    Django(Setting, u32),
}

impl Scenario {
    /// Whether every answer is a deposit, or a batch of them.
    pub const fn deposits(self) -> bool {
        !matches!(self, Self::Ping | Self::PingBehindNginx(_) | Self::Read | Self::ReadBesideNodes)
    }

    /// How many operations one request, or one transaction of pgbench, is.
    pub const fn operations(self) -> u32 {
        match self {
            Self::Batch(commands) | Self::BatchKeyed(commands) => commands,
            Self::Pgbench(form, _) => form.operations(),
            _ => 1,
        }
    }

    /// Its name in tables and files.
    pub fn name(self) -> String {
        match self {
            Self::Ping => "ping".to_owned(),
            Self::Deposit => "deposit".to_owned(),
            Self::DepositKeyed => "deposit, key".to_owned(),
            Self::DepositWide(connections) => format!("deposit, key, {connections} conn."),
            Self::DepositHot => "deposit, hot".to_owned(),
            Self::DepositHotKeyed => "deposit, hot, key".to_owned(),
            Self::Read => "read".to_owned(),
            Self::ReadBesideNodes => "read, other nodes".to_owned(),
            Self::Batch(commands) => format!("batches of {commands}"),
            Self::BatchKeyed(commands) => format!("batches of {commands}, key"),
            Self::TwoNodes => "two nodes".to_owned(),
            Self::BehindNginx(nodes, connections) => format!("nginx, {}, {connections} conn.", nodes_text(nodes)),
            Self::PingBehindNginx(nodes) => format!("ping, nginx, {}", nodes_text(nodes)),
            Self::Pgbench(Form::Plain, clients) => format!("pgbench, {clients}"),
            Self::Pgbench(Form::Hot, clients) => format!("pgbench, hot, {clients}"),
            Self::Pgbench(Form::OneStatement, clients) => format!("pgbench, one stmt, {clients}"),
            Self::Pgbench(Form::Bare(rows), clients) => format!("bare rows, {clients} × {rows} a commit"),
            Self::SqliteAlone => "SQLite alone".to_owned(),
            Self::Django(Setting::AsShipped, connections) => format!("django, as shipped, {connections}"),
            Self::Django(Setting::Kept, connections) => format!("django, kept conn., {connections}"),
        }
    }
}

fn nodes_text(nodes: u32) -> String {
    if nodes == 1 { "1 node".to_owned() } else { format!("{nodes} nodes") }
}

/// One measured run.
#[derive(Debug, Clone)]
pub struct Run {
    /// Of what.
    pub scenario: Scenario,
    /// 1, 2, 3 …
    pub round: u32,
    /// Operations a second.
    pub rate: f64,
    /// p50, p99, p99.9 and the longest, milliseconds, of one request.
    pub latency_ms: Option<[f64; 4]>,
    /// Processor seconds of everybody.
    pub usage: Usage,
    /// Resident memory of the server at the end, megabytes; none where there is no server.
    pub memory_mb: Option<f64>,
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
        Self { scenario, round, rate, latency_ms, usage, memory_mb: None, is_disturbed }
    }

    /// For the file of raw figures.
    pub fn to_json(&self) -> Value {
        json!({
            "scenario": self.scenario.name(),
            "round": self.round,
            "per_second": rounded(self.rate),
            "latency_ms": self.latency_ms.map(latency_json),
            "cpu_seconds": self.usage.to_json(),
            "server_rss_mb": self.memory_mb.map(rounded),
            "disturbed": self.is_disturbed,
        })
    }
}

/// Percentiles with their names.
pub fn latency_json([p50, p99, p999, max]: [f64; 4]) -> Value {
    json!({"p50": rounded(p50), "p99": rounded(p99), "p99_9": rounded(p999), "max": rounded(max)})
}

/// Three places are enough.
pub fn rounded(figure: f64) -> f64 {
    (figure * 1000.0).round() / 1000.0
}

/// p50, p99, p99.9 and the longest, milliseconds, of microseconds.
pub fn percentiles(latency: &Histogram<u64>) -> [f64; 4] {
    [0.5, 0.99, 0.999, 1.0].map(|share| {
        let micros = u32::try_from(latency.value_at_quantile(share)).unwrap_or(u32::MAX);
        f64::from(micros) / 1000.0
    })
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
