//! `cargo xtask fuzz-api`: schemathesis against a running server and its own OpenAPI document.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::Args;

use crate::process::{self, target_dir};
use crate::{Outcome, florin, python};

/// The release that the checks were chosen for.
const SCHEMATHESIS: &str = "schemathesis==4.32.5\n";

/// What a broken promise is: an error of the server, or an answer that the document does not describe.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
    response_headers_conformance,response_schema_conformance";

/// What `cargo xtask fuzz-api` takes.
#[derive(Debug, Args)]
#[command(after_help = "Installs schemathesis (PyPI) into target/schemathesis, starts florin on an empty SQLite \
    database, signs in, and requests everything that the document describes with good and bad data. A 5xx, or an \
    answer that the document does not describe, is a failure. Operations that would end the session in use are \
    requested without the token.")]
pub struct Options {
    /// Generated requests for each operation.
    #[arg(long, value_name = "N", default_value_t = 20)]
    max_examples: u32,
    /// The seed; the same one repeats a run.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Further arguments for schemathesis.
    #[arg(last = true, value_name = "SCHEMATHESIS ARGUMENTS")]
    rest: Vec<String>,
}

/// Runs schemathesis twice: with a token over what a token survives, and without one over the rest.
///
/// # Errors
/// When Python or schemathesis cannot be had, or the server does not start.
pub fn run(options: &Options) -> Outcome<ExitCode> {
    let schemathesis = python::environment("schemathesis", SCHEMATHESIS)?.join("bin/schemathesis");
    let binary = florin::build(false)?;
    let server = florin::Server::start(&binary, "fuzz", None)?;
    let token = server.api().sign_in()?;
    let mut with_token = command(&schemathesis, options, &server);
    with_token.arg("--header").arg(format!("Authorization: Bearer {token}"));
    with_token.args(["--exclude-path-regex", ENDS_THE_SESSION]);
    let mut without_token = command(&schemathesis, options, &server);
    without_token.args(["--include-path-regex", ENDS_THE_SESSION]);
    let first = process::run(with_token.args(&options.rest))?;
    let second = process::run(without_token.args(&options.rest))?;
    if first.success() && second.success() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("xtask: the end of the server's log:\n{}", server.log());
    Ok(ExitCode::FAILURE)
}

/// Paths whose operations would take the token's force away.
const ENDS_THE_SESSION: &str = "^/api/v1/session";

fn command(schemathesis: &PathBuf, options: &Options, server: &florin::Server) -> Command {
    let mut command = Command::new(schemathesis);
    command.arg("run").arg(format!("{}/api/schema/openapi.json", server.base_url()));
    command.args(["--url", &server.base_url(), "--checks", CHECKS, "--phases", "examples,coverage,fuzzing"]);
    command.args(["--max-examples", &options.max_examples.to_string(), "--seed", &options.seed.to_string()]);
    // One worker: two trip over each other inside CPython 3.11 (its parser is not safe to share between threads).
    command.args(["--workers", "1", "--request-timeout", "10", "--no-color", "--generation-database", "none"]);
    // Generated text is mostly refused; that is the point, and no reason to stop.
    command.args(["--suppress-health-check", "filter_too_much,too_slow", "--warnings", "off"]);
    command.current_dir(target_dir());
    command
}
