//! What the program says: results on standard output, complaints in one line on standard error.

use std::{
    fmt::Display,
    io::{BufRead as _, Write as _},
    process::ExitCode,
};

use florin_app::Failure;
use florin_store::StoreError;

use crate::config::ConfigError;

/// Why a command ended early; the text is one line.
#[derive(Debug)]
pub enum Problem {
    /// The command line or the configuration does not hold. Exit code 2.
    Usage(String),
    /// It could not be done. Exit code 1.
    Failed(String),
}

impl Problem {
    /// Something that could not be done.
    pub fn failed(text: impl Display) -> Self {
        Self::Failed(text.to_string())
    }

    /// Says it on standard error and gives the exit code.
    pub fn report(&self) -> ExitCode {
        let (text, code) = match self {
            Self::Usage(text) => (text, 2),
            Self::Failed(text) => (text, 1),
        };
        let line = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
        eprintln!("florin: {line}");
        ExitCode::from(code)
    }
}

impl From<ConfigError> for Problem {
    fn from(error: ConfigError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        // The kind of failure is for callers of the API; the operator needs the cause alone.
        let (Failure::Unavailable(cause) | Failure::Internal(cause)) = failure;
        Self::Failed(cause)
    }
}

/// Writes to standard output. A reader who has gone away is no failure.
pub fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush());
}

/// Asks on the terminal; anything but yes is no.
///
/// # Errors
/// The answer cannot be read.
pub fn is_confirmed(question: &str) -> Result<bool, Problem> {
    let mut out = std::io::stdout().lock();
    let _ = write!(out, "{question} [y/N] ").and_then(|()| out.flush());
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).map_err(Problem::failed)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
