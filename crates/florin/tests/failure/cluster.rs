//! PostgreSQL servers of the test's own: a primary, a standby that it waits for, killed and promoted.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use tempfile::TempDir;

use crate::server::steady_port;

/// How often a state is asked for until it must have been reached.
const LOOKS: u32 = 1200;
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// The folder with PostgreSQL's programs, or none: then tests that start servers of their own are skipped.
pub fn programs() -> Option<PathBuf> {
    let folder = std::env::var_os("FLORIN_TEST_POSTGRES_PROGRAMS");
    if folder.is_none() {
        eprintln!("skipped: no PostgreSQL (FLORIN_TEST_POSTGRES_PROGRAMS is not set; `cargo xtask test` sets it)");
    }
    folder.map(PathBuf::from)
}

/// Where a server listens.
#[derive(Clone)]
pub struct Place {
    /// Its address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The network namespace it runs in, if it is not the test's own.
    pub namespace: Option<String>,
}

impl Place {
    /// A port of this machine.
    pub fn local() -> Self {
        Self { host: "127.0.0.1".to_owned(), port: steady_port(), namespace: None }
    }
}

/// A server. Killed and removed when dropped.
pub struct Cluster {
    programs: PathBuf,
    folder: TempDir,
    /// Where it listens.
    pub place: Place,
    child: Option<Child>,
}

impl Cluster {
    /// A new, empty server with these `name=value` settings.
    pub fn start(programs: &Path, place: Place, settings: &[&str]) -> Self {
        let mut cluster = Self::without_data(programs, place);
        let data = cluster.data();
        let init = ["-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync", "-D"];
        cluster.done(cluster.program("initdb").args(init).arg(data));
        // Whoever reaches the test's own networks is the test.
        let access = "local all all trust\nhost all all all trust\nhost replication all all trust\n";
        fs::write(cluster.data().join("pg_hba.conf"), access).unwrap();
        cluster.run(settings);
        cluster
    }

    /// A standby that follows `primary`, at another place.
    pub fn standby_of(primary: &Self, place: Place) -> Self {
        let mut cluster = Self::without_data(&primary.programs, place);
        // A wire that was just plugged in is not used at once.
        cluster.wait_until("its primary is reached", |cluster| cluster.ask_at(&primary.place, "SELECT 1").is_some());
        let mut copy = cluster.program("pg_basebackup");
        copy.args(["-R", "-X", "stream", "-c", "fast", "--no-sync", "-U", "postgres", "-h", &primary.place.host]);
        copy.args(["-p", &primary.place.port.to_string(), "-D"]).arg(cluster.data());
        cluster.done(&mut copy);
        // A setting that came with the copy: promoted, this server would wait for a standby that it does not have.
        let settings = cluster.data().join("postgresql.auto.conf");
        let text = fs::read_to_string(&settings).unwrap();
        fs::write(&settings, format!("{text}\nsynchronous_standby_names = ''\n")).unwrap();
        cluster.run(&[]);
        cluster
    }

    fn without_data(programs: &Path, place: Place) -> Self {
        let folder = tempfile::Builder::new().prefix("florin-pg-").tempdir().unwrap();
        if is_root() {
            let owned = Command::new("chown").arg(server_user()).arg(folder.path()).status().unwrap();
            assert!(owned.success());
        }
        Self { programs: programs.to_owned(), folder, place, child: None }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Starts it with its data as they are, and waits until it answers.
    pub fn run(&mut self, settings: &[&str]) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log_file()).unwrap();
        let mut command = self.program("postgres");
        command.arg("-D").arg(self.data()).args(["-h", &self.place.host, "-p", &self.place.port.to_string(), "-k", ""]);
        let fixed = ["fsync=on", "max_connections=100", "logging_collector=off", "shared_buffers=64MB"];
        for setting in fixed.iter().chain(settings) {
            command.args(["-c", setting]);
        }
        let complaints = log.try_clone().unwrap();
        self.child = Some(command.stdin(Stdio::null()).stdout(log).stderr(complaints).spawn().unwrap());
        self.wait_until("it answers", |cluster| cluster.ask("SELECT 1").is_some());
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Runs SQL and gives its rows as unaligned text.
    pub fn sql(&self, text: &str) -> String {
        self.ask(text).unwrap_or_else(|| panic!("{text} failed; the server's log:\n{}", self.log()))
    }

