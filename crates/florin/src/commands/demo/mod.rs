//! `florin demo`: believable users, wallets and a few months of operations, through the ledger's own batches.

mod calendar;
mod dice;
mod history;
mod people;
mod plan;

use std::{
    process::ExitCode,
    sync::{Arc, mpsc},
};

use clap::Args;
use florin_app::{
    App,
    port::{Clock as _, Rng as _},
    user::UserError,
};
use florin_ledger::{Batch, Outcome};
use florin_store::{Engine, StoreError, Tx, ledger::apply_batch_in_tx, user};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::runtime::Runtime;
use uuid::Uuid;

use crate::{
    clock::SystemClock,
    config::Config,
    output::{Problem, say},
    rng::SystemRng,
    wiring,
};
use calendar::Calendar;
use history::{History, Moment};
use people::{Crowd, Person};
use plan::{Plan, Purse};

/// How far back the history goes.
const DAYS: i64 = 120;

/// Rows of people in one database transaction, about: so many that each page of the tables gets several of them.
const PEOPLE_CHUNK: usize = 50_000;

/// Operations in one database transaction, about.
const CHUNK: usize = 10_000;

/// Database transactions that are made ready while one is written.
const CHUNKS_AHEAD: usize = 2;

const EXAMPLES: &str = "\
Examples:
  florin demo
  florin demo --wallets 100000 --operations-per-wallet 5
  florin demo --wallets 1000000 --operations 2500000 --own 1000
  florin demo --data-dir /tmp/florin-demo && florin serve --data-dir /tmp/florin-demo

Every user made here has the same password, printed at the end with a token. On SQLite, stop the server first.
The same seed makes the same people and payments; times count back from now.";

/// What `florin demo` takes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Wallets to make
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    wallets: u32,
    /// Operations for each wallet, on average
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(0..=10_000))]
    operations_per_wallet: u64,
    /// Operations altogether, instead of so many for each wallet
    #[arg(long, value_name = "N", conflicts_with = "operations_per_wallet",
        value_parser = clap::value_parser!(u64).range(0..=1_000_000_000))]
    operations: Option<u64>,
    /// Wallets of the first user, whose token is printed; spread evenly over all of them
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    own: u32,
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
    let plan = plan(config, arguments, first.id);
    let (people, purses) = write_people(engine.as_ref(), &plan, first.password_hash)?;
    let per_wallet = u64::from(arguments.wallets).saturating_mul(arguments.operations_per_wallet);
    let operations = arguments.operations.unwrap_or(per_wallet);
    let history = History::new(&plan, config.settings.writer, purses, operations);
    let refused = write_history(engine.as_ref(), config.settings.writer, history, operations)?;
    say(&format!(
        "{}: {people} users, {} wallets, {} operations over {DAYS} days.",
        config.database_shown,
        arguments.wallets,
        operations - refused
    ));
    let token = sign_in(&app, &runtime, &username, &password)?;
    say(&hints(config, &username, &password, &token, &plan.wallet_id(0).0.to_string()));
    Ok(ExitCode::SUCCESS)
}

fn plan(config: &Config, arguments: &Arguments, first_user: Uuid) -> Plan {
    Plan {
        seed: arguments.seed,
        calendar: Calendar::before(SystemClock::start().now_us(), DAYS),
        wallets: arguments.wallets,
        own: arguments.own.min(arguments.wallets),
        first_user,
        assets: Plan::assets(config.settings.default_asset),
    }
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
fn write_people(engine: &dyn Engine, plan: &Plan, password_hash: String) -> Result<(u64, Vec<Purse>), Problem> {
    let bar = bar(u64::from(plan.wallets), "wallets");
    let (mut people, mut purses) = (1, Vec::with_capacity(usize::try_from(plan.wallets).unwrap_or_default()));
    let mut chunk: Vec<Person> = Vec::new();
    let mut crowd = Crowd::new(plan, password_hash).peekable();
    let mut rows = 0;
    while let Some(person) = crowd.next() {
        people += u64::from(person.is_new());
        rows += person.rows();
        purses.extend(person.purses());
        chunk.push(person);
        if rows >= PEOPLE_CHUNK || crowd.peek().is_none() {
            engine.write(&mut |tx| insert_in_tx(tx, plan, &chunk)).map_err(|error| match error {
                StoreError::Duplicate(_) => {
                    Problem::failed(format!("the people of seed {} are there already", plan.seed))
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

fn insert_in_tx(tx: &mut dyn Tx, plan: &Plan, people: &[Person]) -> Result<(), StoreError> {
    let strangers = people.iter().filter(|person| person.is_new()).count();
    let first_number = user::take_numbers(tx, i64::try_from(strangers).unwrap_or_default())?;
    people::insert_in_tx(tx, plan, people, first_number)
}

/// Writes the operations, which a thread of their own makes up meanwhile; gives how many the ledger refused.
fn write_history(engine: &dyn Engine, writer: u16, history: History<'_>, operations: u64) -> Result<u64, Problem> {
    let bar = bar(operations, "operations");
    let mut refused = 0;
    std::thread::scope(|scope| {
        let (sender, chunks) = mpsc::sync_channel(CHUNKS_AHEAD);
        scope.spawn(move || send_chunks(history, &sender));
        for chunk in chunks {
            refused += florin_store::write(engine, |tx| apply_in_tx(tx, writer, &chunk))?;
            let commands: usize = chunk.iter().map(|moment| moment.commands.len()).sum();
            bar.inc(u64::try_from(commands).unwrap_or_default());
        }
        Ok::<(), Problem>(())
    })?;
    bar.finish_and_clear();
    Ok(refused)
}

/// Moments in pieces for one database transaction each, until they end or nobody wants more.
fn send_chunks(history: History<'_>, sender: &mpsc::SyncSender<Vec<Moment>>) {
    let mut chunk: Vec<Moment> = Vec::new();
    let mut commands = 0;
    for moment in history {
        commands += moment.commands.len();
        chunk.push(moment);
        if commands >= CHUNK {
            if sender.send(std::mem::take(&mut chunk)).is_err() {
                return;
            }
            commands = 0;
        }
    }
    if !chunk.is_empty() {
        let _ = sender.send(chunk);
    }
}

fn apply_in_tx(tx: &mut dyn Tx, writer: u16, chunk: &[Moment]) -> Result<u64, StoreError> {
    let mut refused = 0;
    for moment in chunk {
        let verdicts = apply_batch_in_tx(tx, writer, Batch::each(&moment.commands), moment.at_us)?.verdicts;
        refused += verdicts.iter().filter(|one| matches!(one.outcome, Outcome::Rejected(_))).count();
    }
    Ok(u64::try_from(refused).unwrap_or_default())
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
