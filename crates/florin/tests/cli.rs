//! The program as operators meet it: what it prints, how it fails, how it ends.
#![expect(clippy::unwrap_used, clippy::panic, reason = "steps of tests, outside of the tests themselves")]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::Duration,
};

use florin_store::{Engine, Value};
use florin_store_postgres::{PostgresEngine, PostgresOptions};
use florin_store_sqlite::{SqliteEngine, SqliteOptions};
use tempfile::TempDir;

/// Longest wait for a line or an answer; a debug build on a busy machine is slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// `florin` with its data in `folder` and nothing of the caller's settings.
fn florin(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_florin"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("FLORIN_")) {
        command.env_remove(name);
    }
    command.current_dir(folder).env("FLORIN_LISTEN", "127.0.0.1:0").args(arguments).stdin(Stdio::null());
    command
}

/// What does not end by itself, as a server that should have refused to start, is ended.
fn run(command: &mut Command) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (id, (ended, end)) = (child.id().to_string(), channel::<()>());
    thread::spawn(move || {
        if end.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            Command::new("kill").args(["-KILL", &id]).status().unwrap();
        }
    });
    let output = child.wait_with_output().unwrap();
    drop(ended);
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Exit code, and the one line on standard error.
fn refusal(command: &mut Command) -> (i32, String) {
    let output = run(command);
    let complaint = text(&output.stderr);
    let ours: Vec<&str> = complaint.lines().filter(|line| line.starts_with("florin: ")).collect();
    assert_eq!(ours.len(), 1, "one clear line: {complaint}");
    (output.status.code().unwrap(), ours[0].to_owned())
}

/// A running server, ended by force when a test fails half way.
struct Server {
    child: Child,
    lines: Receiver<String>,
    address: String,
}

impl Server {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let mut server = Self { child, lines, address: String::new() };
        let line = server.line_with("listens on http://");
        server.address = line.split("http://").nth(1).unwrap().to_owned();
        server
    }

    fn line_with(&self, part: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no line with {part:?}"));
            if line.contains(part) {
                return line;
            }
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn get(&self, path: &str) -> String {
        let mut stream = self.connect();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: florin\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    fn wait(&mut self) -> ExitStatus {
        // Its standard output closes when it ends, so this wait has an end of its own.
        while self.lines.recv_timeout(PATIENCE).is_ok() {}
        self.child.wait().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_first_start_needs_nothing_and_says_what_is_where() {
    let folder = TempDir::new().unwrap();
    let mut server = Server::start(florin(folder.path(), &[]));
    assert!(!server.address.ends_with(":0"), "the real port: {}", server.address);
    assert!(server.line_with("data ").contains(folder.path().canonicalize().unwrap().to_str().unwrap()));
    assert!(server.line_with("database").contains("sqlite:"));
    assert!(server.line_with("docs").contains(&server.address));
    server.line_with("Development settings");
    server.line_with("self_deposit");
    assert!(server.line_with("curl").contains("/api/auth/users/"));
    assert!(server.get("/healthz").starts_with("HTTP/1.1 200"));
    let metrics = server.get("/metrics");
    assert!(metrics.contains("florin_http_request_duration_seconds_bucket"), "{metrics}");
    let entries: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(entries, ["florin-data"], "nothing is written elsewhere");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let key = fs::metadata(folder.path().join("florin-data/master.key")).unwrap();
        assert_eq!(key.permissions().mode() & 0o777, 0o600);
    }
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn an_interrupt_finishes_the_request_under_way() {
    let folder = TempDir::new().unwrap();
    let mut server = Server::start(florin(folder.path(), &["serve"]));
    let body = r#"{"username":"ada","email":"ada@example.org","password":"Analytical-Engine-1843"}"#;
    let mut stream = server.connect();
    write!(
        stream,
        "POST /api/auth/users/ HTTP/1.1\r\nHost: florin\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n",
        body.len()
    )
    .unwrap();
    // The server asks for the body: the request is under way.
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).unwrap();
    assert_eq!(text(&interim), "HTTP/1.1 100 Continue\r\n\r\n");
    server.signal("INT");
    stream.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert_eq!(server.wait().code(), Some(0));
    let again = run(&mut florin(folder.path(), &["verify"]));
    assert!(again.status.success(), "{}", text(&again.stderr));
}

#[test]
fn a_port_in_use_is_named() {
    let folder = TempDir::new().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, line) = refusal(florin(folder.path(), &["serve"]).env("FLORIN_LISTEN", &address));
    assert_eq!(code, 1);
    assert!(line.contains(&address), "{line}");
}

#[test]
fn a_foreign_database_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("notes.txt");
    let notes = "these are my notes, not a database\n".repeat(100);
    fs::write(&path, &notes).unwrap();
    for arguments in [&["serve"][..], &["migrate"], &["verify"], &["demo"]] {
        let (code, line) = refusal(florin(folder.path(), arguments).env("FLORIN_DATABASE_URL", "sqlite:notes.txt"));
        assert_eq!(code, 1, "{line}");
        assert!(line.contains("notes.txt"), "{line}");
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), notes);
}

