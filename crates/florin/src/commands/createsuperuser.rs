//! `florin createsuperuser`: a user who may do everything, from flags or by asking.

use std::{
    io::{BufRead as _, IsTerminal as _, Write as _},
    path::Path,
    process::ExitCode,
};

use clap::Args;
use florin_app::user::UserError;
use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    config::{Config, read_secret_file},
    output::{Problem, say},
    wiring,
};

const PASSWORD: &str = "FLORIN_SUPERUSER_PASSWORD";
const PASSWORD_FILE: &str = "FLORIN_SUPERUSER_PASSWORD_FILE";

const EXAMPLES: &str = "\
Examples:
  florin createsuperuser
  FLORIN_SUPERUSER_PASSWORD_FILE=/run/secrets/root florin createsuperuser --username root --email root@example.org
  pass florin/root | florin createsuperuser --username root --email '' --password-stdin

The password is never taken from the command line, where every user of the machine could read it.";

/// What `florin createsuperuser` takes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Name to sign in with; asked for when missing
    #[arg(long)]
    username: Option<String>,
    /// E-mail address, may be empty; asked for when missing and somebody is there to answer
    #[arg(long)]
    email: Option<String>,
    /// Read the password from standard input (one line)
    #[arg(long)]
    password_stdin: bool,
}

/// Makes the user.
///
/// # Errors
/// Something is missing or does not hold, or the database cannot be used.
pub fn run(config: &Config, arguments: &Arguments) -> Result<ExitCode, Problem> {
    wiring::prepare_data_dir(config)?;
    let engine = wiring::open_engine(config)?;
    wiring::prepare_schema(config, engine.as_ref(), config.migrate_on_start)?;
    let username = match &arguments.username {
        Some(username) => username.clone(),
        None => ask("Username: ", "--username")?,
    };
    let email = match &arguments.email {
        Some(email) => email.clone(),
        None if arguments.password_stdin || !std::io::stdin().is_terminal() => String::new(),
        None => ask("E-mail (may be empty): ", "--email")?,
    };
    let password = password(arguments)?;
    let runtime = wiring::start_runtime(config)?;
    let app = wiring::start_app(config, engine)?;
    let user = runtime
        .block_on(app.create_superuser(&username, &email, password.expose_secret()))
        .map_err(|error| refusal(&error))?;
    say(&format!("Superuser {} was made, with number {}.", user.username, user.number));
    Ok(ExitCode::SUCCESS)
}

fn refusal(error: &UserError) -> Problem {
    match error {
        UserError::Invalid(fields) => {
            let lines = fields.0.iter().map(|(field, texts)| format!("{field}: {}", texts.join(" ")));
            Problem::Failed(lines.collect::<Vec<_>>().join("; "))
        }
        other => Problem::failed(other),
    }
}

fn password(arguments: &Arguments) -> Result<SecretString, Problem> {
    if arguments.password_stdin {
        return Ok(SecretString::from(read_line()?));
    }
    if let Ok(password) = std::env::var(PASSWORD)
        && !password.is_empty()
    {
        return Ok(SecretString::from(password));
    }
    if let Some(path) = std::env::var_os(PASSWORD_FILE).filter(|path| !path.is_empty()) {
        return Ok(SecretString::from(read_secret_file(PASSWORD_FILE, Path::new(&path))?));
    }
    if !std::io::stdin().is_terminal() {
        return Err(Problem::Usage(format!("no password: set {PASSWORD} or {PASSWORD_FILE}, or use --password-stdin")));
    }
    let first = rpassword::prompt_password("Password: ").map_err(Problem::failed)?;
    let again = rpassword::prompt_password("Password (again): ").map_err(Problem::failed)?;
    if first == again { Ok(SecretString::from(first)) } else { Err(Problem::failed("the passwords differ")) }
}

fn ask(question: &str, flag: &str) -> Result<String, Problem> {
    if !std::io::stdin().is_terminal() {
        return Err(Problem::Usage(format!("{flag} is missing, and nobody is there to be asked")));
    }
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(question.as_bytes()).and_then(|()| out.flush());
    read_line()
}

fn read_line() -> Result<String, Problem> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(Problem::failed)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
