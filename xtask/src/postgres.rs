//! A throw-away PostgreSQL server: found or installed, started on a free port, ended and removed with its guard.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::Outcome;
use crate::process::{self, find_program, is_executable, is_root, must_capture};

/// How many were started by this process: each has a folder of its own.
static SERVERS: AtomicU32 = AtomicU32::new(0);

const START_PATIENCE: Duration = Duration::from_secs(60);
const STOP_PATIENCE: Duration = Duration::from_secs(15);

/// A running server of our own. Dropping it ends the server and removes its files, unless they are to be kept.
#[derive(Debug)]
pub struct Server {
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
    child: Child,
    is_kept: bool,
}

impl Server {
    /// Finds PostgreSQL (installing it where that is possible) and starts a server of our own, with fsync on.
    /// `settings` are further `name=value` pairs.
    ///
    /// # Errors
    /// One line that says what is missing and how to get it.
    pub fn start(settings: &[&str]) -> Outcome<Self> {
        let folder = env::temp_dir().join(format!(
            "florin-pg-{}-{}",
            std::process::id(),
            SERVERS.fetch_add(1, Ordering::Relaxed)
        ));
        let guard = FolderGuard(Some(folder.clone()));
        let mut server = Self::start_in(&folder, settings)?;
        server.is_kept = false;
        guard.disarm();
        Ok(server)
    }

    /// A server with its data in this folder, which is made if it is not there, and kept.
    ///
    /// # Errors
    /// One line that says what is missing and how to get it.
    pub fn start_in(folder: &Path, settings: &[&str]) -> Outcome<Self> {
        let programs = find_or_install()?;
        if !folder.join("data").exists() {
            Self::init(&programs, folder)?;
        }
        let port = process::free_port()?;
        let child = spawn(&programs, folder, port, settings)?;
        let mut server = Self { programs, folder: folder.to_owned(), port, child, is_kept: true };
        server.wait_until_ready()?;
        Ok(server)
    }

    fn init(programs: &Path, folder: &Path) -> Outcome<()> {
        fs::create_dir_all(folder).map_err(|error| format!("cannot create {}: {error}", folder.display()))?;
        if is_root() {
            must_capture(Command::new("chown").arg(server_user()).arg(folder))?;
        }
        must_capture(
            as_server_user(&programs.join("initdb"))
                .args(["-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync", "-D"])
                .arg(folder.join("data"))
                .current_dir(folder),
        )?;
        Ok(())
    }

    /// The URL of a database on this server.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// The folder with PostgreSQL's programs.
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    /// A program that comes with PostgreSQL, pointed at this server and database; none if it is not installed.
    pub fn program(&self, name: &str, database: &str) -> Option<Command> {
        let file = self.programs.join(name);
        let file = if is_executable(&file) { file } else { find_program(name)? };
        let mut command = Command::new(file);
        self.point(&mut command, database);
        Some(command)
    }