#[test]
fn a_database_in_use_is_refused_but_can_be_verified() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(florin(folder.path(), &["serve"]));
    let (code, line) = refusal(&mut florin(folder.path(), &["serve"]));
    assert_eq!(code, 1);
    assert!(line.contains("florin.db") && line.contains("in use"), "{line}");
    let verified = run(&mut florin(folder.path(), &["verify"]));
    assert!(verified.status.success(), "{}", text(&verified.stderr));
    let dry = run(&mut florin(folder.path(), &["migrate", "--dry-run"]));
    assert!(text(&dry.stdout).contains("current"), "{}", text(&dry.stderr));
    drop(server);
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let (code, line) = refusal(florin(folder.path(), &["serve"]).env("FLORIN_DATA_DIR", "file/data"));
    assert_eq!(code, 1);
    assert!(line.contains("file/data"), "{line}");
}

#[test]
fn slips_in_the_configuration_are_named() {
    let folder = TempDir::new().unwrap();
    let (code, line) = refusal(florin(folder.path(), &["serve"]).env("FLORIN_LISTN", "127.0.0.1:1"));
    assert_eq!(code, 2);
    assert!(line.contains("FLORIN_LISTN;") && line.contains("FLORIN_LISTEN?"), "{line}");
    fs::write(folder.path().join("florin.toml"), "data_dri = \"x\"\n").unwrap();
    let (code, line) = refusal(&mut florin(folder.path(), &["config"]));
    assert_eq!(code, 2);
    assert!(line.contains("florin.toml") && line.contains("`data_dri`") && line.contains("`data_dir`"), "{line}");
    fs::write(folder.path().join("florin.toml"), "node = 2000\n").unwrap();
    let (code, line) = refusal(&mut florin(folder.path(), &["config"]));
    assert_eq!(code, 2);
    assert!(line.contains("`2000`") && line.contains("florin.toml") && line.contains("1023"), "{line}");
}

#[test]
fn a_lost_master_key_is_said_in_one_line() {
    let folder = TempDir::new().unwrap();
    let create = ["createsuperuser", "--username", "root", "--email", "root@example.org"];
    let made = run(florin(folder.path(), &create).env("FLORIN_SUPERUSER_PASSWORD", "Analytical-Engine-1843"));
    assert!(made.status.success(), "{}", text(&made.stderr));
    fs::remove_file(folder.path().join("florin-data/master.key")).unwrap();
    let (code, line) = refusal(&mut florin(folder.path(), &["serve"]));
    assert_eq!(code, 1);
    assert!(line.contains("master.key") && line.contains("FLORIN_MASTER_KEY"), "{line}");
    let (code, line) = refusal(florin(folder.path(), &["serve"]).env("FLORIN_MASTER_KEY", "ab".repeat(32)));
    assert_eq!(code, 1);
    assert!(!line.contains(&"ab".repeat(32)), "{line}");
}

