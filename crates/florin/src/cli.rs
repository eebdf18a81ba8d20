//! The command line: what there is to call, and the flags that come from the table of options.

use std::{path::PathBuf, process::ExitCode};

use clap::{Arg, ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand, parser::ValueSource};
use clap_complete::Shell;

use crate::{
    commands::{backup, createsuperuser, demo, import, keys, migrate, openapi, restore, restored, show_config, verify},
    config::{self, Config, Values, options::OPTIONS},
    output::{Problem, say},
    serve,
};

const EXAMPLES: &str = "\
Examples:
  florin                                   start on SQLite, in ./florin-data, at http://127.0.0.1:8000
  florin serve --listen 0.0.0.0:8000       listen on every address
  FLORIN_DATABASE_URL=postgres://florin@db/florin florin migrate
  florin demo --wallets 1000               fill the database with something to look at
  florin config                            every setting, its value and where it comes from
  florin completions bash > /etc/bash_completion.d/florin

Settings come from florin.toml, then FLORIN_... variables, then flags (see `florin --help`); later ones win.";

const COMPLETIONS: &str = "\
Examples:
  florin completions bash > /etc/bash_completion.d/florin
  florin completions zsh > ~/.zfunc/_florin
  florin completions fish > ~/.config/fish/completions/florin.fish";

/// Florin, a wallet platform: accounts in double entry behind an HTTP API, on SQLite or PostgreSQL.
#[derive(Debug, Parser)]
#[command(name = "florin", version, after_help = EXAMPLES)]
struct Cli {
    /// Read settings from this file instead of florin.toml in the current folder
    #[arg(long, global = true, env = "FLORIN_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the HTTP server (the default)
    Serve(serve::Arguments),
    /// Bring the database's schema up to date
    Migrate(migrate::Arguments),
    /// Make a user who may do everything
    Createsuperuser(createsuperuser::Arguments),
    /// Fill a database with believable users, wallets and a few months of operations
    Demo(demo::Arguments),
    /// Apply a file of movements (CSV, JSONL), without a server
    Import(import::Arguments),
    /// Check the books: sums, running balances and the hash chain
    Verify(verify::Arguments),
    /// Copy a SQLite database to a file, also while a server uses it
    Backup(backup::Arguments),
    /// Put a backup in the place of a SQLite database
    Restore(restore::Arguments),
    /// After a restore by other means: end every session, so that everybody signs in again
    Restored(restored::Arguments),
    /// Show or replace the keys that sign access tokens
    Keys(keys::Arguments),
    /// Print the OpenAPI document
    Openapi(openapi::Arguments),
    /// Print every setting with its value and source
    Config(show_config::Arguments),
    /// Print a shell's completion script
    #[command(after_help = COMPLETIONS)]
    Completions {
        /// Which shell
        shell: Shell,
    },
}

/// Reads the command line and does what it says.
///
/// # Errors
/// What the command could not do.
pub fn run() -> Result<ExitCode, Problem> {
    let matches = command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let load = || -> Result<(Config, Values), Problem> {
        Ok(config::load(cli.config.as_deref(), std::env::vars_os(), &flags(&matches))?)
    };
    match cli.command.unwrap_or(Command::Serve(serve::Arguments {})) {
        Command::Serve(_) => serve::run(&load()?.0),
        Command::Migrate(arguments) => migrate::run(&load()?.0, &arguments),
        Command::Createsuperuser(arguments) => createsuperuser::run(&load()?.0, &arguments),
        Command::Demo(arguments) => demo::run(&load()?.0, &arguments),
        Command::Import(arguments) => import::run(&load()?.0, &arguments),
        Command::Verify(_) => verify::run(&load()?.0),
        Command::Backup(arguments) => backup::run(&load()?.0, &arguments),
        Command::Restore(arguments) => restore::run(&load()?.0, &arguments),
        Command::Restored(arguments) => restored::run(&load()?.0, &arguments),
        Command::Keys(arguments) => keys::run(&load()?.0, &arguments),
        Command::Openapi(arguments) => openapi::run(&arguments),
        Command::Config(arguments) if arguments.markdown => {
            say(config::markdown().trim_end());
            Ok(ExitCode::SUCCESS)
        }
        Command::Config(_) => show_config::run(&load()?.1),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command(), "florin", &mut script);
            say(String::from_utf8_lossy(&script).trim_end());
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The derived command with one flag for every option that may be given by a flag.
fn command() -> clap::Command {
    OPTIONS.iter().fold(Cli::command(), |command, spec| {
        let Some(flag) = spec.flag() else { return command };
        let default = if spec.default.is_empty() { String::new() } else { format!(" [default: {}]", spec.default) };
        let help = format!("{} Accepts {}.{default} [env: {}]", spec.doc, spec.accepts, spec.variable());
        command.arg(
            Arg::new(spec.name)
                .long(flag)
                .value_name("VALUE")
                .global(true)
                .hide_short_help(true)
                .help_heading(format!("Settings: {}", spec.section))
                .help(help),
        )
    })
}

fn flags(matches: &ArgMatches) -> Vec<(&'static str, String)> {
    let given = |name: &&'static str| matches.value_source(name) == Some(ValueSource::CommandLine);
    OPTIONS
        .iter()
        .filter(|spec| spec.flag().is_some())
        .map(|spec| spec.name)
        .filter(given)
        .filter_map(|name| Some((name, matches.get_one::<String>(name)?.clone())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        command().debug_assert();
    }

    #[test]
    fn a_flag_counts_before_and_behind_the_command() {
        for line in [["florin", "--node", "7", "serve"], ["florin", "serve", "--node", "7"]] {
            let matches = command().try_get_matches_from(line).unwrap();
            assert_eq!(flags(&matches), [("node", "7".to_owned())], "{line:?}");
        }
        assert!(command().try_get_matches_from(["florin", "--master-key", "00"]).is_err(), "secrets have no flag");
    }

    #[test]
    fn every_command_helps_with_an_example() {
        for sub in command().get_subcommands() {
            let text = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(text.contains("florin"), "{} has no example", sub.get_name());
        }
    }
}
