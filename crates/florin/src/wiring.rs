//! From the configuration to a running core: data folder, engine, master key, use cases.

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use florin_app::{App, Parts, port::Rng as _, priority};
use florin_store::{Engine, EngineKind};
use florin_store_postgres::{PostgresEngine, PostgresOptions, Process};
use florin_store_sqlite::{SqliteEngine, SqliteOptions};
use secrecy::{ExposeSecret as _, SecretBox};
use tokio::runtime::Runtime;

use crate::{
    clock::{self, SystemClock},
    commands::backup::must_be_there,
    config::{Config, Database, read_key},
    output::Problem,
    rng::SystemRng,
};

/// Name of the key's file in the data folder.
const KEY_FILE: &str = "master.key";

/// The async runtime, with as many threads as configured.
///
/// # Errors
/// Threads cannot be started.
pub fn start_runtime(config: &Config) -> Result<Runtime, Problem> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.worker_threads)
        .thread_name("florin-worker")
        .on_thread_start(|| priority::lower_by(WORKER_NICENESS))
        .enable_all()
        .build()
        .map_err(|error| Problem::failed(format!("the runtime cannot start: {error}")))
}

/// Of the threads that serve requests: under overload they would else take from the ledger's one writer what they spend
/// on refusals.
const WORKER_NICENESS: i32 = 3;

/// Makes the data folder, for its owner alone, and proves that it can be written to.
///
/// # Errors
/// It cannot be made or written to; names it.
pub fn prepare_data_dir(config: &Config) -> Result<(), Problem> {
    let dir = &config.data_dir;
    let refused = |error| Problem::failed(format!("data_dir {} cannot be used: {error}", dir.display()));
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir).map_err(refused)?;
    let probe = dir.join(format!(".write-test-{}", std::process::id()));
    fs::write(&probe, b"").and_then(|()| fs::remove_file(&probe)).map_err(refused)
}

/// Opens the database to write, whatever the state of its schema. On SQLite it is this process's alone.
///
/// # Errors
/// It cannot be opened or reached, is served by another process, or is not Florin's; one line that names it.
pub fn open_engine(config: &Config) -> Result<Arc<dyn Engine>, Problem> {
    open(config, true)
}

/// Opens a database that is there to read it, also while a server uses it.
///
/// # Errors
/// As [`open_engine`]; a missing file.
pub fn open_existing(config: &Config) -> Result<Arc<dyn Engine>, Problem> {
    if let Database::Sqlite(path) = &config.database {
        must_be_there(path)?;
    }
    open(config, false)
}

/// Opens this SQLite file: to read it, or alone and to write.
///
/// # Errors
/// As [`open_engine`].
pub fn open_file(path: &Path, exclusive: bool) -> Result<SqliteEngine, Problem> {
    let options = SqliteOptions { read_connections: 1, exclusive, ..SqliteOptions::default() };
    Ok(SqliteEngine::open(path, options)?)
}

/// Where the master key comes from, for people.
pub fn master_key_place(config: &Config) -> String {
    match config.master_key {
        Some(_) => "the setting master_key".to_owned(),
        None => config.data_dir.join(KEY_FILE).display().to_string(),
    }
}

/// As few as a test wants, so that it need not fill a generation. Builds for use do not look.
#[cfg(debug_assertions)]
fn generation_operations() -> usize {
    let wanted = std::env::var("FLORIN_TEST_GENERATION_OPERATIONS").ok().and_then(|text| text.parse().ok());
    wanted.unwrap_or(SqliteOptions::default().generation_operations)
}

#[cfg(not(debug_assertions))]
fn generation_operations() -> usize {
    SqliteOptions::default().generation_operations
}

/// A day: to sort all postings of a large ledger takes as long as it takes.
const READ_WHOLE_TIMEOUT_MS: u64 = 24 * 3_600_000;

fn open(config: &Config, exclusive: bool) -> Result<Arc<dyn Engine>, Problem> {
    match &config.database {
        Database::Sqlite(path) => {
            let read_connections = config.sqlite_read_connections;
            let options = SqliteOptions {
                read_connections,
                exclusive,
                generation_operations: generation_operations(),
                ahead_min: config.queue.ahead_min,
                ..SqliteOptions::default()
            };
            Ok(Arc::new(SqliteEngine::open(path, options)?))
        }
        Database::Postgres(url) => {
            let ca_certificates_pem =
                config.postgres_ca_file.as_deref().map_or(Ok(String::new()), read_certificates)?;
            let statement_timeout_ms =
                if exclusive { PostgresOptions::default().statement_timeout_ms } else { READ_WHOLE_TIMEOUT_MS };
            let options = PostgresOptions {
                pool_size: config.postgres_pool,
                ca_certificates_pem,
                statement_timeout_ms,
                process: Some(process()),
                ..PostgresOptions::default()
            };
            let engine = PostgresEngine::connect(url.expose_secret(), options);
            Ok(Arc::new(engine.map_err(|error| Problem::failed(format!("{}: {error}", config.database_shown)))?))
        }
    }
}

