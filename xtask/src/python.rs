//! Python programs from PyPI, each in a virtual environment of its own under `target/`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::Outcome;
use crate::process::{find_program, must_capture, target_dir};

/// The environment of this name with these requirements, as pip reads them; made anew when they have changed.
///
/// # Errors
/// When Python, its venv or pip's registry cannot be had.
pub fn environment(name: &str, requirements: &str) -> Outcome<PathBuf> {
    let folder = target_dir().join(name);
    // Written when everything is there: a half-made environment has none.
    let installed = folder.join("installed.txt");
    if fs::read_to_string(&installed).is_ok_and(|text| text == requirements) {
        return Ok(folder);
    }
    let hint = format!(
        "the Python packages of target/{name} cannot be installed: they need python3 with venv and pip (Debian, \
         Ubuntu: apt-get install python3-venv) and PyPI"
    );
    let python = find_program("python3").ok_or_else(|| format!("{hint} (there is no python3)"))?;
    eprintln!("xtask: installing Python packages into {}", folder.display());
    must_capture(Command::new(python).args(["-m", "venv", "--clear"]).arg(&folder))
        .map_err(|error| format!("{hint} ({error})"))?;
    let wanted = folder.join("requirements.txt");
    fs::write(&wanted, requirements)?;
    must_capture(Command::new(folder.join("bin/pip")).args(["install", "--quiet", "--requirement"]).arg(&wanted))
        .map_err(|error| format!("{hint} ({error})"))?;
    fs::rename(&wanted, &installed)?;
    Ok(folder)
}