    /// Whether it takes statements.
    pub fn answers(&self) -> bool {
        self.ask("SELECT 1").is_some()
    }

    fn ask(&self, text: &str) -> Option<String> {
        self.ask_at(&self.place, text)
    }

    /// Asks the server at `place`, from here.
    fn ask_at(&self, place: &Place, text: &str) -> Option<String> {
        let mut psql = self.program("psql");
        psql.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", "postgres", "-h", &place.host]);
        let output = psql.args(["-p", &place.port.to_string(), "-c", text]).output().unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim().to_owned())
    }

    /// Asks until the answer is yes.
    pub fn wait_until(&self, what: &str, is_reached: impl Fn(&Self) -> bool) {
        for _ in 0..LOOKS {
            if is_reached(self) {
                return;
            }
            thread::sleep(BETWEEN_LOOKS);
        }
        panic!("waited in vain until {what}; the server's log:\n{}", self.log());
    }

    /// From now on every commit waits for the standby, in this way (`on`, `remote_apply`).
    pub fn wait_for_standby(&self, synchronous_commit: &str) {
        self.sql(&format!("ALTER SYSTEM SET synchronous_commit = '{synchronous_commit}'"));
        self.sql("ALTER SYSTEM SET synchronous_standby_names = '*'");
        self.sql("SELECT pg_reload_conf()");
        self.wait_until("its standby is synchronous", |cluster| {
            cluster.sql("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") == "1"
        });
    }

    /// A standby becomes the primary.
    pub fn promote(&self) {
        assert_eq!(self.sql("SELECT pg_promote()"), "t");
    }

    /// Ends it in order; its sessions are ended, not awaited.
    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let id = child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
        assert!(child.wait().unwrap().success(), "{}", self.log());
    }

    /// Kill −9 of the server and all its processes.
    pub fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let id = child.id().to_string();
        // Stopped first, so that it starts no further processes.
        let _ = Command::new("kill").args(["-STOP", &id]).status();
        let children = Command::new("pgrep").args(["-P", &id]).output().map_or(Vec::new(), |found| found.stdout);
        let _ = Command::new("pkill").args(["-KILL", "-P", &id]).status();
        let _ = child.kill();
        let _ = child.wait();
        // Started again before its last process has gone, it would find its memory still in use, and end.
        for child in String::from_utf8_lossy(&children).split_whitespace() {
            let place = Path::new("/proc").join(child);
            for _ in (0..LOOKS).take_while(|_| place.exists()) {
                thread::sleep(BETWEEN_LOOKS);
            }
        }
    }

    /// One of PostgreSQL's programs, run as a user that may run the server (never root), in the server's network.
    fn program(&self, name: &str) -> Command {
        let mut words: Vec<String> = Vec::new();
        if let Some(namespace) = &self.place.namespace {
            words.extend(["ip", "netns", "exec", namespace].map(str::to_owned));
        }
        words.extend(["setpriv", "--pdeathsig", "INT"].map(str::to_owned));
        if is_root() {
            let group = Command::new("id").args(["-g", server_user()]).output().unwrap();
            let group = String::from_utf8(group.stdout).unwrap().trim().to_owned();
            words.extend(["--reuid", server_user(), "--regid", &group, "--clear-groups"].map(str::to_owned));
        }
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg("--").arg(self.programs.join(name)).current_dir(self.folder.path());
        command
    }

    fn done(&self, command: &mut Command) {
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kill();
    }
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}

fn server_user() -> &'static str {
    let has_postgres = Command::new("id").args(["-u", "postgres"]).output().is_ok_and(|out| out.status.success());
    if has_postgres { "postgres" } else { "nobody" }
}
