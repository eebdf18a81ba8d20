//! SQLite alone: plain double entry, one operation a commit, flushed, in this process and without HTTP.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};

use super::Options;
use super::client::new_histogram;
use super::machine::Usage;
use super::run::{Run, Scenario, percentiles};
use crate::Outcome;
use crate::process::{self, target_dir};

/// The tables that most programs would make: rows in the order of arrival, an index for an account's history.
const SCHEMA: &str = "
    CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL, version INTEGER NOT NULL);
    CREATE TABLE transactions (id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, created_at INTEGER NOT NULL);
    CREATE TABLE postings (id INTEGER PRIMARY KEY, transaction_id INTEGER NOT NULL, account_id INTEGER NOT NULL,
        amount INTEGER NOT NULL, balance_after INTEGER NOT NULL, created_at INTEGER NOT NULL);
    CREATE INDEX postings_by_account ON postings (account_id, id);
    CREATE TABLE idempotency_keys (key TEXT PRIMARY KEY, transaction_id INTEGER NOT NULL) WITHOUT ROWID;";

const INSERT_TRANSACTION: &str = "INSERT INTO transactions (kind, created_at) VALUES (1, ?1)";
const INSERT_KEY: &str = "INSERT INTO idempotency_keys (key, transaction_id) VALUES (?1, ?2)";
const CHANGE: &str =
    "UPDATE accounts SET balance = balance + ?2, version = version + 1 WHERE id = ?1 RETURNING balance";
const INSERT_POSTING: &str = "INSERT INTO postings (transaction_id, account_id, amount, balance_after, created_at) \
    VALUES (?1, ?2, ?3, ?4, ?5)";

/// The bank's account.
const BANK: i64 = 0;

/// A database in a file of its own; gone with its guard.
#[derive(Debug)]
pub struct Deposits<'a> {
    options: &'a Options,
    connection: Connection,
    folder: PathBuf,
    made: u64,
}

impl<'a> Deposits<'a> {
    /// Makes and fills the tables.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn prepare(options: &'a Options) -> Outcome<Self> {
        let folder = target_dir().join(format!("xtask-sqlite-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let connection = Connection::open(folder.join("reference.db"))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        fill(&connection, options.wallets)?;
        Ok(Self { options, connection, folder, made: 0 })
    }

    /// One run, after a warm-up.
    ///
    /// # Errors
    /// SQLite's complaint.
    pub fn run(&mut self, round: u32) -> Outcome<Run> {
        if process::is_interrupted() {
            return Err("interrupted".into());
        }
        eprintln!("bench: round {round}: {}", Scenario::SqliteAlone.name());
        self.run_for(self.options.warm_up())?;
        let before = Usage::now(&[], None);
        let (count, latency) = self.run_for(self.options.run_time())?;
        let used = Usage::now(&[], None).since(before);
        let seconds = self.options.run_time().as_secs_f64();
        let rate = f64::from(u32::try_from(count)?) / seconds;
        Ok(Run::new(Scenario::SqliteAlone, round, rate, Some(percentiles(&latency)), (used, seconds)))
    }

    fn run_for(&mut self, time: Duration) -> Outcome<(u64, hdrhistogram::Histogram<u64>)> {
        let mut latency = new_histogram()?;
        let end = Instant::now() + time;
        let mut count = 0;
        loop {
            let begun = Instant::now();
            if begun >= end {
                return Ok((count, latency));
            }
            self.made += 1;
            deposit(&self.connection, self.made, self.options.wallets)?;
            latency.saturating_record(u64::try_from(begun.elapsed().as_micros())?);
            count += 1;
        }
    }
}

impl Drop for Deposits<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn fill(connection: &Connection, wallets: u32) -> Outcome<()> {
    connection.execute_batch(SCHEMA)?;
    let numbers = "WITH RECURSIVE n (id) AS (SELECT 0 UNION ALL SELECT id + 1 FROM n WHERE id < ?1) \
                   INSERT INTO accounts (id, balance, version) SELECT id, 0, 0 FROM n";
    connection.execute(numbers, [wallets])?;
    Ok(())
}

/// Deposit number `number`, in a database transaction of its own.
fn deposit(connection: &Connection, number: u64, wallets: u32) -> Outcome<()> {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let wallet = 1 + i64::try_from((mixed >> 32) % u64::from(wallets))?;
    let now = i64::try_from(number)?;
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    connection.prepare_cached(INSERT_TRANSACTION)?.execute([now])?;
    let transaction = connection.last_insert_rowid();
    connection.prepare_cached(INSERT_KEY)?.execute(params![format!("{mixed:032x}"), transaction])?;
    for (account, amount) in [(wallet, 100), (BANK, -100)] {
        let after: i64 = connection.prepare_cached(CHANGE)?.query_row([account, amount], |row| row.get(0))?;
        connection.prepare_cached(INSERT_POSTING)?.execute([transaction, account, amount, after, now])?;
    }
    connection.prepare_cached("COMMIT")?.execute([])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_books_are_kept() {
        let connection = Connection::open_in_memory().unwrap();
        fill(&connection, 10).unwrap();
        (1..=200).for_each(|number| deposit(&connection, number, 10).unwrap());
        let count = |what: &str| connection.query_row(&format!("SELECT {what}"), [], |row| row.get(0));
        let counts: [i64; 4] = [
            "count(*) FROM postings",
            "count(*) FROM idempotency_keys",
            "sum(balance) FROM accounts",
            "count(*) FROM accounts WHERE id > 0 AND version > 0",
        ]
        .map(|what| count(what).unwrap());
        assert_eq!(counts, [400, 200, 0, 10]);
    }
}