#[test]
fn a_superuser_needs_a_good_password_and_a_free_name() {
    let folder = TempDir::new().unwrap();
    let create = ["createsuperuser", "--username", "root", "--email", "root@example.org"];
    let (code, line) = refusal(florin(folder.path(), &create).env("FLORIN_SUPERUSER_PASSWORD", "12345678"));
    assert_eq!(code, 1);
    assert!(line.contains("password") && !line.contains("12345678"), "{line}");
    let (code, line) = refusal(&mut florin(folder.path(), &create));
    assert_eq!(code, 2);
    assert!(line.contains("FLORIN_SUPERUSER_PASSWORD"), "{line}");
    fs::write(folder.path().join("secret"), "Analytical-Engine-1843\n").unwrap();
    let mut command = florin(folder.path(), &create);
    let made = run(command.env("FLORIN_SUPERUSER_PASSWORD_FILE", "secret"));
    assert!(text(&made.stdout).contains("root"), "{}", text(&made.stderr));
    let (code, line) = refusal(command.env("FLORIN_SUPERUSER_PASSWORD_FILE", "secret"));
    assert_eq!(code, 1);
    assert!(line.contains("already exists"), "{line}");
}

#[test]
fn migrating_shows_what_it_does_and_does_it_once() {
    let folder = TempDir::new().unwrap();
    let dry = run(&mut florin(folder.path(), &["migrate", "--dry-run"]));
    assert!(text(&dry.stdout).contains("0001_identity"));
    assert!(!folder.path().join("florin-data").exists(), "a dry run changes nothing");
    let first = run(&mut florin(folder.path(), &["migrate", "--yes"]));
    assert!(first.status.success() && text(&first.stdout).contains("Applied:"), "{}", text(&first.stderr));
    let second = run(&mut florin(folder.path(), &["migrate"]));
    assert!(second.status.success() && text(&second.stdout).contains("Nothing to do"), "{}", text(&second.stdout));
}

/// What the table of `florin keys list` says of each key: its name and its state.
fn keys(output: &Output) -> Vec<(String, String)> {
    assert!(output.status.success(), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    let lines = table.lines().skip_while(|line| !line.starts_with("key ")).skip(1);
    let cells = |line: &str| line.split_whitespace().map(ToOwned::to_owned).collect::<Vec<_>>();
    lines.map(cells).map(|cells| (cells[0].clone(), cells[1].clone())).collect()
}

/// Asks until the server publishes what is wanted.
fn wait_until_published(server: &Server, is_wanted: impl Fn(&str) -> bool) {
    for _ in 0..100_000 {
        if is_wanted(&server.get("/.well-known/jwks.json")) {
            return;
        }
    }
    panic!("never published: {}", server.get("/.well-known/jwks.json"));
}

/// Replaces and revokes keys beside a running server, and once without one.
fn keys_are_replaced(florin: &dyn Fn(&[&str]) -> Command) {
    let mut server = Server::start(florin(&["serve"]));
    let first = keys(&run(&mut florin(&["keys", "list"])));
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].1, "active");
    let old = &first[0].0;
    assert!(server.get("/.well-known/jwks.json").contains(old));

    let rotated = keys(&run(&mut florin(&["keys", "rotate", "--now"])));
    assert_eq!(rotated.iter().map(|(_, state)| state.as_str()).collect::<Vec<_>>(), ["active", "retiring"]);
    assert_eq!(&rotated[1].0, old);
    wait_until_published(&server, |found| found.contains(old) && found.contains(&rotated[0].0));
    let next = keys(&run(&mut florin(&["keys", "rotate"])));
    assert_eq!(next[0].1, "next");
    wait_until_published(&server, |found| found.contains(&next[0].0));
    assert_eq!(keys(&run(&mut florin(&["keys", "revoke", old]))).len(), 2);
    wait_until_published(&server, |found| !found.contains(old) && found.contains(&next[0].0));
    let (code, line) = refusal(&mut florin(&["keys", "revoke", old]));
    assert_eq!(code, 1);
    assert!(line.contains(old) && line.contains("florin keys list"), "{line}");

    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    let last = keys(&run(&mut florin(&["keys", "rotate", "--now"])));
    assert_eq!(last[0], (next[0].0.clone(), "active".to_owned()));
}

