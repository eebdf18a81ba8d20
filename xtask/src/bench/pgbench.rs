//! PostgreSQL alone: plain double entry, one database transaction per deposit, run by pgbench.

use std::fs;
use std::path::Path;
use std::process::Command;

use hdrhistogram::Histogram;

use super::Options;
use super::machine::Usage;
use super::run::{Run, Scenario, percentiles};
use crate::process::{must_capture, root, target_dir};
use crate::{Outcome, postgres, process};

const DATABASE: &str = "reference";

/// Accounts with the ids that the scripts choose from.
const ACCOUNTS: &str = "INSERT INTO accounts (id, balance, version) \
    SELECT id, 0, 0 FROM generate_series(-1024, {wallets}) AS id WHERE id <> 0";

/// How a deposit is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A statement a step, on wallets at random.
    Plain,
    /// The same, always on one wallet.
    Hot,
    /// One data-modifying statement, on wallets at random.
    OneStatement,
    /// No deposit, but the least that one can leave behind where it has a row of its own, found by its account and by
    /// its key; so many of them a commit.
    Bare(u32),
}

impl Form {
    const fn script(self) -> &'static str {
        match self {
            Self::Plain | Self::Hot => "xtask/bench/double_entry.sql",
            Self::OneStatement => "xtask/bench/double_entry_one_statement.sql",
            Self::Bare(_) => "xtask/bench/bare_rows.sql",
        }
    }

    /// Operations in one of pgbench's transactions.
    pub const fn operations(self) -> u32 {
        if let Self::Bare(rows) = self { rows } else { 1 }
    }
}

/// A database with the tables and the accounts.
#[derive(Debug)]
pub struct Deposits<'a> {
    options: &'a Options,
    database: &'a postgres::Server,
}

impl<'a> Deposits<'a> {
    /// Makes the schema in a database of its own and fills it.
    ///
    /// # Errors
    /// When PostgreSQL refuses.
    pub fn prepare(options: &'a Options, database: &'a postgres::Server) -> Outcome<Self> {
        fill(database, options.wallets)?;
        Ok(Self { options, database })
    }

    /// One run with so many clients, after a warm-up.
    ///
    /// # Errors
    /// pgbench's complaint.
    pub fn run(&self, form: Form, clients: u32, round: u32) -> Outcome<Run> {
        if process::is_interrupted() {
            return Err("interrupted".into());
        }
        let scenario = Scenario::Pgbench(form, clients);
        eprintln!("bench: round {round}: {}", scenario.name());
        if self.options.warm_up_seconds > 0 {
            must_capture(&mut self.command(form, clients, self.options.warm_up_seconds)?)?;
        }
        let logs = Logs::make()?;
        let mut pgbench = self.command(form, clients, self.options.seconds)?;
        pgbench.args(["--log", "--log-prefix"]).arg(logs.0.join("pgbench"));
        let usage = || Usage::now(&[], Some(self.database.pid()));
        let before = usage();
        let printed = must_capture(&mut pgbench)?;
        let used = usage().since(before);
        let transactions = rate_in(&printed).ok_or_else(|| format!("pgbench printed no rate: {printed}"))?;
        let rate = transactions * f64::from(scenario.operations());
        let latency = Some(percentiles(&logs.latencies()?));
        let seconds = self.options.run_time().as_secs_f64();
        Ok(Run::new(scenario, round, rate, latency, (used, seconds)))
    }

    fn command(&self, form: Form, clients: u32, seconds: u64) -> Outcome<Command> {
        let wallets = if form == Form::Hot { 1 } else { self.options.wallets };
        let mut command = pgbench(self.database, form, wallets)?;
        command.args(["-j", "2", "-c", &clients.to_string(), "-T", &seconds.to_string()]);
        Ok(command)
    }
}

/// A folder for pgbench's logs, gone with its guard.
struct Logs(std::path::PathBuf);

