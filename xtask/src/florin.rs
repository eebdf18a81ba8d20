//! The server under test: built, started on a database of its own, asked for a token, ended with its guard.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::api::Api;
use crate::process::{self, cargo, must_run, target_dir};

const START_PATIENCE: Duration = Duration::from_secs(120);
/// Short, because the time to the first answer is measured by it.
const READY_POLL: Duration = Duration::from_millis(2);
const STOP_PATIENCE: Duration = Duration::from_secs(15);

/// How many places were made by this process: each has a folder of its own.
static PLACES: AtomicU32 = AtomicU32::new(0);

/// Builds the server and gives its path.
///
/// # Errors
/// When it does not compile.
pub fn build(is_release: bool) -> Outcome<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--quiet", "--package", "florin"]);
    if is_release {
        command.arg("--release");
    }
    must_run(&mut command)?;
    Ok(target_dir().join(if is_release { "release" } else { "debug" }).join("florin"))
}

/// A binary with its data in a folder, and its own settings. Dropping it removes the folder, unless it is to be kept.
#[derive(Debug)]
pub struct Place {
    binary: PathBuf,
    folder: PathBuf,
    settings: Vec<(&'static str, String)>,
    is_kept: bool,
}

impl Place {
    /// A new folder under `target/`, on SQLite unless a database is named.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn new(binary: &Path, name: &str, database_url: Option<&str>) -> Outcome<Self> {
        let number = PLACES.fetch_add(1, Ordering::Relaxed);
        let folder = target_dir().join(format!("xtask-{name}-{}-{number}", std::process::id()));
        let mut place = Self::at(binary, folder, database_url)?;
        place.is_kept = false;
        Ok(place)
    }

    /// This folder, which is kept.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn at(binary: &Path, folder: PathBuf, database_url: Option<&str>) -> Outcome<Self> {
        fs::create_dir_all(&folder)?;
        let settings = database_url.map(|url| ("FLORIN_DATABASE_URL", url.to_owned())).into_iter().collect();
        Ok(Self { binary: binary.to_owned(), folder, settings, is_kept: true })
    }

    /// With one more setting, by its environment variable.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.settings.push((name, value.to_owned()));
        self
    }

    /// Where its data are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The binary with nothing but our own settings: neither the caller's environment nor a `florin.toml` in his
    /// folder.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("FLORIN_")) {
            command.env_remove(name);
        }
        command.current_dir(&self.folder).env("FLORIN_DATA_DIR", self.folder.join("data"));
        command.envs(self.settings.iter().map(|(name, value)| (name, value))).args(arguments);
        command
    }

    /// Brings the schema up to date; a server migrates by itself on SQLite alone.
    ///
    /// # Errors
    /// With the binary's own words.
    pub fn migrate(&self) -> Outcome<()> {
        process::must_capture(&mut self.command(&["migrate", "--yes"]))?;
        Ok(())
    }

    /// Starts the server and waits until it answers.
    ///
    /// # Errors
    /// With the server's own words when it does not come up.
    pub fn start(&self) -> Outcome<Server> {
        let port = process::free_port()?;
        let log_file = self.folder.join("log");
        let log = fs::File::create(&log_file)?;
        let complaints = log.try_clone()?;
        let mut command = self.command(&["serve"]);
        command.env("FLORIN_LISTEN", format!("127.0.0.1:{port}"));
        let begun = Instant::now();
        let child = command.stdin(Stdio::null()).stdout(log).stderr(complaints).spawn()?;
        let mut server = Server { child, log_file, port, ready_after: Duration::ZERO, _place: None };
        server.wait_until_ready()?;
        server.ready_after = begun.elapsed();
        Ok(server)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.is_kept {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// A running server. Dropping it ends it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    log_file: PathBuf,
    port: u16,
    ready_after: Duration,
    /// Removed after the server has ended.
    _place: Option<Place>,
}

impl Server {
    /// Starts `binary` with its data in a new folder under `target/`, on SQLite unless a database is named, and waits
    /// until it answers. The data go with it.
    ///
    /// # Errors
    /// With the server's own words when it does not come up.
    pub fn start(binary: &Path, name: &str, database_url: Option<&str>) -> Outcome<Self> {
        let place = Place::new(binary, name, database_url)?;
        if database_url.is_some() {
            place.migrate()?;
        }
        let mut server = place.start()?;
        server._place = Some(place);
        Ok(server)
    }

    /// From the start of the process to its first answer.
    pub fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The port on 127.0.0.1 that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it listens, as a URL without a path.
    pub fn base_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its API.
    pub fn api(&self) -> Api {
        Api::on(self.port)
    }

    fn wait_until_ready(&mut self) -> Outcome<()> {
        let deadline = Instant::now() + START_PATIENCE;
        while !self.api().try_get("/readyz").is_ok_and(|status| status == 200) {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("florin ended at once ({status}): {}", self.log()).into());
            }
            if process::is_interrupted() {
                return Err("interrupted".into());
            }
            if Instant::now() >= deadline {
                return Err(format!("florin did not get ready: {}", self.log()).into());
            }
            thread::sleep(READY_POLL);
        }
        Ok(())
    }

    /// The last lines of what it said.
    pub fn log(&self) -> String {
        let text = fs::read_to_string(&self.log_file).unwrap_or_default();
        let lines: Vec<&str> = text.trim().lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        process::stop(&mut self.child, "TERM", STOP_PATIENCE);
    }
}