    /// Points a program at this server and database, by the environment that PostgreSQL's own programs read.
    pub fn point<'c>(&self, command: &'c mut Command, database: &str) -> &'c mut Command {
        command.env("PGHOST", "127.0.0.1").env("PGPORT", self.port.to_string());
        command.env("PGUSER", "postgres").env("PGDATABASE", database)
    }

    /// Runs SQL and gives its rows as unaligned text.
    ///
    /// # Errors
    /// psql's complaint.
    pub fn sql(&self, database: &str, text: &str) -> Outcome<String> {
        let mut psql = self.program("psql", database).ok_or("psql is missing: install postgresql-client")?;
        must_capture(psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", text]))
    }

    /// The process id of the server.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_until_ready(&mut self) -> Outcome<()> {
        let mut probe = self.program("pg_isready", "postgres").ok_or("pg_isready is missing: install postgresql")?;
        probe.arg("-q");
        let (child, log) = (&mut self.child, self.folder.join("log"));
        process::wait_until("PostgreSQL did not answer", START_PATIENCE, || {
            if let Some(status) = child.try_wait()? {
                let log = fs::read_to_string(&log).unwrap_or_default();
                return Err(format!("PostgreSQL ended at once ({status}): {}", log.trim()).into());
            }
            Ok(probe.status()?.success())
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGINT is the server's fast shutdown: it ends its sessions and leaves.
        process::stop(&mut self.child, "INT", STOP_PATIENCE);
        if !self.is_kept {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// Removes a half-made folder unless the server took it over.
struct FolderGuard(Option<PathBuf>);

impl FolderGuard {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for FolderGuard {
    fn drop(&mut self) {
        if let Some(folder) = &self.0 {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

fn spawn(programs: &Path, folder: &Path, port: u16, settings: &[&str]) -> Outcome<Child> {
    let log = fs::File::create(folder.join("log"))?;
    let mut command = as_server_user(&programs.join("postgres"));
    command.arg("-D").arg(folder.join("data")).args(["-h", "127.0.0.1", "-p", &port.to_string()]);
    command.arg("-k").arg(folder);
    let fixed = ["fsync=on", "synchronous_commit=on", "max_connections=200", "logging_collector=off"];
    for setting in fixed.iter().chain(settings) {
        command.args(["-c", setting]);
    }
    let complaints = log.try_clone()?;
    command.current_dir(folder).stdin(Stdio::null()).stdout(log).stderr(complaints);
    Ok(command.spawn()?)
}

/// A command run as the user that may run the server (never root), ended by the kernel should we be killed.
fn as_server_user(program: &Path) -> Command {
    let Some(setpriv) = find_program("setpriv") else { return Command::new(program) };
    let mut command = Command::new(setpriv);
    command.args(["--pdeathsig", "INT"]);
    if is_root() {
        let user = server_user();
        let group = must_capture(Command::new("id").args(["-g", user])).unwrap_or_else(|_| user.to_owned());
        command.args(["--reuid", user, "--regid", group.trim(), "--clear-groups"]);
    }
    command.arg("--").arg(program);
    command
}

fn server_user() -> &'static str {
    let has_postgres = Command::new("id").args(["-u", "postgres"]).output().is_ok_and(|out| out.status.success());
    if has_postgres { "postgres" } else { "nobody" }
}

/// Whether a server can be started without installing anything.
#[cfg(test)]
pub fn is_installed() -> bool {
    find_programs().is_some()
}

fn find_or_install() -> Outcome<PathBuf> {
    if let Some(folder) = find_programs() {
        return Ok(folder);
    }
    let hint = "PostgreSQL is not installed: install its server (Debian, Ubuntu: apt-get install postgresql), \
                or run the tests of SQLite alone: cargo xtask test --engine sqlite";
    // The cluster that Debian makes on installation is not wanted: ours is thrown away.
    let no_cluster = Path::new("/etc/postgresql-common/createcluster.d");
    let written = is_root()
        && fs::create_dir_all(no_cluster)
            .and_then(|()| fs::write(no_cluster.join("florin.conf"), "create_main_cluster = false\n"))
            .is_ok();
    let installed = process::install_with_apt("PostgreSQL", &["postgresql"]);
    if written {
        let _ = fs::remove_file(no_cluster.join("florin.conf"));
    }
    installed.map_err(|error| format!("{hint} ({error})"))?;
    find_programs().ok_or_else(|| hint.into())
}

/// The folder with the server's programs: in `PATH`, or where Debian and others put them.
fn find_programs() -> Option<PathBuf> {
    let in_path = ["initdb", "postgres"].map(|name| find_program(name).and_then(|file| fs::canonicalize(file).ok()));
    let mut folders: Vec<PathBuf> =
        in_path.into_iter().flatten().filter_map(|file| Some(file.parent()?.into())).collect();
    let mut debian: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    debian.sort();
    folders.extend(debian.into_iter().rev().map(|(_, folder)| folder));
    folders.extend(["/usr/pgsql/bin", "/usr/local/pgsql/bin", "/usr/local/bin", "/usr/bin"].map(PathBuf::from));
    folders.into_iter().find(|folder| ["initdb", "postgres"].iter().all(|name| is_executable(&folder.join(name))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_answers_and_leaves_nothing_behind() {
        if !is_installed() {
            eprintln!("skipped: PostgreSQL is not installed");
            return;
        }
        let server = Server::start(&[]).unwrap();
        assert_eq!(server.sql("postgres", "SHOW fsync").unwrap().trim(), "on");
        let (folder, pid) = (server.folder.clone(), server.pid());
        assert!(folder.exists());
        drop(server);
        assert!(!folder.exists());
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }
}
