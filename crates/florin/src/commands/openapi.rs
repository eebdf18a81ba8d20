//! `florin openapi`: the API's document, made from the code.

use std::{fs, path::PathBuf, process::ExitCode};

use clap::Args;

use crate::output::{Problem, say};

const EXAMPLES: &str = "\
Examples:
  florin openapi > florin.json
  florin openapi --output openapi/florin.json
  florin openapi --check openapi/florin.json";

/// What `florin openapi` takes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Write to this file
    #[arg(long, value_name = "FILE", conflicts_with = "check")]
    output: Option<PathBuf>,
    /// Compare with this file; exit code 1 when it differs
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
}

/// Prints, writes or compares the document.
///
/// # Errors
/// A file cannot be read or written, or differs.
pub fn run(arguments: &Arguments) -> Result<ExitCode, Problem> {
    let mut text = serde_json::to_string_pretty(&florin_http::openapi()).map_err(Problem::failed)?;
    text.push('\n');
    if let Some(path) = &arguments.check {
        let kept = fs::read_to_string(path)
            .map_err(|error| Problem::failed(format!("{} cannot be read: {error}", path.display())))?;
        return if kept == text {
            Ok(ExitCode::SUCCESS)
        } else {
            let place = path.display();
            Err(Problem::failed(format!("{place} differs from the code; run: florin openapi --output {place}")))
        };
    }
    if let Some(path) = &arguments.output {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(Problem::failed)?;
        }
        fs::write(path, text)
            .map_err(|error| Problem::failed(format!("{} cannot be written: {error}", path.display())))?;
    } else {
        say(text.trim_end());
    }
    Ok(ExitCode::SUCCESS)
}
