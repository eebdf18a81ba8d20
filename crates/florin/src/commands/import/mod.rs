//! `florin import`: a file of movements into the database of this machine, without a server.

mod report;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::{Args, ValueEnum};
use florin_app::{
    App, Failure,
    import::{COMMAND_LINE, Import, ImportError, ImportFormat, LocalFile, NewImport, Source, Work},
    wallet::BatchRights,
};
use indicatif::{ProgressBar, ProgressStyle};
use report::Report;
use uuid::Uuid;

use crate::{
    config::Config,
    output::{Problem, say},
    wiring,
};

/// Rows in one commit. Nobody else waits here, so it is more than a server's.
const CHUNK_ROWS: usize = 5_000;
/// Exit code when the file was worked on to its end and rows were refused.
const SOME_REFUSED: u8 = 3;

const EXAMPLES: &str = "\
Examples:
  florin import wages-2026-11.csv
  florin import movements.jsonl --data-dir /var/lib/florin
  florin import wages-2026-11.csv --again

A CSV file begins with a line of column names: type, amount and wallet (or from and to), and where wanted direction and
reason; a JSONL file has one object a line with the same members. Types are DEPOSIT, WITHDRAW, TRANSFER and ADJUSTMENT.

Every row is applied on its own, with the operator's rights: any wallet. Refused rows are written to FILE.refused.csv,
and the exit code is then 3; a file of that name is never written over. A run that was broken off goes on where it
stopped when the same bytes are imported again; no row is applied twice. On SQLite, stop the server first.";

/// What `florin import` takes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The file
    file: PathBuf,
    /// How its rows are written; told by the file's name when missing
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Import a file once more that was imported before
    #[arg(long)]
    again: bool,
}

/// How rows are written.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// Comma-separated values
    Csv,
    /// One JSON object a line
    Jsonl,
}

/// Imports the file.
///
/// # Errors
/// The file is none of rows or was imported before, there is no database or it cannot be used, or there is no place for
/// the report; what was applied until then stays.
pub fn run(config: &Config, arguments: &Arguments) -> Result<ExitCode, Problem> {
    let path = &arguments.file;
    let format = format_of(arguments)?;
    expect_readable(path, format)?;
    // Opened to be read first: that refuses a file that is not there, and makes none.
    drop(wiring::open_existing(config)?);
    wiring::prepare_data_dir(config)?;
    let engine = wiring::open_engine(config)?;
    wiring::prepare_schema(config, engine.as_ref(), config.migrate_on_start)?;
    let runtime = wiring::start_runtime(config)?;
    let app = wiring::start_app(config, engine)?;
    let report = Report::beside(path);
    let import = enter(&app, arguments, format, &report)?;
    let before = import.progress;
    if before.position > 0 {
        say(&format!("{}: goes on behind line {}", path.display(), before.line.saturating_sub(1)));
    }
    let bar = bar(import.size_bytes);
    bar.set_position(u64::try_from(before.position).unwrap_or_default());
    let work = Work { path, rights: BatchRights::Operator(Uuid::nil()), chunk_rows: CHUNK_ROWS };
    let worked = runtime.block_on(app.work_on_import(import, work, |import| {
        bar.set_position(u64::try_from(import.progress.position).unwrap_or_default());
        bar.set_message(rows_of(import));
    }));
    bar.finish_and_clear();
    let import = worked.map_err(|error| {
        let text = text_of(error);
        let shown = path.display();
        Problem::failed(format!("{shown}: {text}; run the same command again, and it goes on where it stopped"))
    })?;
    if import.progress.refused == 0 {
        say(&format!("{}: {}", path.display(), rows_of(&import)));
        return Ok(ExitCode::SUCCESS);
    }
    say(&format!("{}: {}; why: {}", path.display(), rows_of(&import), report.write(&app, &import)?));
    Ok(ExitCode::from(SOME_REFUSED))
}

/// Refuses a file that is not there, or none of rows.
fn expect_readable(path: &Path, format: ImportFormat) -> Result<(), Problem> {
    let shown = path.display();
    fs::metadata(path).map_err(|error| Problem::failed(format!("{shown} cannot be read: {error}")))?;
    Source::open(path, format).map(drop).map_err(|error| Problem::failed(format!("{shown}: {}", text_of(error))))
}

/// Enters the file, or finds it as it was entered before, once its report has a place.
fn enter(app: &Arc<App>, arguments: &Arguments, format: ImportFormat, report: &Report) -> Result<Import, Problem> {
    let path = &arguments.file;
    let failed = |error| Problem::failed(format!("{}: {}", path.display(), text_of(error)));
    let file = LocalFile::read(path, format).map_err(failed)?;
    if let Some(earlier) = app.find_local_import(&file, arguments.again).map_err(failed)? {
        refuse_others(app, &earlier, path, report)?;
    }
    report.expect_place()?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let new = NewImport { format, name, again: arguments.again, key: None };
    let import = app.enter_local_import(&file, &new).map_err(failed)?;
    // Somebody else may have entered the same bytes meanwhile.
    refuse_others(app, &import, path, report)?;
    Ok(import)
}

/// What went wrong; the kind of a failure says nothing to an operator.
fn text_of(error: ImportError) -> String {
    match error {
        ImportError::Failure(Failure::Unavailable(cause) | Failure::Internal(cause)) => cause,
        other => other.to_string(),
    }
}

fn format_of(arguments: &Arguments) -> Result<ImportFormat, Problem> {
    let by_name = || match arguments.file.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "csv" => Some(ImportFormat::Csv),
        "jsonl" | "ndjson" => Some(ImportFormat::Jsonl),
        _ => None,
    };
    let given = arguments.format.map(|format| match format {
        Format::Csv => ImportFormat::Csv,
        Format::Jsonl => ImportFormat::Jsonl,
    });
    given.or_else(by_name).ok_or_else(|| {
        let shown = arguments.file.display();
        Problem::Usage(format!("the name {shown} does not tell how its rows are written: say --format csv or jsonl"))
    })
}

/// Refuses a file that is somebody else's, or done; a report that was lost is written first.
fn refuse_others(app: &Arc<App>, import: &Import, path: &Path, report: &Report) -> Result<(), Problem> {
    let shown = path.display();
    if import.is_running() && import.node != COMMAND_LINE {
        return Err(Problem::failed(format!("{shown}: the server with node number {} imports this file", import.node)));
    }
    if import.is_running() {
        return Ok(());
    }
    let ended = match &import.failure {
        Some(failure) => format!("{}: {failure}", import.state),
        None => {
            say(&format!("{shown}: nothing is left to do; {}", rows_of(import)));
            import.state.to_owned()
        }
    };
    if import.progress.refused > 0 {
        if report.is_there()? {
            say(&format!("{report} is there already and stays as it is"));
        } else {
            say(&format!("why rows were refused: {}", report.write(app, import)?));
        }
    }
    Err(Problem::failed(format!(
        "{shown} was imported before ({ended}; {}); to import all of it once more, what was applied too: florin import \
         --again",
        rows_of(import)
    )))
}

fn rows_of(import: &Import) -> String {
    format!("{} rows applied, {} refused", import.progress.applied, import.progress.refused)
}

fn bar(bytes: i64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {percent}%  {msg}  {eta} left");
    ProgressBar::new(u64::try_from(bytes).unwrap_or_default())
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
