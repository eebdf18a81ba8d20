//! Child processes: found, run to their end, and ended when we are.

use std::env;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::Outcome;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

const POLL: Duration = Duration::from_millis(20);

/// Turns SIGINT and SIGTERM into a flag, so that what was started is ended by its guards and not left behind.
pub fn watch_for_interrupts() {
    thread::spawn(|| {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let Ok(mut terminate) = signal(SignalKind::terminate()) else { return };
            loop {
                tokio::select! {
                    _ = tokio::signal::ctrl_c() => {}
                    _ = terminate.recv() => {}
                }
                INTERRUPTED.store(true, Ordering::Relaxed);
            }
        });
    });
}

/// Whether somebody asked us to stop.
pub fn is_interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// The repository's root.
pub fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// Where cargo puts what it builds.
pub fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The cargo that runs us.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Whether we are root.
pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}

/// The program of this name in `PATH`.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(name)).find(|file| is_executable(file))
}

/// Whether this file can be run.
pub fn is_executable(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Runs a program to its end with our own input and output; an interrupt ends it too.
///
/// # Errors
/// When it cannot be started, or we were interrupted.
pub fn run(command: &mut Command) -> Outcome<ExitStatus> {
    let mut child =
        command.spawn().map_err(|error| format!("cannot start {}: {error}", command.get_program().display()))?;
    loop {
        if let Some(status) = child.try_wait()? {
            return if is_interrupted() { Err("interrupted".into()) } else { Ok(status) };
        }
        if is_interrupted() {
            stop(&mut child, "TERM", Duration::from_secs(10));
            return Err("interrupted".into());
        }
        thread::sleep(POLL);
    }
}

/// Runs a program that must succeed.
///
/// # Errors
/// When it cannot be started or fails.
pub fn must_run(command: &mut Command) -> Outcome<()> {
    let status = run(command)?;
    if status.success() { Ok(()) } else { Err(format!("{} failed: {status}", describe(command)).into()) }
}

/// Runs a program that must succeed and gives what it printed; its complaints go into the error.
///
/// # Errors
/// When it cannot be started or fails.
pub fn must_capture(command: &mut Command) -> Outcome<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot start {}: {error}", command.get_program().display()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(format!("{} failed: {}: {}", describe(command), output.status, complaint.trim()).into())
}

/// Installs `packages` by apt-get, as root on Debian and Ubuntu; no service of theirs is started.
///
/// # Errors
/// When we are not root, there is no apt-get, or it fails.
pub fn install_with_apt(what: &str, packages: &[&str]) -> Outcome<()> {
    let (true, Some(apt)) = (is_root(), find_program("apt-get")) else {
        return Err(format!("{what} is not installed, and only root can install it, by apt-get").into());
    };
    eprintln!("xtask: {what} is not installed; installing it with apt-get");
    let quiet_apt = |words: &[&str]| {
        let mut command = Command::new(&apt);
        command.arg("-q").args(words).env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
        // The runner's lines are the last on stdout; apt's belong to the noise.
        command.stdin(Stdio::null()).stdout(std::io::stderr());
        command
    };
    must_run(&mut quiet_apt(&["update"]))?;
    must_run(quiet_apt(&["install", "-y", "--no-install-recommends"]).args(packages))
}

/// Asks a child to end with this signal, waits so long, then kills it.
pub fn stop(child: &mut Child, signal: &str, patience: Duration) {
    let asked = Command::new("kill").arg(format!("-{signal}")).arg(child.id().to_string()).status();
    let deadline = Instant::now() + patience;
    while asked.is_ok() && Instant::now() < deadline {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        thread::sleep(POLL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Asks again and again until the answer is yes, for at most so long.
///
/// # Errors
/// Past the time, or when interrupted.
pub fn wait_until(what: &str, patience: Duration, mut is_done: impl FnMut() -> Outcome<bool>) -> Outcome<()> {
    let deadline = Instant::now() + patience;
    while !is_done()? {
        if is_interrupted() {
            return Err("interrupted".into());
        }
        if Instant::now() >= deadline {
            return Err(format!("{what}: not within {} seconds", patience.as_secs()).into());
        }
        thread::sleep(POLL);
    }
    Ok(())
}

/// A port on 127.0.0.1 that nobody listens on now.
///
/// # Errors
/// When there is none.
pub fn free_port() -> Outcome<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Our exit code for a child's.
pub fn exit_code(status: ExitStatus) -> ExitCode {
    status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}

fn describe(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_program_is_named_with_its_complaint() {
        let error = must_capture(Command::new("sh").args(["-c", "echo no luck >&2; exit 3"])).unwrap_err().to_string();
        assert!(error.contains("no luck"), "{error}");
        assert!(error.contains('3'), "{error}");
    }

    #[test]
    fn a_deaf_child_is_killed() {
        let mut child = Command::new("sh").args(["-c", "trap '' TERM; exec sleep 60"]).spawn().unwrap();
        stop(&mut child, "TERM", Duration::from_millis(200));
        assert!(child.try_wait().unwrap().is_some());
    }

    #[test]
    fn waiting_has_an_end() {
        let error = wait_until("the moon", Duration::from_millis(50), || Ok(false)).unwrap_err().to_string();
        assert!(error.starts_with("the moon"), "{error}");
    }

    #[test]
    fn programs_are_found_by_name() {
        assert!(find_program("sh").is_some());
        assert!(find_program("no-such-program-here").is_none());
    }
}
