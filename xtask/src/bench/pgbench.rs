//! PostgreSQL alone: pgbench with Florin's own tables, one database transaction per deposit.

use std::path::Path;
use std::process::Command;

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
        florin::migrate(binary, &database.url(DATABASE))?;
        database.sql(DATABASE, &accounts(options.wallets))?;
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
        let mut pgbench = command(self.database, self.options.wallets, self.options.keys)?;
        pgbench.args(["-j", "2", "-c", &clients.to_string(), "-T", &self.options.seconds.to_string()]);
        let before = Usage::now(None, Some(self.database.pid()));
        let printed = must_capture(&mut pgbench)?;
        let used = Usage::now(None, Some(self.database.pid())).since(before);
        let rate = rate_in(&printed).ok_or_else(|| format!("pgbench printed no rate: {printed}"))?;
        Ok(Run::new(scenario, round, rate, None, (used, self.options.run_time().as_secs_f64())))
    }
}

fn accounts(wallets: u32) -> String {
    ACCOUNTS.replace("{wallets}", &wallets.to_string())
}

fn command(database: &postgres::Server, wallets: u32, has_keys: bool) -> Outcome<Command> {
    let mut command = database
        .program("pgbench", DATABASE)
        .ok_or("pgbench is missing: install PostgreSQL's own programs (Debian, Ubuntu: apt-get install postgresql)")?;
    command.args(["-n", "-M", "prepared", "-D", &format!("wallets={wallets}")]);
    command.args(["-D", &format!("keys={}", i32::from(has_keys))]);
    command.arg("-f").arg(root().join(SCRIPT));
    Ok(command)
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

    #[test]
    fn the_script_keeps_the_books_of_the_schema_as_it_is() {
        if !postgres::is_installed() {
            eprintln!("skipped: PostgreSQL is not installed");
            return;
        }
        let server = postgres::Server::start(&[]).unwrap();
        server.sql("postgres", "CREATE DATABASE pgbench").unwrap();
        let folder = root().join("crates/store/src/migrations/postgres");
        let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        for file in files {
            server.sql(DATABASE, &std::fs::read_to_string(file).unwrap()).unwrap();
        }
        server.sql(DATABASE, &accounts(50)).unwrap();
        must_capture(command(&server, 50, true).unwrap().args(["-c", "2", "-t", "20"])).unwrap();
        must_capture(command(&server, 50, false).unwrap().args(["-c", "2", "-t", "20"])).unwrap();
        let count = |what: &str| server.sql(DATABASE, &format!("SELECT {what}")).unwrap().trim().to_owned();
        assert_eq!(count("count(*) FROM transactions"), "80");
        assert_eq!(count("count(*) FROM postings"), "160");
        assert_eq!(count("count(*) FROM idempotency_keys"), "40");
        assert_eq!(count("sum(posted_credits) = sum(posted_debits) FROM accounts"), "t");
        let unequal = "count(*) FROM accounts a WHERE posted_credits + posted_debits <> \
                       (SELECT coalesce(sum(amount), 0) FROM postings p \
                       WHERE p.bucket = a.bucket AND p.account_id = a.id)";
        assert_eq!(count(unequal), "0");
    }
}
