//! `cargo xtask tidy`: the rules of the house that neither the compiler nor clippy knows.

mod directions;
mod exceptions;
mod lexer;
mod migrations;
mod python;
mod source;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::Outcome;
use crate::process::root;

/// One thing that is not as it should be, with the way out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// From the repository's root.
    path: String,
    /// 1, 2, 3 …; 0 for the file as a whole.
    line: usize,
    /// What is wrong, and how to mend it.
    what: String,
}

impl Finding {
    fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            return write!(out, "{}: {}", self.path, self.what);
        }
        write!(out, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// Checks the whole repository.
///
/// # Errors
/// When a file cannot be read or cargo's metadata cannot be had.
pub fn run() -> Outcome<ExitCode> {
    let root = root();
    let mut findings = directions::check()?;
    findings.extend(migrations::check(&root.join("crates/store/src/migrations"))?);
    let mut files = Vec::new();
    for folder in ["crates", "xtask", "bench"] {
        collect_sources(&root.join(folder), &mut files)?;
    }
    files.sort();
    let mut exceptions = exceptions::Exceptions::read(&root.join(exceptions::FILE))?;
    for file in &files {
        let path = file.strip_prefix(&root)?.to_string_lossy().into_owned();
        let text = fs::read_to_string(file)?;
        if file.extension().is_some_and(|extension| extension == "py") {
            python::check(&path, &text, &mut findings);
        } else {
            source::check(&path, &text, &mut exceptions, &mut findings);
        }
    }
    findings.extend(exceptions.stale());
    findings.sort();
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() {
        println!("tidy: {} source files, nothing to mend", files.len());
        return Ok(ExitCode::SUCCESS);
    }
    println!("tidy: {} to mend", findings.len());
    Ok(ExitCode::FAILURE)
}

fn collect_sources(folder: &Path, files: &mut Vec<PathBuf>) -> Outcome<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            if path.file_name().is_none_or(|name| name != "target") {
                collect_sources(&path, files)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "py") {
            files.push(path);
        }
    }
    Ok(())
}
