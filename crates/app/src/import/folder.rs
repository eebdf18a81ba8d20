//! Where the files of imports lie while they are worked on.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use uuid::Uuid;

/// A folder of this node, and how large a file in it may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportFolder {
    /// The folder; it is made when the first file comes.
    pub path: PathBuf,
    /// Largest file, bytes.
    pub file_bytes_max: u64,
}

impl ImportFolder {
    /// The file of an import that was received whole.
    pub(super) fn file_of(&self, id: Uuid) -> PathBuf {
        self.path.join(id.to_string())
    }

    /// Makes the folder, for its owner alone.
    pub(super) fn prepare(&self) -> io::Result<()> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&self.path)
    }

    /// Deletes what is nobody's: files that were not received whole, or whose import has ended.
    pub(super) fn sweep(&self, running: &[Uuid]) -> io::Result<()> {
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let is_kept = running.iter().any(|id| *entry.file_name() == *id.to_string());
            if !is_kept {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }
}

/// Deletes a file, if it is there.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_leaves_what_is_worked_on() {
        let folder = tempfile::tempdir().unwrap();
        let imports = ImportFolder { path: folder.path().join("imports"), file_bytes_max: 1 };
        imports.sweep(&[]).unwrap();
        imports.prepare().unwrap();
        let (kept, gone) = (Uuid::from_u128(1), Uuid::from_u128(2));
        for name in [kept.to_string(), gone.to_string(), format!("{kept}.part")] {
            fs::write(imports.path.join(name), "x").unwrap();
        }
        imports.sweep(&[kept]).unwrap();
        let left: Vec<_> = fs::read_dir(&imports.path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, [std::ffi::OsString::from(kept.to_string())]);
    }
}