impl Logs {
    fn make() -> Outcome<Self> {
        let folder = target_dir().join(format!("xtask-pgbench-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }

    /// Of every transaction in every log: microseconds.
    fn latencies(&self) -> Outcome<Histogram<u64>> {
        let mut latency = super::client::new_histogram()?;
        for entry in fs::read_dir(&self.0)? {
            let text = fs::read_to_string(entry?.path())?;
            text.lines().filter_map(latency_in).for_each(|micros| latency.saturating_record(micros));
        }
        Ok(latency)
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn fill(database: &postgres::Server, wallets: u32) -> Outcome<()> {
    database.sql("postgres", &format!("CREATE DATABASE {DATABASE}"))?;
    for schema in ["double_entry_schema.sql", "bare_rows_schema.sql"] {
        database.sql(DATABASE, &fs::read_to_string(root().join("xtask/bench").join(schema))?)?;
    }
    database.sql(DATABASE, &ACCOUNTS.replace("{wallets}", &wallets.to_string()))?;
    database.sql(DATABASE, "VACUUM ANALYZE")?;
    Ok(())
}

fn pgbench(database: &postgres::Server, form: Form, wallets: u32) -> Outcome<Command> {
    let mut command = database
        .program("pgbench", DATABASE)
        .ok_or("pgbench is missing: install PostgreSQL's own programs (Debian, Ubuntu: apt-get install postgresql)")?;
    command.args(["-n", "-M", "prepared", "-D", &format!("wallets={wallets}")]);
    command.args(["-D", &format!("rows={}", form.operations()), "-f"]);
    command.arg(root().join(Path::new(form.script())));
    Ok(command)
}

/// The transactions a second in what pgbench printed, without the time of connecting.
fn rate_in(printed: &str) -> Option<f64> {
    let line = printed.lines().find(|line| line.starts_with("tps = ") && !line.contains("including"))?;
    line.split_whitespace().nth(2)?.parse().ok()
}

/// The microseconds in one line of pgbench's log: client, number, latency, script, seconds, microseconds.
fn latency_in(line: &str) -> Option<u64> {
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
    fn the_latency_of_a_line_is_found() {
        assert_eq!(latency_in("0 199 2241 0 1175850568 995598"), Some(2241));
        assert_eq!(latency_in("0 199 skipped 0 1175850568 995598"), None);
    }

    #[test]
    fn every_script_keeps_its_books() {
        if !postgres::is_installed() {
            eprintln!("skipped: PostgreSQL is not installed");
            return;
        }
        let server = postgres::Server::start(&[]).unwrap();
        fill(&server, 50).unwrap();
        for (form, wallets) in [(Form::Plain, 50), (Form::Hot, 1), (Form::OneStatement, 50)] {
            must_capture(pgbench(&server, form, wallets).unwrap().args(["-c", "2", "-t", "20"])).unwrap();
        }
        must_capture(pgbench(&server, Form::Bare(8), 50).unwrap().args(["-c", "2", "-t", "20"])).unwrap();
        let count = |what: &str| server.sql(DATABASE, &format!("SELECT {what}")).unwrap().trim().to_owned();
        assert_eq!(count("count(*) FROM transactions"), "120");
        assert_eq!(count("count(*) FROM postings"), "240");
        assert_eq!(count("count(*) FROM idempotency_keys"), "120");
        assert_eq!(count("sum(balance) FROM accounts"), "0");
        assert_eq!(count("count(*) FROM bare_postings WHERE account_id BETWEEN 1 AND 50"), "320");
        let unequal = "count(*) FROM accounts a WHERE balance <> \
                       (SELECT coalesce(sum(amount), 0) FROM postings p WHERE p.account_id = a.id)";
        assert_eq!(count(unequal), "0");
        let stale = "count(*) FROM accounts a WHERE version > 0 AND balance <> (SELECT balance_after FROM postings p \
                     WHERE p.account_id = a.id ORDER BY id DESC LIMIT 1)";
        assert_eq!(count(stale), "0");
    }
}
