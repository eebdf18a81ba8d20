//! The configuration: read from file, environment and flags, checked, typed.

mod nearest;
pub mod options;
mod parse;
mod print;
mod sources;
#[cfg(test)]
mod tests;

use std::{
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use florin_app::{QueueSettings, Settings};
use florin_http::Network;
use florin_money::Asset;
use secrecy::{SecretBox, SecretString};
use thiserror::Error;

pub use print::{markdown, printout};
pub use sources::{Values, read_secret_file, without_password};

/// Something in the configuration does not hold. The message names it.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// Which database.
#[derive(Debug, Clone)]
pub enum Database {
    /// A file.
    Sqlite(PathBuf),
    /// A server; the URL may hold a password.
    Postgres(SecretString),
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// By whether standard error is a terminal.
    Auto,
    /// For people.
    Pretty,
    /// For machines.
    Json,
}

/// Bounds on requests.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Largest body, bytes.
    pub body_bytes: usize,
    /// Time for the head of a request.
    pub header_timeout: Duration,
    /// Time for a whole request.
    pub request_timeout: Duration,
    /// Largest file of an import, bytes.
    pub import_bytes: usize,
    /// Connections at once.
    pub max_connections: usize,
    /// Reads an hour and caller.
    pub reads_per_hour: Option<u32>,
    /// Writes an hour and caller.
    pub writes_per_hour: Option<u32>,
    /// Failed sign-ins in ten minutes and address.
    pub sign_in_failures_per_address: Option<u32>,
}

/// Everything the operator decided, typed.
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Origins of pages that may call the API.
    pub cors_origins: Vec<String>,
    /// Proxies that are believed about where a request comes from.
    pub trusted_proxies: Vec<Network>,
    /// Where files lie.
    pub data_dir: PathBuf,
    /// Which database.
    pub database: Database,
    /// The database's URL, fit to be shown.
    pub database_shown: String,
    /// Whether `serve` migrates.
    pub migrate_on_start: bool,
    /// The key that seals signing keys, when it was given.
    pub master_key: Option<SecretBox<[u8; 32]>>,
    /// The rules of the use cases.
    pub settings: Settings,
    /// Bounds of the commit queue.
    pub queue: QueueSettings,
    /// Bounds on requests.
    pub limits: Limits,
    /// Log filter.
    pub log: String,
    /// Log form.
    pub log_format: LogFormat,
    /// Threads that serve requests.
    pub worker_threads: usize,
    /// Connections to PostgreSQL.
    pub postgres_pool: usize,
    /// Certificates of authorities that PostgreSQL's may come from, beside the public ones.
    pub postgres_ca_file: Option<PathBuf>,
    /// Connections that read from SQLite.
    pub sqlite_read_connections: usize,
}