#[test]
fn keys_are_replaced_on_sqlite() {
    let folder = TempDir::new().unwrap();
    keys_are_replaced(&|arguments| florin(folder.path(), arguments));
    let (code, line) = refusal(florin(folder.path(), &["keys", "rotate"]).env("FLORIN_MASTER_KEY", "ab".repeat(32)));
    assert_eq!(code, 1);
    assert!(line.contains("does not open") && !line.contains(&"ab".repeat(32)), "{line}");
}

#[test]
fn keys_are_replaced_on_postgresql() {
    let Some(database) = florin_testkit::postgres::fresh_database() else { return };
    let folder = TempDir::new().unwrap();
    keys_are_replaced(&|arguments| {
        let mut command = florin(folder.path(), arguments);
        command.env("FLORIN_DATABASE_URL", database.url()).env("FLORIN_MIGRATE_ON_START", "true");
        command
    });
}

/// Makes the database look like one that a newer binary wrote.
fn write_newer_schema(engine: &dyn Engine) {
    engine.migrate().unwrap();
    florin_store::write(engine, |tx| {
        let row = [Value::Int(99), Value::Text("0099_future".into()), Value::Text("0".into()), Value::Time(0)];
        tx.execute("INSERT INTO schema_migrations (number, name, checksum, applied_at) VALUES ($1, $2, $3, $4)", &row)
    })
    .unwrap();
}

/// Every command says which database, and that it is newer, in one line.
fn refuse_newer_schema(named: &str, florin: &dyn Fn(&[&str]) -> Command) {
    let newest = florin_store::migrations::newest().to_string();
    for arguments in [&["serve"][..], &["migrate"], &["migrate", "--dry-run"], &["verify"], &["keys", "list"]] {
        let (code, line) = refusal(&mut florin(arguments));
        assert_eq!(code, 1, "{arguments:?}: {line}");
        for part in [named, "newer Florin", "schema 99", &newest] {
            assert!(line.contains(part), "{arguments:?}: {line}");
        }
    }
}

#[test]
fn a_newer_schema_is_refused_on_sqlite() {
    let folder = TempDir::new().unwrap();
    let engine = SqliteEngine::open(&folder.path().join("newer.db"), SqliteOptions::default()).unwrap();
    write_newer_schema(&engine);
    drop(engine);
    refuse_newer_schema("newer.db", &|arguments| {
        let mut command = florin(folder.path(), arguments);
        command.env("FLORIN_DATABASE_URL", "sqlite:newer.db");
        command
    });
}

#[test]
fn a_newer_schema_is_refused_on_postgresql() {
    let Some(database) = florin_testkit::postgres::fresh_database() else { return };
    let folder = TempDir::new().unwrap();
    let engine = PostgresEngine::connect(database.url(), PostgresOptions::default()).unwrap();
    write_newer_schema(&engine);
    drop(engine);
    refuse_newer_schema("postgres://", &|arguments| {
        let mut command = florin(folder.path(), arguments);
        command.env("FLORIN_DATABASE_URL", database.url());
        command
    });
}

