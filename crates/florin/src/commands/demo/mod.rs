//! `florin demo`: believable users, wallets and a few months of operations, through the ledger's own batches.

mod calendar;
mod dice;
mod history;
mod people;

use std::{process::ExitCode, sync::Arc};

use clap::Args;
use florin_app::{
    App,
    port::{Clock as _, Rng as _},
    user::UserError,
};
use florin_ledger::{Batch, Outcome};
use florin_store::{Engine, StoreError, ledger::apply_batch_in_tx, user};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::runtime::Runtime;

use crate::{
    clock::SystemClock,
    config::Config,
    output::{Problem, say},
    rng::SystemRng,
    wiring,
};
use calendar::Calendar;
use history::{History, Moment};
use people::{Crowd, Person, Purse};

/// How far back the history goes.
const DAYS: i64 = 120;

/// Rows, or operations, in one database transaction, about.
const CHUNK: usize = 1000;

const EXAMPLES: &str = "\
Examples:
  florin demo
  florin demo --wallets 100000 --operations-per-wallet 5
  florin demo --data-dir /tmp/florin-demo && florin serve --data-dir /tmp/florin-demo

Every user made here has the same password, printed at the end with a token. On SQLite, stop the server first.
The same seed makes the same people and payments; times count back from now.";

/// What `florin demo` takes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Wallets to make
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    wallets: u64,
    /// Operations for each wallet, on average
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(0..=10_000))]
    operations_per_wallet: u64,
    /// Which people and payments
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Fill the database although it has users already. Operations cannot be taken out of a ledger again
    #[arg(long)]
    add: bool,
}

/// Fills the database.
///
/// # Errors
/// The database cannot be used, or has users and `--add` is missing, or the seed was used before.
pub fn run(config: &Config, arguments: &Arguments) -> Result<ExitCode, Problem> {
    wiring::prepare_data_dir(config)?;
    let engine = wiring::open_engine(config)?;
    wiring::prepare_schema(config, engine.as_ref(), config.migrate_on_start)?;
    refuse_users(config, engine.as_ref(), arguments)?;
    let runtime = wiring::start_runtime(config)?;
    let app = wiring::start_app(config, Arc::clone(&engine))?;
    let (username, password) = (username(arguments.seed), password());
    runtime
        .block_on(app.register(&username, "demo@example.com", &password, "demo"))
        .map_err(|error| refused(&error, arguments.seed))?;
    let first = florin_store::read(engine.as_ref(), |tx| user::find_user_by_claim(tx, user::USERNAME, &username))?
        .ok_or_else(|| Problem::failed(format!("{username} was made and is gone")))?;
    let calendar = Calendar::before(SystemClock::start().now_us(), DAYS);
    let crowd = Crowd::new(arguments.seed, calendar, config.settings.default_asset, arguments.wallets, first);
    let (people, purses) = write_people(engine.as_ref(), crowd, arguments)?;
    let operations = arguments.wallets.saturating_mul(arguments.operations_per_wallet);
    let wallet = purses.first().map(|purse| purse.id.0.to_string()).unwrap_or_default();
    let history = History::new(arguments.seed, calendar, config.settings.writer, purses, operations);
    let refused = write_history(engine.as_ref(), config.settings.writer, history, operations)?;
    say(&format!(
        "{}: {people} users, {} wallets, {} operations over {DAYS} days.",
        config.database_shown,
        arguments.wallets,
        operations - refused
    ));
    let token = sign_in(&app, &runtime, &username, &password)?;
    say(&hints(config, &username, &password, &token, &wallet));
    Ok(ExitCode::SUCCESS)
}

fn refuse_users(config: &Config, engine: &dyn Engine, arguments: &Arguments) -> Result<(), Problem> {
    if arguments.add {
        return Ok(());
    }
    let names = florin_store::read(engine, |tx| user::list_claims(tx, user::USERNAME, "", None, 1))?;
    if names.is_empty() {
        return Ok(());
    }
    Err(Problem::failed(format!(
        "{} has users already, and operations cannot be taken out again; to fill it all the same: florin demo --add",
        config.database_shown
    )))
}

fn username(seed: u64) -> String {
    if seed == 1 { "demo".to_owned() } else { format!("demo-s{seed}") }
}

