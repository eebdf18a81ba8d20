//! The report of refused rows, `FILE.refused.csv`. A file of that name is never written over.

use std::{
    fmt::{self, Display},
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use florin_app::{App, import::Import};

use crate::output::Problem;

/// Where the report of a file's refused rows is.
pub struct Report {
    path: PathBuf,
    /// Written first, and then renamed: what is at `path` is whole.
    draft: PathBuf,
}

impl Report {
    /// The report beside this file.
    pub fn beside(file: &Path) -> Self {
        let named = |end: &str| {
            let mut name = file.as_os_str().to_owned();
            name.push(end);
            PathBuf::from(name)
        };
        Self { path: named(".refused.csv"), draft: named(&format!(".refused.csv.part-{}", std::process::id())) }
    }

    /// Whether something of its name is there.
    ///
    /// # Errors
    /// It cannot be looked up; names it.
    pub fn is_there(&self) -> Result<bool, Problem> {
        self.look_up().map_err(|error| self.unwritten(&error))
    }

    fn look_up(&self) -> io::Result<bool> {
        match fs::symlink_metadata(&self.path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Proves that it can be written, before there is anything to write.
    ///
    /// # Errors
    /// Something of its name is there, or nothing can be written beside the file; names it.
    pub fn expect_place(&self) -> Result<(), Problem> {
        let refused = |error| {
            Problem::failed(format!("{self} could not be written, if rows were refused: {error}; nothing was imported"))
        };
        if self.look_up().map_err(refused)? {
            return Err(Problem::failed(format!(
                "{self} is there already, and no report is written over a file: move it away and run the same command \
                 again; nothing was imported"
            )));
        }
        File::create(&self.draft).and_then(|_| fs::remove_file(&self.draft)).map_err(refused)
    }

    /// Writes it, whole or not at all.
    ///
    /// # Errors
    /// The database cannot be read, or the report cannot be written; says how to get it.
    pub fn write(&self, app: &App, import: &Import) -> Result<&Self, Problem> {
        let written = self.write_draft(app, import).and_then(|()| {
            if self.is_there()? {
                return Err(self.unwritten(&"something of this name is there"));
            }
            fs::rename(&self.draft, &self.path).map_err(|error| self.unwritten(&error))
        });
        if written.is_err() {
            // What is left of a draft is nobody's.
            let _ = fs::remove_file(&self.draft);
        }
        written.map(|()| self)
    }

    fn write_draft(&self, app: &App, import: &Import) -> Result<(), Problem> {
        let file = File::create(&self.draft).map_err(|error| self.unwritten(&error))?;
        let mut writer = csv::Writer::from_writer(file);
        let mut written = writer.write_record(["line", "code", "detail"]);
        app.for_each_refusal(import.id, |row| {
            if written.is_ok() {
                written = writer.write_record([&row.line.to_string(), &row.code, &row.detail]);
            }
        })
        .map_err(|error| self.unwritten(&error))?;
        written.map_err(|error| self.unwritten(&error))?;
        let file = writer.into_inner().map_err(|error| self.unwritten(&error.error()))?;
        file.sync_all().map_err(|error| self.unwritten(&error))
    }

    fn unwritten(&self, cause: &dyn Display) -> Problem {
        Problem::failed(format!(
            "{self} cannot be written: {cause}; the import is at its end, and the same command without --again writes \
             the report alone"
        ))
    }
}

impl Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(formatter)
    }
}
