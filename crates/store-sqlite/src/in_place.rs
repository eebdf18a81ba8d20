//! A new file in the place of a database, and what was there kept under other names.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use florin_store::StoreError;

use crate::{
    copy::{beside, empty_log, flush_folder},
    lock_file::{LockFile, folder_of, real_path},
    owner,
};

/// What SQLite lays beside a database and reads into whatever file has its name: the write-ahead log and its index, and
/// the journal that takes a transaction back.
const LOGS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Nobody else serves the database while this lives.
#[derive(Debug)]
pub struct TargetLock {
    path: PathBuf,
    _lock: LockFile,
}

impl TargetLock {
    /// Takes the database at `path`, which need not exist.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when a server has it.
    pub fn take(path: &Path) -> Result<Self, StoreError> {
        Ok(Self { path: real_path(path), _lock: LockFile::take(path)? })
    }

    /// The file itself, behind symbolic links. What shall take its place lies in the same folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// What was in a database's place.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// The database, under its new name.
    pub database: Option<PathBuf>,
    /// What lay beside it and was not its alone to throw away: logs and their index, under their new names.
    pub logs: Vec<PathBuf>,
}

/// Puts the file `draft` in the place of the database at `lock`, which no server may hold, at once and whole. What was
/// there is kept with `suffix` behind its name, or with a number behind that if the name is taken: also the logs of a
/// database that has gone, for SQLite would read them into the new one. The new file belongs to whom the old one
/// belonged, or else the folder.
///
/// # Errors
/// [`StoreError::Unavailable`] when another process uses the database, or a file cannot be renamed or given to its
/// owner; then everything is where it was.
pub fn put_in_place(lock: &TargetLock, draft: &Path, suffix: &str) -> Result<Kept, StoreError> {
    replace(&lock.path, draft, suffix, |from, to| fs::hard_link(from, to))
}

/// [`put_in_place`], with the way in which a file gets a second name.
fn replace(
    target: &Path,
    draft: &Path,
    suffix: &str,
    second_name: impl Fn(&Path, &Path) -> io::Result<()>,
) -> Result<Kept, StoreError> {
    let refused =
        |error: io::Error| StoreError::Unavailable(format!("{} cannot be replaced: {error}", target.display()));
    let length = length(target).map_err(refused)?;
    // SQLite throws away the log of an empty file: it is not opened.
    if length.is_some_and(|bytes| bytes > 0) {
        take_log_in(target)?;
    }
    give_to_owner(draft, target, length.is_some())?;
    let aside = free_name(target, suffix).map_err(refused)?;
    let (mut renames, mut kept) = (Renames::default(), Kept::default());
    for part in LOGS {
        let (log, log_aside) = (beside(target, part), beside(&aside, part));
        if self::length(&log).map_err(refused)?.is_some() {
            renames.rename(&log, &log_aside).map_err(refused)?;
            kept.logs.push(log_aside);
        }
    }
    if length.is_some() {
        renames.keep_aside(target, &aside, second_name).map_err(refused)?;
        kept.database = Some(aside);
    }
    // In this order also after a loss of power: the new database never is beside an old log.
    flush_folder(target)?;
    fs::rename(draft, target).map_err(refused)?;
    renames.settle();
    flush_folder(target)?;
    Ok(kept)
}

/// Makes the database one file, if it is whole. The log of a damaged one stays beside it.
fn take_log_in(target: &Path) -> Result<(), StoreError> {
    match empty_log(target) {
        Err(StoreError::Unavailable(text)) => Err(StoreError::Unavailable(text)),
        _ => Ok(()),
    }
}

fn give_to_owner(draft: &Path, target: &Path, is_there: bool) -> Result<(), StoreError> {
    let model = if is_there { target } else { folder_of(target) };
    match owner::take_over(draft, model) {
        // Who may write to a folder of others may keep files there.
        Err(error) if !is_there && error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        given => given.map_err(|error| {
            let shown = model.display();
            StoreError::Unavailable(format!(
                "{shown} belongs to somebody else; restore as its owner or as root: {error}"
            ))
        }),
    }
}

/// A name beside `target` under which there is nothing yet, nor a log. Who asks holds the lock, so it stays free.
fn free_name(target: &Path, suffix: &str) -> io::Result<PathBuf> {
    let mut aside = beside(target, suffix);
    let mut number = 1_u32;
    while is_taken(&aside)? {
        number += 1;
        aside = beside(target, &format!("{suffix}-{number}"));
    }
    Ok(aside)
}

