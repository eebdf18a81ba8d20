//! The machine's disk: a database file that outlives the process, as a kill or a loss of power leaves it.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

const DATABASE: &str = "florin.db";
const LOG: &str = "florin.db-wal";

/// A folder; each life of the machine has a folder of its own in it.
#[derive(Debug)]
pub struct Disk {
    folder: TempDir,
    life: u32,
}

impl Disk {
    /// A disk with a copy of the database `template`, in memory where the system has a place for that.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn with(template: &Path) -> io::Result<Self> {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }?;
        let disk = Self { folder, life: 0 };
        fs::create_dir(disk.life_folder())?;
        fs::copy(template, disk.database())?;
        Ok(disk)
    }

    /// The database of this life.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.life_folder().join(DATABASE)
    }

    /// The length of the write-ahead log, bytes.
    #[must_use]
    pub fn log_bytes(&self) -> u64 {
        fs::metadata(self.life_folder().join(LOG)).map_or(0, |log| log.len())
    }

    /// The process is gone: the next life begins with the files as they are now. What the old process still does when
    /// it is cleaned up reaches the old files only.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn end_life(&mut self) -> io::Result<()> {
        let before = self.life_folder();
        self.life += 1;
        let after = self.life_folder();
        fs::create_dir(&after)?;
        for name in [DATABASE, LOG] {
            if before.join(name).exists() {
                fs::copy(before.join(name), after.join(name))?;
            }
        }
        Ok(())
    }

    /// Cuts the log of this life to this length.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn cut_log(&self, bytes: u64) -> io::Result<()> {
        let log = self.life_folder().join(LOG);
        if log.exists() {
            OpenOptions::new().write(true).open(log).and_then(|log: File| log.set_len(bytes))
        } else {
            Ok(())
        }
    }

    fn life_folder(&self) -> PathBuf {
        self.folder.path().join(self.life.to_string())
    }
}
