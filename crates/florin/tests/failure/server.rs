//! A `florin` process of the test's own.

use std::{
    fmt::Display,
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
};

/// Where the books are.
pub enum Database {
    /// In this folder.
    Sqlite(PathBuf),
    /// At this URL; keys lie in this folder.
    Postgres(String, PathBuf),
}

impl Database {
    /// Where its files are, or its keys.
    pub fn folder(&self) -> &Path {
        match self {
            Self::Sqlite(folder) | Self::Postgres(_, folder) => folder,
        }
    }

    /// A command of the binary on this database.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_florin"));
        command.args(arguments).current_dir(self.folder()).env_clear();
        command.env("FLORIN_DATA_DIR", self.folder().join("florin-data")).env("FLORIN_LOG", "error");
        match self {
            // So few that rows follow the journal, and keys are merged, in every round.
            Self::Sqlite(_) => command.env("FLORIN_TEST_GENERATION_OPERATIONS", "64"),
            // Few connections are enough here for a batch behind another.
            Self::Postgres(url, _) => command
                .env("FLORIN_DATABASE_URL", url)
                .env("FLORIN_MIGRATE_ON_START", "true")
                .env("FLORIN_BATCH_AHEAD_MIN", "2"),
        };
        command
    }
}

/// A port that stays free while nobody of ours listens on it: the system gives it to no outgoing connection.
pub fn steady_port() -> u16 {
    let first = u16::try_from(std::process::id() * 37 % 15_000).unwrap();
    let next = usize::from(NEXT_PORT.fetch_add(1, Ordering::SeqCst));
    let ports = (0..15_000).map(|step| 15_000 + (first + step) % 15_000);
    ports.skip(next * 16).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}

static NEXT_PORT: AtomicU16 = AtomicU16::new(0);

/// A running server.
pub struct Server {
    child: Child,
    /// `http://127.0.0.1:port`.
    pub base: String,
}

impl Server {
    /// Starts a node and waits until it says where it listens.
    pub fn start(database: &Database, node: u16) -> Self {
        let mut command = database.command(&["serve"]);
        command.env("FLORIN_NODE", node.to_string());
        Self::spawn(command)
    }

    /// As [`Server::start`], on this port.
    pub fn start_at(database: &Database, node: u16, port: u16) -> Self {
        let mut command = database.command(&["serve"]);
        command.env("FLORIN_NODE", node.to_string());
        Self::spawn_at(command, port)
    }

    /// Starts this command, on a free port, and waits until it says where it listens.
    pub fn spawn(command: Command) -> Self {
        Self::spawn_at(command, 0)
    }

    fn spawn_at(mut command: Command, port: u16) -> Self {
        let command = command.env("FLORIN_LISTEN", format!("127.0.0.1:{port}"));
        let command = command.stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let base = listening_at(&mut lines);
        // The rest is read away, so that the server never waits for a full pipe.
        std::thread::spawn(move || lines.read_to_end(&mut Vec::new()));
        Self { child, base }
    }

    /// The process's number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kill −9.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and a clean end.
    pub fn stop(&mut self) {
        signal("TERM", self.id());
        assert!(self.child.wait().unwrap().success(), "a drained server ends with exit code 0");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listening_at(lines: &mut impl BufRead) -> String {
    let mut line = String::new();
    while lines.read_line(&mut line).unwrap() > 0 {
        if let Some(start) = line.find("http://127.0.0.1:") {
            let port: String = line[start + 17..].chars().take_while(char::is_ascii_digit).collect();
            return format!("http://127.0.0.1:{port}");
        }
        line.clear();
    }
    panic!("the server ended before it listened");
}

/// Sends this signal to a process.
pub fn signal(name: &str, id: impl Display) {
    assert!(Command::new("kill").arg(format!("-{name}")).arg(id.to_string()).status().unwrap().success());
}

/// `florin verify` finds no divergence.
pub fn prove(database: &Database) {
    let output = database.command(&["verify"]).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");
}
