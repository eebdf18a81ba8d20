//! `florin keys`: the keys that sign access tokens, and replacing them.

use std::{process::ExitCode, sync::Arc, thread::sleep, time::Duration};

use clap::{Args, Subcommand};
use florin_app::session::{KeyCare, KeyWish, key_rules};
use florin_store::{
    Engine,
    signing_key::{ACTIVE, NEXT, SigningKeyRow, list_keys},
};
use florin_store_sqlite::is_served;
use jiff::Timestamp;

use crate::{
    clock::SystemClock,
    config::{Config, Database},
    key_request::{KeyRequest, ask},
    output::{Problem, say},
    rng::SystemRng,
    wiring,
};

/// Longer than a node takes to learn of a new key: no node meets a token whose key it does not know.
const SPREAD: Duration = Duration::from_secs(3);

const EXAMPLES: &str = "\
Examples:
  florin keys list
  florin keys rotate                       a next key, which signs after ten minutes
  florin keys rotate --now                 a new key that signs at once
  florin keys revoke NzbLsXh8uDCc...       after a key became known: what it signed counts for nothing

Servers need not be stopped: they learn of it within a second or two. Users stay signed in.";

/// What `florin keys` takes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show the keys that are published
    #[command(after_help = EXAMPLES)]
    List,
    /// Make a next key; it signs once everybody can know it
    #[command(after_help = EXAMPLES)]
    Rotate {
        /// Let it sign at once
        #[arg(long)]
        now: bool,
    },
    /// Let what a key signed count for nothing
    #[command(after_help = EXAMPLES)]
    Revoke {
        /// The key, as `florin keys list` names it
        // One in 64 begins with a hyphen.
        #[arg(allow_hyphen_values = true)]
        key: String,
    },
}

/// Shows or changes the keys.
///
/// # Errors
/// The database cannot be used, or the master key does not fit it.
pub fn run(config: &Config, arguments: &Arguments) -> Result<ExitCode, Problem> {
    // Opened to be read first: that refuses a file that is not there, and makes none.
    let reader = wiring::open_existing(config)?;
    wiring::prepare_schema(config, reader.as_ref(), false)?;
    match &arguments.action {
        Action::List => {}
        Action::Rotate { now } => {
            change(config, &KeyRequest::Rotate(if *now { KeyWish::Now } else { KeyWish::Next }))?;
        }
        Action::Revoke { key } => {
            if !florin_store::read(reader.as_ref(), list_keys)?.iter().any(|row| row.id == *key) {
                return Err(Problem::failed(format!("there is no key {key}; florin keys list shows all")));
            }
            change(config, &KeyRequest::Revoke(key.clone()))?;
        }
    }
    show(config, &florin_store::read(reader.as_ref(), list_keys)?);
    Ok(ExitCode::SUCCESS)
}

fn change(config: &Config, request: &KeyRequest) -> Result<(), Problem> {
    if let Database::Sqlite(path) = &config.database
        && is_served(path)
    {
        return ask(&config.data_dir, request);
    }
    wiring::prepare_data_dir(config)?;
    let care = key_care(config, wiring::open_engine(config)?)?;
    match request {
        KeyRequest::Rotate(KeyWish::Now) if !wiring::is_embedded(care.engine.as_ref()) => {
            care.keep(KeyWish::Next)?;
            sleep(SPREAD);
            care.keep(KeyWish::Now)?;
        }
        KeyRequest::Rotate(wish) => drop(care.keep(*wish)?),
        KeyRequest::Revoke(id) => drop(care.revoke(id)?),
    }
    Ok(())
}

fn key_care(config: &Config, engine: Arc<dyn Engine>) -> Result<KeyCare, Problem> {
    let sealing_key = Arc::new(wiring::master_key(config, engine.as_ref())?);
    Ok(KeyCare {
        engine,
        clock: Arc::new(SystemClock::start()),
        rng: Arc::new(SystemRng),
        sealing_key,
        rules: key_rules(&config.settings),
    })
}

fn show(config: &Config, keys: &[SigningKeyRow]) {
    let rules = key_rules(&config.settings);
    say(&format!("{:<43}  {:<8}  {:<20}  then", "key", "state", "made"));
    for key in keys {
        let then = match (key.state.as_str(), key.retire_at_us) {
            (NEXT, _) => format!("signs from {}", time(key.created_at_us.saturating_add(rules.lead_us))),
            (ACTIVE, _) => rules.key_life_us.map_or_else(
                || "signs until it is replaced by hand".to_owned(),
                |life_us| format!("signs until about {}", time(key.created_at_us.saturating_add(life_us))),
            ),
            (_, Some(until_us)) => format!("counts until {}", time(until_us)),
            (_, None) => String::new(),
        };
        say(&format!("{:<43}  {:<8}  {:<20}  {then}", key.id, key.state, time(key.created_at_us)));
    }
    if keys.is_empty() {
        say("There is no key yet: the server makes one when it starts.");
    }
}

fn time(at_us: i64) -> String {
    let seconds = at_us.div_euclid(1_000_000);
    Timestamp::from_second(seconds).map_or_else(|_| "?".to_owned(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    #[test]
    fn a_key_that_begins_with_a_hyphen_can_be_named() {
        let line = Line::try_parse_from(["keys", "revoke", "-Kd_0"]);
        let action = line.map(|line| line.arguments.action);
        assert!(matches!(&action, Ok(Action::Revoke { key }) if key == "-Kd_0"), "{:?}", action.err());
    }
}
