//! Imports: files of movements, worked on in chunks, each chunk and the progress behind it in one commit.

mod folder;
mod read;
mod receive;
mod row;
mod source;
mod table;
mod work;

use florin_store::import::{ImportRow, ImportState, Progress};
use thiserror::Error;
use uuid::Uuid;

pub use folder::ImportFolder;
pub use read::{Refusals, RefusedRow};
pub use receive::{LocalFile, NewImport, Receiver};
pub use source::Source;
pub use work::Work;

use crate::Failure;

/// The number of the node that stands for the command line: no server works on its imports.
pub const COMMAND_LINE: u16 = u16::MAX;

/// How the rows of a file are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportFormat {
    /// Comma-separated values with a line of names first.
    Csv,
    /// One JSON object a line.
    Jsonl,
}

impl ImportFormat {
    /// The name kept in storage and shown on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
        }
    }

    /// The format of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Csv, Self::Jsonl].into_iter().find(|format| format.as_str() == name)
    }
}

/// An import as shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// Its id.
    pub id: Uuid,
    /// What the client calls the file; may be empty.
    pub name: String,
    /// `csv` or `jsonl`.
    pub format: String,
    /// SHA-256 of the file.
    pub sha256: [u8; 32],
    /// The number of the node that holds the file.
    pub node: u16,
    /// Size of the file, bytes.
    pub size_bytes: i64,
    /// `running`, `done` or `failed`.
    pub state: &'static str,
    /// Why it cannot go on.
    pub failure: Option<String>,
    /// How far it was worked on.
    pub progress: Progress,
    /// Microseconds since the Unix epoch, UTC.
    pub created_at_us: i64,
    /// Microseconds since the Unix epoch, UTC.
    pub updated_at_us: i64,
}

impl Import {
    /// Whether there are rows left.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.state == ImportState::Running.as_str()
    }
}

impl From<ImportRow> for Import {
    fn from(row: ImportRow) -> Self {
        Self {
            id: row.id,
            name: row.name,
            format: row.format,
            sha256: row.sha256,
            node: row.node,
            size_bytes: row.size_bytes,
            state: row.state.as_str(),
            failure: row.failure,
            progress: row.progress,
            created_at_us: row.created_at_us,
            updated_at_us: row.updated_at_us,
        }
    }
}

/// Why an import was not taken.
#[derive(Debug, Error)]
pub enum ImportError {
    /// Only staff may.
    #[error("not permitted")]
    Forbidden,
    /// No such import.
    #[error("import not found")]
    NotFound,
    /// The file is not one of rows: what is wrong with it, for the client.
    #[error("{0}")]
    BadFile(String),
    /// The file is larger than this, bytes.
    #[error("the file is larger than {0} bytes")]
    TooLarge(u64),
    /// The same file was imported before.
    #[error("this file was imported before, as {0}")]
    ImportedBefore(Uuid),
    /// The idempotency key was used with another request.
    #[error("idempotency key reused with another request")]
    KeyReused,
    /// See [`Failure`].
    #[error(transparent)]
    Failure(#[from] Failure),
}

impl From<std::io::Error> for ImportError {
    fn from(error: std::io::Error) -> Self {
        Self::Failure(Failure::Unavailable(format!("a file of an import cannot be used: {error}")))
    }
}
