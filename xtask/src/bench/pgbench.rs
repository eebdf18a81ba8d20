//! PostgreSQL alone: pgbench with Florin's own tables, one database transaction per deposit.

use std::path::Path;

use super::Options;
use super::machine::Usage;
use super::scenario::{Run, Scenario};
use crate::process::{must_capture, root};
use crate::{Outcome, florin, postgres, process};

const DATABASE: &str = "pgbench";
const SCRIPT: &str = "xtask/bench/pgbench_deposit.sql";

/// Wallets with ids that a script can compute, and a stripe of the bank's account in every bucket, so that pgbench's
/// transactions do not wait for one hot row.
const ACCOUNTS: &str = "INSERT INTO accounts (bucket, id, kind, asset, exponent, normal_side, floor, posted_debits, \
    posted_credits, pending_debits, pending_credits, version, created_at, updated_at) \
    SELECT n % 1024, (prefix || lpad(n::text, 12, '0'))::uuid, kind, 'EUR', 2, normal_side, floor, 0, 0, 0, 0, 0, \
    now(), now() FROM (SELECT n, '00000000-0000-7000-8000-' AS prefix, 0 AS kind, 1 AS normal_side, 0 AS floor \
    FROM generate_series(1, {wallets}) AS n UNION ALL SELECT n, '00000000-0000-7000-9000-', 1, 0, NULL \
    FROM generate_series(0, 1023) AS n) AS made";

/// A database with the tables and the accounts.
pub struct Deposits<'a> {
    options: &'a Options,
    database: &'a postgres::Server,
}

impl<'a> Deposits<'a> {
    /// Makes Florin's schema in a database of its own and fills it.
    ///
    /// # Errors
    /// When PostgreSQL or the migration refuses.
    pub fn prepare(options: &'a Options, database: &'a postgres::Server, binary: &Path) -> Outcome<Self> {
        let folder = process::target_dir();
        florin::migrate(binary, &folder, &database.url(DATABASE))?;
        database.sql(DATABASE, &ACCOUNTS.replace("{wallets}", &options.wallets.to_string()))?;
        database.sql(DATABASE, "VACUUM ANALYZE")?;
        Ok(Self { options, database })
    }

    /// One run with so many clients.
    ///
    /// # Errors
    /// pgbench's complaint.
    pub fn run(&self, clients: u32, round: u32) -> Outcome<Run> {
        if process::is_interrupted() {
            return Err("interrupted".into());
        }
        let scenario = Scenario::Pgbench(clients);
        eprintln!("bench: round {round}: {}", scenario.name());
        let mut pgbench = self.database.program("pgbench", DATABASE).ok_or(
            "pgbench is missing: install PostgreSQL's client programs (Debian: postgresql-client, postgresql)",
        )?;
        pgbench.args(["-n", "-M", "prepared", "-j", "2", "-c", &clients.to_string()]);
        pgbench.args(["-T", &self.options.seconds.to_string(), "-D", &format!("wallets={}", self.options.wallets)]);
        pgbench.args(["-D", &format!("keys={}", i32::from(self.options.keys))]);
        pgbench.arg("-f").arg(root().join(SCRIPT));
        let before = Usage::now(None, Some(self.database.pid()));
        let printed = must_capture(&mut pgbench)?;
        let used = Usage::now(None, Some(self.database.pid())).since(before);
        let rate = rate_in(&printed).ok_or_else(|| format!("pgbench printed no rate: {printed}"))?;
        Ok(Run::new(scenario, round, rate, None, (used, self.options.run_time().as_secs_f64())))
    }
}

/// The transactions a second in what pgbench printed, without the time of connecting.
fn rate_in(printed: &str) -> Option<f64> {
    let line = printed.lines().find(|line| line.starts_with("tps = ") && !line.contains("including"))?;
    line.split_whitespace().nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_found() {
        let printed = "latency average = 2.4 ms\ninitial connection time = 9.1 ms\n\
                       tps = 3325.412000 (without initial connection time)\n";
        assert!((rate_in(printed).unwrap() - 3325.412).abs() < 0.001);
        assert!(rate_in("pgbench: error").is_none());
    }
}