#[test]
fn a_demonstration_is_in_order_and_its_token_works() {
    let folder = TempDir::new().unwrap();
    let demo = ["demo", "--wallets", "30", "--operations-per-wallet", "10"];
    let filled = run(&mut florin(folder.path(), &demo));
    let said = text(&filled.stdout);
    assert!(filled.status.success(), "{}", text(&filled.stderr));
    assert!(said.contains("30 wallets, 300 operations"), "{said}");
    let verified = run(&mut florin(folder.path(), &["verify"]));
    assert!(text(&verified.stdout).contains("300 transactions"), "{}", text(&verified.stderr));
    let token = said.split("TOKEN=").nth(1).unwrap().lines().next().unwrap();
    let server = Server::start(florin(folder.path(), &["serve"]));
    let mut stream = server.connect();
    write!(
        stream,
        "GET /api/v1/wallets HTTP/1.1\r\nHost: florin\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("Everyday"), "{answer}");
    drop(server);
    let (code, line) = refusal(&mut florin(folder.path(), &demo));
    assert_eq!(code, 1);
    assert!(line.contains("--add"), "{line}");
}

#[test]
fn postgresql_is_migrated_on_request_by_as_many_as_like() {
    let Some(database) = florin_testkit::postgres::fresh_database() else { return };
    let folder = TempDir::new().unwrap();
    let on_postgres = |arguments: &[&str]| {
        let mut command = florin(folder.path(), arguments);
        command.env("FLORIN_DATABASE_URL", database.url());
        command
    };
    let (code, line) = refusal(&mut on_postgres(&["serve"]));
    assert_eq!(code, 1);
    assert!(line.contains("florin migrate"), "{line}");
    let both: Vec<_> = (0..2).map(|_| on_postgres(&["migrate"]).stdout(Stdio::null()).spawn().unwrap()).collect();
    for mut child in both {
        assert!(child.wait().unwrap().success());
    }
    let mut server = Server::start(on_postgres(&["serve"]));
    assert!(server.get("/readyz").starts_with("HTTP/1.1 200"));
    let filled = run(&mut on_postgres(&["demo", "--wallets", "20", "--operations-per-wallet", "5"]));
    assert!(filled.status.success(), "{}", text(&filled.stderr));
    let verified = run(&mut on_postgres(&["verify"]));
    assert!(text(&verified.stdout).contains("100 transactions"), "{}", text(&verified.stderr));
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_server_that_is_not_there_is_named_without_its_password() {
    let folder = TempDir::new().unwrap();
    let url = "postgres://florin:hunter2@127.0.0.1:1/florin";
    for arguments in [&["serve"][..], &["migrate"], &["verify"]] {
        let (code, line) = refusal(florin(folder.path(), arguments).env("FLORIN_DATABASE_URL", url));
        assert_eq!(code, 1, "{line}");
        assert!(line.contains("127.0.0.1:1/florin") && !line.contains("hunter2"), "{line}");
    }
}

#[test]
fn the_document_can_be_written_and_compared() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("api/florin.json");
    let written = run(florin(folder.path(), &["openapi", "--output"]).arg(&path));
    assert!(written.status.success(), "{}", text(&written.stderr));
    let document = fs::read_to_string(&path).unwrap();
    assert!(document.starts_with("{\n  \"openapi\": \"3.1"), "{}", &document[..40]);
    assert!(run(florin(folder.path(), &["openapi", "--check"]).arg(&path)).status.success());
    assert_eq!(text(&run(&mut florin(folder.path(), &["openapi"])).stdout), document);
    fs::write(&path, "{}").unwrap();
    let (code, line) = refusal(florin(folder.path(), &["openapi", "--check"]).arg(&path));
    assert_eq!(code, 1);
    assert!(line.contains("florin.json"), "{line}");
}

#[test]
fn help_and_completions_are_there_without_a_configuration() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("florin.toml"), "broken").unwrap();
    let help = text(&run(&mut florin(folder.path(), &["--help"])).stdout);
    for word in ["serve", "migrate", "createsuperuser", "demo", "verify", "openapi", "config", "Examples", "--data-dir"]
    {
        assert!(help.contains(word), "{word}: {help}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&mut florin(folder.path(), &["completions", shell]));
        assert!(script.status.success() && text(&script.stdout).contains("createsuperuser"), "{shell}");
    }
}
