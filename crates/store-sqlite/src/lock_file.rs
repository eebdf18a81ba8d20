//! One serving process a database file.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
};

use florin_store::StoreError;

use crate::owner;

/// More symbolic links than this one after the other lead nowhere.
const LINKS: usize = 40;

/// Holds `<database>.lock` until it is dropped, or the process ends.
#[derive(Debug)]
pub(crate) struct LockFile {
    _file: File,
}

impl LockFile {
    /// Takes the lock of the database at `path`, or says that another process has it.
    pub(crate) fn take(path: &Path) -> Result<Self, StoreError> {
        let lock_path = lock_path(path);
        let refused = |error| StoreError::Unavailable(format!("{}: {error}", lock_path.display()));
        let file = open_or_make(path, &lock_path).map_err(refused)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(StoreError::Unavailable(format!(
                "{} is in use by another Florin process, which holds {}; stop it first",
                path.display(),
                lock_path.display()
            ))),
            Err(TryLockError::Error(error)) => Err(refused(error)),
        }
    }
}

fn open_or_make(path: &Path, lock_path: &Path) -> io::Result<File> {
    match OpenOptions::new().create_new(true).write(true).open(lock_path) {
        Ok(file) => {
            give_to_owner(path, lock_path)?;
            Ok(file)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => OpenOptions::new().write(true).open(lock_path),
        Err(error) => Err(error),
    }
}

/// The lock of a command that root ran first is the server's to open, later.
fn give_to_owner(path: &Path, lock_path: &Path) -> io::Result<()> {
    let model = if path.exists() { path } else { folder_of(lock_path) };
    match owner::take_over(lock_path, model) {
        // Not root: who starts here is who serves here.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        given => given,
    }
}

/// Whether a process serves the database at `path`, or does something else that only one may do.
#[must_use]
pub fn is_served(path: &Path) -> bool {
    let file = File::open(lock_path(path));
    file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// The lock lies beside the file itself, as SQLite's log does: whatever name leads there, it is one lock.
fn lock_path(path: &Path) -> PathBuf {
    let mut name = OsString::from(real_path(path));
    name.push(".lock");
    PathBuf::from(name)
}

/// Where SQLite looks for the database: behind symbolic links, also while the file is not there. What cannot be
/// followed is left as it is spelled, and is refused by whoever opens it.
pub(crate) fn real_path(path: &Path) -> PathBuf {
    let mut place = path.to_owned();
    for _ in 0..LINKS {
        let Ok(next) = fs::read_link(&place) else { break };
        place = folder_of(&place).join(next);
    }
    match (fs::canonicalize(folder_of(&place)), place.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => place,
    }
}

/// The folder of `path`; of a bare name the current one.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, chown, symlink};

    use super::*;

    #[test]
    fn one_file_has_one_lock_whatever_name_leads_there() {
        let folder = tempfile::tempdir().unwrap();
        let (data, link, name) =
            (folder.path().join("data"), folder.path().join("link"), folder.path().join("name.db"));
        fs::create_dir(&data).unwrap();
        symlink("data", &link).unwrap();
        symlink("link/florin.db", &name).unwrap();
        for is_there in [false, true] {
            let lock = LockFile::take(&data.join("florin.db")).unwrap();
            for other in [link.join("florin.db"), name.clone()] {
                assert!(is_served(&other), "{}", other.display());
                let refusal = LockFile::take(&other).unwrap_err().to_string();
                assert!(refusal.contains("in use") && refusal.contains("stop it first"), "{refusal}");
            }
            drop(lock);
            assert!(!is_served(&name), "{is_there}");
            fs::write(data.join("florin.db"), "").unwrap();
        }
    }

    #[test]
    fn links_that_lead_nowhere_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let name = folder.path().join("florin.db");
        symlink("florin.db", &name).unwrap();
        assert_eq!(real_path(&name), fs::canonicalize(folder.path()).unwrap().join("florin.db"));
        assert!(LockFile::take(&folder.path().join("missing/florin.db")).is_err());
    }

    #[test]
    fn the_lock_that_root_makes_is_the_owners_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        if chown(folder.path(), Some(12_345), Some(23_456)).is_err() {
            return; // Only root may give a folder away.
        }
        let path = folder.path().join("florin.db");
        drop(LockFile::take(&path).unwrap());
        let lock = fs::metadata(lock_path(&path)).unwrap();
        assert_eq!((lock.uid(), lock.gid()), (12_345, 23_456));
    }
}
