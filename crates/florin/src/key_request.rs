//! How a command asks the server that has the SQLite file to do something to the signing keys: by a small file in the
//! data folder. Only one process may write to the database, and that is the server.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use florin_app::session::KeyWish;

use crate::output::Problem;

const FILE: &str = "keys.request";
/// How often the command looks whether the server took the file, and how many times.
const LOOK: Duration = Duration::from_millis(100);
const LOOKS: u32 = 150;

/// What can be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyRequest {
    /// A next key, or that it signs now.
    Rotate(KeyWish),
    /// That the key of this name counts for nothing.
    Revoke(String),
}

impl KeyRequest {
    fn to_text(&self) -> String {
        match self {
            Self::Rotate(KeyWish::Now) => "now".to_owned(),
            Self::Rotate(_) => "next".to_owned(),
            Self::Revoke(id) => format!("revoke {id}"),
        }
    }

    fn from_text(text: &str) -> Option<Self> {
        match text.trim() {
            "now" => Some(Self::Rotate(KeyWish::Now)),
            "next" => Some(Self::Rotate(KeyWish::Next)),
            other => other.strip_prefix("revoke ").map(|id| Self::Revoke(id.to_owned())),
        }
    }
}

/// Leaves the request for the server that uses this data folder, and waits until it was taken.
///
/// # Errors
/// The file cannot be written, or no server takes it: then it is gone again.
pub fn ask(data_dir: &Path, request: &KeyRequest) -> Result<(), Problem> {
    let path = data_dir.join(FILE);
    let draft = PathBuf::from(format!("{}.{}", path.display(), std::process::id()));
    // Whole under another name first: the server never reads half of it.
    fs::write(&draft, request.to_text())
        .and_then(|()| fs::rename(&draft, &path))
        .map_err(|error| Problem::failed(format!("{} cannot be written: {error}", path.display())))?;
    for _ in 0..LOOKS {
        sleep(LOOK);
        if !path.exists() {
            return Ok(());
        }
    }
    let _ = fs::remove_file(&path);
    Err(Problem::failed(format!(
        "the server that uses the database did not take {}: does it have the same data_dir?",
        path.display()
    )))
}

/// The request that somebody left, if there is one. Unreadable ones are named in the log and forgotten.
pub fn find(data_dir: &Path) -> Option<KeyRequest> {
    let path = data_dir.join(FILE);
    match fs::read_to_string(&path) {
        Ok(text) => {
            let request = KeyRequest::from_text(&text);
            if request.is_none() {
                tracing::warn!(path = %path.display(), "this is no request about keys; removing it");
                done(data_dir);
            }
            request
        }
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "a request about keys cannot be read");
            None
        }
    }
}

/// Tells the command that its request was granted.
pub fn done(data_dir: &Path) {
    if let Err(error) = fs::remove_file(data_dir.join(FILE)) {
        tracing::warn!(%error, "the request about keys cannot be removed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_as_they_were_written() {
        let all = [
            KeyRequest::Rotate(KeyWish::Now),
            KeyRequest::Rotate(KeyWish::Next),
            KeyRequest::Revoke("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs".to_owned()),
        ];
        for request in all {
            assert_eq!(KeyRequest::from_text(&request.to_text()), Some(request));
        }
        assert_eq!(KeyRequest::from_text("something else"), None);
    }

    #[test]
    fn a_request_is_found_until_it_is_done() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(find(folder.path()), None);
        fs::write(folder.path().join(FILE), "next").unwrap();
        assert_eq!(find(folder.path()), Some(KeyRequest::Rotate(KeyWish::Next)));
        done(folder.path());
        assert_eq!(find(folder.path()), None);
        fs::write(folder.path().join(FILE), "nonsense").unwrap();
        assert_eq!(find(folder.path()), None);
        assert!(!folder.path().join(FILE).exists());
    }
}
