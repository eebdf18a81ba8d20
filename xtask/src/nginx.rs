//! nginx for several nodes, in tests and under load: found, or installed where that is possible.

use std::path::{Path, PathBuf};

use crate::process::{find_program, install_with_apt, is_executable};

/// nginx, if it is there or could be installed; otherwise says why not, and what becomes of it.
pub fn find_or_install(without_it: &str) -> Option<PathBuf> {
    if let Some(file) = find() {
        return Some(file);
    }
    match install_with_apt("nginx", &["nginx-light"]) {
        Ok(()) => find(),
        Err(error) => {
            eprintln!("xtask: no nginx, so {without_it}: {error}");
            None
        }
    }
}

/// Debian has it where the `PATH` of users does not lead.
fn find() -> Option<PathBuf> {
    let beside = ["/usr/sbin/nginx", "/usr/local/sbin/nginx", "/usr/local/nginx/sbin/nginx"];
    find_program("nginx").or_else(|| beside.map(Path::new).into_iter().find(|file| is_executable(file)).map(Into::into))
}