/// Reads every source and checks every value.
///
/// # Errors
/// The first thing that does not hold.
pub fn load(
    file: Option<&Path>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    flags: &[(&'static str, String)],
) -> Result<(Config, Values), ConfigError> {
    let values = Values::gather(file, variables, flags)?;
    let config = Config::from_values(&values)?;
    Ok((config, values))
}

impl Config {
    /// The typed form.
    ///
    /// # Errors
    /// The first value that is not accepted.
    fn from_values(values: &Values) -> Result<Self, ConfigError> {
        let data_dir = values.parse("data_dir", path)?;
        let (database, database_shown) = database(values, &data_dir)?;
        let is_sqlite = matches!(database, Database::Sqlite(_));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let or_cores = |number: usize, automatic: usize| if number == 0 { automatic.max(1) } else { number };
        Ok(Self {
            listen: values.parse("listen", parse::address)?,
            cors_origins: values.parse("cors_origins", parse::origins)?,
            trusted_proxies: values.parse("trusted_proxies", parse::networks)?,
            migrate_on_start: values.parse("migrate_on_start", parse::auto_switch)?.unwrap_or(is_sqlite),
            master_key: values.parse("master_key", master_key)?,
            settings: settings(values, cores)?,
            queue: QueueSettings {
                capacity: values.parse("queue_capacity", parse::count)?,
                batch_max: values.parse("batch_max", parse::count)?,
                ahead_min: values.parse("batch_ahead_min", parse::count)?,
                bulk_max: values.parse("batch_bulk_max", parse::count)?,
                bulk_capacity: values.parse("queue_bulk_capacity", parse::count)?,
            },
            limits: limits(values)?,
            log: values.parse("log", log_filter)?,
            log_format: values.parse("log_format", log_format)?,
            worker_threads: or_cores(values.parse("worker_threads", parse::count_or_zero)?, cores),
            postgres_pool: values.parse("postgres_pool", parse::count)?,
            postgres_ca_file: path(&values.get("postgres_ca_file")?.text),
            sqlite_read_connections: or_cores(
                values.parse("sqlite_read_connections", parse::count_or_zero)?,
                cores.max(4),
            ),
            data_dir,
            database,
            database_shown,
        })
    }
}

fn settings(values: &Values, cores: usize) -> Result<Settings, ConfigError> {
    let hash_parallelism = values.parse("hash_parallelism", parse::count_or_zero)?;
    let mut settings = Settings {
        default_asset: Asset::find_iso("EUR").ok_or_else(|| ConfigError("EUR is no currency".to_owned()))?,
        custom_assets: values.parse("custom_assets", parse::assets)?,
        self_deposit: values.parse("self_deposit", parse::switch)?,
        access_token_ttl_s: values.parse("access_token_ttl", parse::seconds)?,
        refresh_token_ttl_s: values.parse("refresh_token_ttl", parse::seconds)?,
        session_ttl_s: values.parse("session_ttl", parse::seconds)?,
        refresh_grace_s: values.parse("refresh_grace", parse::seconds_or_zero)?,
        sessions_per_user: values.parse("sessions_per_user", parse::one_to_hundred)?,
        signing_key_life_s: values.parse("signing_key_life", parse::seconds_or_zero)?,
        issuer: values.parse("issuer", parse::word)?,
        writer: values.parse("node", parse::node)?,
        batch_parallelism: cores,
        hash_parallelism: if hash_parallelism == 0 { (cores / 2).max(1) } else { hash_parallelism },
        hash_queue: values.parse("hash_queue", parse::count)?,
    };
    settings.default_asset = values.parse("default_asset", |code| settings.find_asset(code))?;
    Ok(settings)
}

fn limits(values: &Values) -> Result<Limits, ConfigError> {
    Ok(Limits {
        body_bytes: values.parse("body_limit", parse::size)?,
        import_bytes: values.parse("import_max_size", parse::size)?,
        header_timeout: values.parse("header_timeout", parse::duration)?,
        request_timeout: values.parse("request_timeout", parse::duration)?,
        max_connections: values.parse("max_connections", parse::count)?,
        reads_per_hour: values.parse("throttle_reads_per_hour", parse::limit)?,
        writes_per_hour: values.parse("throttle_writes_per_hour", parse::limit)?,
        sign_in_failures_per_address: values.parse("sign_in_failures_per_address", parse::limit)?,
    })
}

fn database(values: &Values, data_dir: &Path) -> Result<(Database, String), ConfigError> {
    let url = &values.get("database_url")?.text;
    if url.is_empty() {
        let path = data_dir.join("florin.db");
        let shown = format!("sqlite:{}", path.display());
        return Ok((Database::Sqlite(path), shown));
    }
    let database = values.parse("database_url", |url| {
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Some(Database::Postgres(SecretString::from(url)));
        }
        let path = url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:"))?;
        let is_file = !path.is_empty() && !path.starts_with(':') && !path.contains('?');
        is_file.then(|| Database::Sqlite(PathBuf::from(path)))
    })?;
    Ok((database, without_password(url)))
}

fn path(text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| PathBuf::from(text))
}

fn master_key(text: &str) -> Option<Option<SecretBox<[u8; 32]>>> {
    if text.is_empty() { Some(None) } else { read_key(text).map(Some) }
}

/// The key in this text.
pub fn read_key(text: &str) -> Option<SecretBox<[u8; 32]>> {
    parse::key(text).map(|bytes| SecretBox::new(Box::new(bytes)))
}

fn log_filter(text: &str) -> Option<String> {
    let filter = tracing_subscriber::EnvFilter::builder().parse(text);
    (!text.is_empty() && filter.is_ok()).then(|| text.to_owned())
}

fn log_format(text: &str) -> Option<LogFormat> {
    match text {
        "auto" => Some(LogFormat::Auto),
        "pretty" => Some(LogFormat::Pretty),
        "json" => Some(LogFormat::Json),
        _ => None,
    }
}