/// Random, because a demonstration may run where others can reach it.
fn password() -> String {
    let mut bytes = [0_u8; 8];
    SystemRng.fill(&mut bytes);
    format!("Florin-{}", florin_store::hex(&bytes))
}

fn refused(error: &UserError, seed: u64) -> Problem {
    match error {
        UserError::Invalid(_) => {
            Problem::failed(format!("the people of seed {seed} are there already; take another --seed"))
        }
        other => Problem::failed(other),
    }
}

fn bar(length: u64, what: &str) -> ProgressBar {
    let bar = ProgressBar::new(length);
    let template = "{msg:10} {wide_bar} {human_pos}/{human_len} {per_sec} {eta}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message(what.to_owned());
    bar
}

/// Writes everybody; gives how many there are and their wallets, in the order in which they were opened.
fn write_people(engine: &dyn Engine, crowd: Crowd, arguments: &Arguments) -> Result<(u64, Vec<Purse>), Problem> {
    let bar = bar(arguments.wallets, "wallets");
    let (mut people, mut purses) = (0, Vec::new());
    let mut chunk: Vec<Person> = Vec::new();
    let mut crowd = crowd.peekable();
    let mut rows = 0;
    while let Some(person) = crowd.next() {
        people += 1;
        rows += person.rows();
        purses.extend(person.purses());
        chunk.push(person);
        if rows >= CHUNK || crowd.peek().is_none() {
            let written = engine.write(&mut |tx| chunk.iter().try_for_each(|person| person.insert_in_tx(tx)));
            written.map_err(|error| match error {
                StoreError::Duplicate(_) => {
                    Problem::failed(format!("the people of seed {} are there already", arguments.seed))
                }
                other => other.into(),
            })?;
            bar.set_position(u64::try_from(purses.len()).unwrap_or_default());
            chunk.clear();
            rows = 0;
        }
    }
    bar.finish_and_clear();
    Ok((people, purses))
}

/// Writes the operations; gives how many the ledger refused.
fn write_history(engine: &dyn Engine, writer: u16, history: History, operations: u64) -> Result<u64, Problem> {
    let bar = bar(operations, "operations");
    let mut refused = 0;
    let mut chunk: Vec<Moment> = Vec::new();
    let mut history = history.peekable();
    let mut commands = 0;
    while let Some(moment) = history.next() {
        commands += moment.commands.len();
        chunk.push(moment);
        if commands >= CHUNK || history.peek().is_none() {
            refused += florin_store::write(engine, |tx| {
                let mut refused = 0;
                for moment in &chunk {
                    let verdicts = apply_batch_in_tx(tx, writer, Batch::each(&moment.commands), moment.at_us)?;
                    refused += verdicts.iter().filter(|one| matches!(one.outcome, Outcome::Rejected(_))).count();
                }
                Ok(u64::try_from(refused).unwrap_or_default())
            })?;
            bar.inc(u64::try_from(commands).unwrap_or_default());
            chunk.clear();
            commands = 0;
        }
    }
    bar.finish_and_clear();
    Ok(refused)
}

fn sign_in(app: &App, runtime: &Runtime, username: &str, password: &str) -> Result<String, Problem> {
    let pair = runtime.block_on(app.sign_in(username, password, "demo")).map_err(Problem::failed)?;
    Ok(pair.access)
}

fn hints(config: &Config, username: &str, password: &str, token: &str, wallet: &str) -> String {
    let base = format!("http://{}", config.listen);
    [
        String::new(),
        format!("Sign in as {username} with the password {password}; all the others have the same one."),
        format!("A token for an access of {} minutes:", config.settings.access_token_ttl_s / 60),
        String::new(),
        format!("  TOKEN={token}"),
        String::new(),
        "Start the server (florin serve), then:".to_owned(),
        String::new(),
        format!("  curl -H \"Authorization: Bearer $TOKEN\" {base}/api/v1/wallets"),
        format!("  curl -H \"Authorization: Bearer $TOKEN\" {base}/api/v1/wallets/{wallet}/operations"),
        "  curl -H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/json' \\".to_owned(),
        format!("    -d '{{\"operation_type\":\"DEPOSIT\",\"amount\":100}}' {base}/api/v1/wallets/{wallet}/operation"),
    ]
    .join("\n")
}