fn is_taken(name: &Path) -> io::Result<bool> {
    for part in [""].into_iter().chain(LOGS) {
        if length(&beside(name, part))?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// How long a file is, bytes; none when it is not there.
pub(crate) fn length(path: &Path) -> io::Result<Option<u64>> {
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(Some(found.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Files that got other names, and get their own back unless all of it went well.
#[derive(Debug, Default)]
struct Renames(Vec<Undo>);

#[derive(Debug)]
enum Undo {
    Rename { from: PathBuf, to: PathBuf },
    Remove(PathBuf),
}

impl Renames {
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)?;
        self.0.push(Undo::Rename { from: to.to_owned(), to: from.to_owned() });
        Ok(())
    }

    /// Gives `target` the name `aside` too, so that its own can be taken over in one step.
    fn keep_aside(
        &mut self,
        target: &Path,
        aside: &Path,
        second_name: impl Fn(&Path, &Path) -> io::Result<()>,
    ) -> io::Result<()> {
        match second_name(target, aside) {
            Ok(()) => {
                self.0.push(Undo::Remove(aside.to_owned()));
                Ok(())
            }
            // Somebody else's file: a rename would destroy it.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
            // Not every file system has second names.
            Err(_) => self.rename(target, aside),
        }
    }

    /// The new names stay.
    fn settle(mut self) {
        self.0.clear();
    }
}

impl Drop for Renames {
    fn drop(&mut self) {
        for undo in self.0.drain(..).rev() {
            let undone = match &undo {
                Undo::Rename { from, to } => fs::rename(from, to),
                Undo::Remove(name) => fs::remove_file(name),
            };
            if let Err(error) = undone {
                tracing::warn!(%error, ?undo, "a file could not be put back where it was");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUFFIX: &str = ".before";

    fn none(_: &Path, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn hard_link(from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    /// All files in a folder with what is in them, but SQLite's index of a log, which it makes whenever it looks.
    fn files(folder: &Path) -> Vec<(String, String)> {
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut files: Vec<_> = names
            .filter(|name| !name.ends_with("-shm"))
            .map(|name| {
                let text = fs::read_to_string(folder.join(&name)).unwrap();
                (name, text)
            })
            .collect();
        files.sort();
        files
    }

    fn folder(files: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let (target, draft) = (folder.path().join("florin.db"), folder.path().join("draft"));
        (folder, target, draft)
    }

    fn expect(folder: &Path, wanted: &[(&str, &str)]) {
        let wanted: Vec<_> = wanted.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        assert_eq!(files(folder), wanted);
    }

    #[test]
    fn logs_of_a_database_that_has_gone_are_moved_aside() {
        let (folder, target, draft) = folder(&[("draft", "new"), ("florin.db-journal", "j"), ("florin.db-wal", "w")]);
        let kept = replace(&target, &draft, SUFFIX, hard_link).unwrap();
        assert_eq!((kept.database, kept.logs.len()), (None, 2));
        expect(
            folder.path(),
            &[("florin.db", "new"), ("florin.db.before-journal", "j"), ("florin.db.before-wal", "w")],
        );
    }

    #[test]
    fn an_empty_file_does_not_take_its_log_with_it() {
        let (folder, target, draft) = folder(&[("draft", "new"), ("florin.db", ""), ("florin.db-wal", "w")]);
        replace(&target, &draft, SUFFIX, hard_link).unwrap();
        expect(folder.path(), &[("florin.db", "new"), ("florin.db.before", ""), ("florin.db.before-wal", "w")]);
    }

    #[test]
    fn what_was_kept_before_is_not_replaced() {
        for second_name in [hard_link, none] {
            let (folder, target, draft) = folder(&[("draft", "new"), ("florin.db", "2"), ("florin.db.before", "1")]);
            let kept = replace(&target, &draft, SUFFIX, second_name).unwrap();
            assert_eq!(kept.database, Some(beside(&target, ".before-2")));
            expect(folder.path(), &[("florin.db", "new"), ("florin.db.before", "1"), ("florin.db.before-2", "2")]);
        }
        let taken = |_: &Path, _: &Path| Err(io::ErrorKind::AlreadyExists.into());
        let (folder, target, draft) = folder(&[("draft", "new"), ("florin.db", "2")]);
        let error = replace(&target, &draft, SUFFIX, taken).unwrap_err();
        assert!(error.to_string().contains("florin.db cannot be replaced"), "{error}");
        expect(folder.path(), &[("draft", "new"), ("florin.db", "2")]);
    }

    #[test]
    fn everything_is_where_it_was_when_the_last_step_fails() {
        for second_name in [hard_link, none] {
            let (folder, target, draft) = folder(&[("draft", "new"), ("florin.db", "damaged"), ("florin.db-wal", "w")]);
            // The draft vanishes at the last moment.
            let last = |from: &Path, to: &Path| fs::remove_file(&draft).and_then(|()| second_name(from, to));
            assert!(replace(&target, &draft, SUFFIX, last).is_err());
            expect(folder.path(), &[("florin.db", "damaged"), ("florin.db-wal", "w")]);
        }
    }
}