/// This process among those that use the database.
fn process() -> Process {
    let mut name = [0; 4];
    SystemRng.fill(&mut name);
    Process { name: u32::from_be_bytes(name), uptime: clock::uptime }
}

fn read_certificates(path: &Path) -> Result<String, Problem> {
    fs::read_to_string(path)
        .map_err(|error| Problem::Usage(format!("postgres_ca_file {} cannot be read: {error}", path.display())))
}

/// Brings the schema up to date if that is wanted; otherwise refuses one that is not.
///
/// # Errors
/// The database is foreign or newer, or waits for `florin migrate`.
pub fn prepare_schema(config: &Config, engine: &dyn Engine, may_migrate: bool) -> Result<(), Problem> {
    let named = |error| Problem::failed(format!("{}: {error}", config.database_shown));
    let pending = engine.status().map_err(named)?.pending;
    if pending.is_empty() {
        return Ok(());
    }
    if may_migrate {
        return engine.migrate().map(drop).map_err(named);
    }
    Err(Problem::failed(format!(
        "{} lacks {} of the schema's migrations (the first is {}); run: florin migrate",
        config.database_shown,
        pending.len(),
        pending.first().copied().unwrap_or_default()
    )))
}

/// The use cases over `engine`, whose schema must be current.
///
/// # Errors
/// The master key is missing or does not fit the database.
pub fn start_app(config: &Config, engine: Arc<dyn Engine>) -> Result<Arc<App>, Problem> {
    let key_encryption_key = master_key(config, engine.as_ref())?;
    let parts = Parts {
        engine,
        clock: Arc::new(SystemClock::start()),
        rng: Arc::new(SystemRng),
        settings: config.settings.clone(),
        key_encryption_key,
        queue: config.queue,
    };
    Ok(App::start(parts)?)
}

/// Whether the database is a file on this machine.
pub fn is_embedded(engine: &dyn Engine) -> bool {
    engine.kind() == EngineKind::Sqlite
}

/// The master key: as configured, else from its file, else made now if nothing was sealed with another one yet.
///
/// # Errors
/// It is missing although something was sealed with it, or it cannot be read.
pub fn master_key(config: &Config, engine: &dyn Engine) -> Result<SecretBox<[u8; 32]>, Problem> {
    if let Some(key) = &config.master_key {
        return Ok(SecretBox::new(Box::new(*key.expose_secret())));
    }
    let path = config.data_dir.join(KEY_FILE);
    if let Some(key) = read_key_file(&path)? {
        return Ok(key);
    }
    if !florin_store::read(engine, florin_store::signing_key::list_keys)?.is_empty() {
        return Err(Problem::failed(format!(
            "{} has signing keys, but there is no key to open them: {} is missing and FLORIN_MASTER_KEY is not set",
            config.database_shown,
            path.display()
        )));
    }
    make_key_file(&path)?;
    // Read back: another process may have been first.
    read_key_file(&path)?.ok_or_else(|| Problem::failed(format!("{} has gone", path.display())))
}

fn read_key_file(path: &Path) -> Result<Option<SecretBox<[u8; 32]>>, Problem> {
    match fs::read_to_string(path) {
        Ok(text) => match read_key(&text) {
            Some(key) => Ok(Some(key)),
            None => Err(Problem::failed(format!("{} holds no key: 64 hexadecimal digits are needed", path.display()))),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Problem::failed(format!("{} cannot be read: {error}", path.display()))),
    }
}

/// Writes a new key whole under a name of its own, then gives it its real name unless somebody else was first.
fn make_key_file(path: &Path) -> Result<(), Problem> {
    let refused = |error| Problem::failed(format!("{} cannot be written: {error}", path.display()));
    let mut key = [0_u8; 32];
    SystemRng.fill(&mut key);
    let text = format!("{}\n", florin_store::hex(&key));
    let draft = PathBuf::from(format!("{}.{}", path.display(), std::process::id()));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&draft).map_err(refused)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    let linked = written.and_then(|()| match fs::hard_link(&draft, path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    });
    fs::remove_file(&draft).and(linked).map_err(refused)
}
