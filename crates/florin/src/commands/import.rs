//! `florin import`: a file of movements into the database of this machine, without a server.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::{Args, ValueEnum};
use florin_app::{
    App,
    import::{COMMAND_LINE, Import, ImportFormat, NewImport, Work},
    wallet::BatchRights,
};
use indicatif::{ProgressBar, ProgressStyle};
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
and the exit code is then 3. A run that was broken off goes on where it stopped when the same bytes are imported again;
no row is applied twice. On SQLite, stop the server first.";

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
/// The file is none of rows or was imported before, or the database cannot be used; what was applied until then stays.
pub fn run(config: &Config, arguments: &Arguments) -> Result<ExitCode, Problem> {
    let format = format_of(arguments)?;
    wiring::prepare_data_dir(config)?;
    let engine = wiring::open_engine(config)?;
    wiring::prepare_schema(config, engine.as_ref(), config.migrate_on_start)?;
    let runtime = wiring::start_runtime(config)?;
    let app = wiring::start_app(config, engine)?;
    let shown = arguments.file.display();
    let name = arguments.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let new = NewImport { format, name, again: arguments.again, key: None };
    let entered = app.enter_local_import(&arguments.file, &new);
    let import = entered.map_err(|error| Problem::failed(format!("{shown}: {error}")))?;
    refuse_others(&import, arguments)?;
    let before = import.progress;
    if before.position > 0 {
        say(&format!("{shown}: goes on behind line {}", before.line.saturating_sub(1)));
    }
    let bar = bar(import.size_bytes);
    bar.set_position(u64::try_from(before.position).unwrap_or_default());
    let work = Work { path: &arguments.file, rights: BatchRights::Operator(Uuid::nil()), chunk_rows: CHUNK_ROWS };
    let worked = runtime.block_on(app.work_on_import(import, work, |import| {
        bar.set_position(u64::try_from(import.progress.position).unwrap_or_default());
        bar.set_message(rows_of(import));
    }));
    bar.finish_and_clear();
    let import = worked.map_err(|error| {
        Problem::failed(format!("{shown}: {error}; run the same command again, and it goes on where it stopped"))
    })?;
    if import.progress.refused == 0 {
        say(&format!("{shown}: {}", rows_of(&import)));
        return Ok(ExitCode::SUCCESS);
    }
    let report = write_report(&app, &import, &arguments.file)?;
    say(&format!("{shown}: {}; why: {}", rows_of(&import), report.display()));
    Ok(ExitCode::from(SOME_REFUSED))
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

/// Refuses a file that is somebody else's, or done.
fn refuse_others(import: &Import, arguments: &Arguments) -> Result<(), Problem> {
    let shown = arguments.file.display();
    if import.is_running() && import.node != COMMAND_LINE {
        return Err(Problem::failed(format!("{shown}: the server with node number {} imports this file", import.node)));
    }
    if import.is_running() {
        return Ok(());
    }
    Err(Problem::failed(format!(
        "{shown} was imported before ({}, {}); to import all of it once more: florin import --again",
        import.state,
        rows_of(import)
    )))
}

fn rows_of(import: &Import) -> String {
    format!("{} rows applied, {} refused", import.progress.applied, import.progress.refused)
}

fn write_report(app: &Arc<App>, import: &Import, file: &Path) -> Result<PathBuf, Problem> {
    let mut name = file.as_os_str().to_owned();
    name.push(".refused.csv");
    let path = PathBuf::from(name);
    let failed =
        |error: &dyn std::fmt::Display| Problem::failed(format!("{} cannot be written: {error}", path.display()));
    let mut writer = csv::Writer::from_writer(File::create(&path).map_err(|error| failed(&error))?);
    writer.write_record(["line", "code", "detail"]).map_err(|error| failed(&error))?;
    let mut written = Ok(());
    app.for_each_refusal(import.id, |row| {
        if written.is_ok() {
            written = writer.write_record([&row.line.to_string(), &row.code, &row.detail]);
        }
    })
    .map_err(Problem::failed)?;
    written.map_err(|error| failed(&error))?;
    writer.flush().map_err(|error| failed(&error))?;
    Ok(path)
}

fn bar(bytes: i64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {percent}%  {msg}  {eta} left");
    ProgressBar::new(u64::try_from(bytes).unwrap_or_default())
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
