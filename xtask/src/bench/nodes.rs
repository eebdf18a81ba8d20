//! What several nodes need: nginx in front of them, and an eye on who waits for whose locks.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::process::{self, target_dir};
use crate::{Outcome, postgres};

const PATIENCE: Duration = Duration::from_secs(10);

/// How often PostgreSQL is asked, seconds.
const WATCH_EVERY: &str = "0.02";

const WAITING: &str = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = 'florin'";

/// What is shipped for the public side.
const SITE: &str = include_str!("../../../deploy/nginx/florin.conf");

/// nginx in front of some servers, with kept connections on both sides. Dropping it ends it.
#[derive(Debug)]
pub struct Nginx {
    child: Child,
    folder: PathBuf,
    port: u16,
}

impl Nginx {
    /// Starts it in front of the servers on these ports.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(program: &Path, ports: &[u16]) -> Outcome<Self> {
        let port = process::free_port()?;
        let folder = target_dir().join(format!("xtask-nginx-{}-{port}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let file = folder.join("nginx.conf");
        fs::write(&file, configuration(port, ports, &folder.display().to_string()))?;
        let mut command = std::process::Command::new(program);
        command.arg("-e").arg(folder.join("error.log")).arg("-p").arg(&folder).arg("-c").arg(&file);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let nginx = Self { child, folder, port };
        process::wait_until("nginx did not answer", PATIENCE, || Ok(TcpStream::connect(("127.0.0.1", port)).is_ok()))?;
        Ok(nginx)
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process id; the workers are its children.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        process::stop(&mut self.child, "TERM", PATIENCE);
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Which node a request goes to, as shipped.
fn affinity() -> &'static str {
    let (begin, end) = (SITE.find("map $uri").unwrap_or_default(), SITE.find("log_format").unwrap_or_default());
    &SITE[begin..end]
}

fn configuration(port: u16, servers: &[u16], folder: &str) -> String {
    let affinity = affinity();
    let servers: String = servers.iter().map(|port| format!("server 127.0.0.1:{port};\n")).collect();
    format!(
        "daemon off;\nworker_processes 1;\npid {folder}/pid;\nevents {{ worker_connections 4096; }}\nhttp {{\n\
         access_log off;\nclient_body_temp_path {folder}/body;\nproxy_temp_path {folder}/proxy;\n\
         fastcgi_temp_path {folder}/fastcgi;\nuwsgi_temp_path {folder}/uwsgi;\nscgi_temp_path {folder}/scgi;\n\
         keepalive_requests 100000000;\n{affinity}upstream florin {{\nhash $florin_affinity consistent;\n\
         {servers}keepalive 512;\n\
         keepalive_requests 100000000;\n}}\nserver {{\nlisten 127.0.0.1:{port};\nlocation / {{\n\
         proxy_pass http://florin;\nproxy_http_version 1.1;\nproxy_set_header Connection \"\";\n}}\n}}\n}}\n"
    )
}

/// Asks PostgreSQL again and again how many sessions wait for a lock.
#[derive(Debug)]
pub struct LockWatch {
    psql: Child,
    file: PathBuf,
}

impl LockWatch {
    /// Begins to ask.
    ///
    /// # Errors
    /// When psql is missing.
    pub fn start(database: &postgres::Server) -> Outcome<Self> {
        let file = target_dir().join(format!("xtask-locks-{}", std::process::id()));
        let mut psql = database.program("psql", "florin").ok_or("psql is missing: install postgresql-client")?;
        psql.args(["-X", "-q", "-A", "-t"]).stdin(Stdio::piped()).stdout(fs::File::create(&file)?);
        let mut psql = psql.stderr(Stdio::null()).spawn()?;
        let mut input = psql.stdin.take().ok_or("psql has no input")?;
        writeln!(input, "{WAITING} \\watch {WATCH_EVERY}")?;
        Ok(Self { psql, file })
    }

    /// Ends it and gives what it saw.
    ///
    /// # Errors
    /// When its file is gone.
    pub fn stop(mut self) -> Outcome<String> {
        process::stop(&mut self.psql, "KILL", PATIENCE);
        let seen = fs::read_to_string(&self.file)?;
        let _ = fs::remove_file(&self.file);
        Ok(seen)
    }
}

/// The share of the answers that were not 0, in hundredths; none without answers.
pub fn share_waiting(seen: &str) -> Option<f64> {
    let counts: Vec<u32> = seen.lines().filter_map(|line| line.trim().parse().ok()).collect();
    let waiting = counts.iter().filter(|count| **count > 0).count();
    let as_figure = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    (!counts.is_empty()).then(|| 100.0 * as_figure(waiting) / as_figure(counts.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_of_the_answers_alone() {
        assert_eq!(share_waiting("Sat Nov 21 2026 (every 0.02s)\n\n0\n\n3\n0\n0\n"), Some(25.0));
        assert_eq!(share_waiting("nothing\n"), None);
    }

    #[test]
    fn every_server_is_in_the_configuration() {
        let text = configuration(1, &[8001, 8002], "/x");
        assert!(text.contains("server 127.0.0.1:8001;\nserver 127.0.0.1:8002;\n"), "{text}");
        assert!(text.contains("map $uri $florin_affinity {") && !text.contains("log_format"), "{text}");
    }
}
