//! The server under test: built, started on a database of its own, asked for a token, ended with its guard.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::Outcome;
use crate::process::{self, cargo, must_run, target_dir};

const START_PATIENCE: Duration = Duration::from_secs(60);
const STOP_PATIENCE: Duration = Duration::from_secs(15);
const ANSWER_PATIENCE: Duration = Duration::from_secs(30);

/// The user that the tools sign in as.
const USERNAME: &str = "xtask";
const PASSWORD: &str = "Only-For-Measuring-1";

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

/// A running server. Dropping it ends it and removes its data.
#[derive(Debug)]
pub struct Server {
    child: Child,
    folder: PathBuf,
    port: u16,
}

impl Server {
    /// Starts `binary` with its data in a new folder under `target/`, on SQLite unless a database is named, and waits
    /// until it answers.
    ///
    /// # Errors
    /// With the server's own words when it does not come up.
    pub fn start(binary: &Path, name: &str, database_url: Option<&str>) -> Outcome<Self> {
        let folder = target_dir().join(format!("xtask-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let port = process::free_port()?;
        if let Some(url) = database_url {
            migrate_in(&folder, binary, url)?;
        }
        let log = fs::File::create(folder.join("log"))?;
        let complaints = log.try_clone()?;
        let mut command = configured(binary, &folder, database_url);
        command.arg("serve").env("FLORIN_LISTEN", format!("127.0.0.1:{port}"));
        let child = command.stdin(Stdio::null()).stdout(log).stderr(complaints).spawn()?;
        let mut server = Self { child, folder, port };
        server.wait_until_ready()?;
        Ok(server)
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

    /// Registers a user and gives an access token.
    ///
    /// # Errors
    /// When the server answers otherwise than expected.
    pub fn sign_in(&self) -> Outcome<String> {
        let user = json!({"username": USERNAME, "email": "xtask@example.com", "password": PASSWORD});
        self.post("/api/auth/users/", None, &user)?;
        let answer = self.post("/api/auth/token/", None, &json!({"username": USERNAME, "password": PASSWORD}))?;
        let token = answer["access"].as_str().ok_or("the answer to the sign-in has no `access`")?;
        Ok(token.to_owned())
    }

    /// One POST with a JSON body; gives the answer's body.
    ///
    /// # Errors
    /// Any status but 2xx, with what the server said.
    pub fn post(&self, path: &str, token: Option<&str>, body: &Value) -> Outcome<Value> {
        let body = body.to_string();
        let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n{authorization}Content-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.port,
            body.len()
        );
        let (status, answer) = self.exchange(&request)?;
        if !(200..300).contains(&status) {
            return Err(format!("POST {path}: {status} {answer}").into());
        }
        Ok(serde_json::from_str(&answer)?)
    }

    fn exchange(&self, request: &str) -> Outcome<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(ANSWER_PATIENCE))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or("the server closed the connection without an answer")?;
        let status = head.split(' ').nth(1).and_then(|text| text.parse().ok()).ok_or("not an HTTP answer")?;
        Ok((status, body.to_owned()))
    }

    fn wait_until_ready(&mut self) -> Outcome<()> {
        let request = format!("GET /readyz HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n\r\n", self.port);
        process::wait_until("florin did not get ready", START_PATIENCE, || {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("florin ended at once ({status}): {}", self.log()).into());
            }
            Ok(self.exchange(&request).is_ok_and(|(status, _)| status == 200))
        })
    }

    /// The last lines of what it said.
    pub fn log(&self) -> String {
        let text = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.trim().lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        process::stop(&mut self.child, "TERM", STOP_PATIENCE);
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Brings the schema of a PostgreSQL database up to date; a server migrates by itself on SQLite alone.
///
/// # Errors
/// With the binary's own words.
pub fn migrate(binary: &Path, database_url: &str) -> Outcome<()> {
    let folder = target_dir().join(format!("xtask-migrate-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let result = migrate_in(&folder, binary, database_url);
    let _ = fs::remove_dir_all(&folder);
    result
}

fn migrate_in(folder: &Path, binary: &Path, database_url: &str) -> Outcome<()> {
    process::must_capture(configured(binary, folder, Some(database_url)).args(["migrate", "--yes"]))?;
    Ok(())
}

/// The binary with nothing but our own settings: neither the caller's environment nor a `florin.toml` in his folder.
fn configured(binary: &Path, folder: &Path, database_url: Option<&str>) -> Command {
    let mut command = Command::new(binary);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("FLORIN_")) {
        command.env_remove(name);
    }
    command.current_dir(folder).env("FLORIN_DATA_DIR", folder.join("data"));
    if let Some(url) = database_url {
        command.env("FLORIN_DATABASE_URL", url);
    }
    command
}
