//! An import on the wire.

use axum::http::StatusCode;
use florin_app::import::{Import, ImportError};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::not_found;
use crate::{django::time_text, problem::Problem};

/// An import and how far it was worked on.
#[derive(Serialize, ToSchema)]
#[schema(as = Import, example = json!({
    "id": "0197b9a2-7c31-7d52-9d5e-7f0f2f6f3a11", "name": "wages-2026-11.csv", "format": "csv", "state": "running",
    "failure": null, "size": 104_857, "position": 52_428, "rows": 500, "applied": 498, "refused": 2, "node": 0,
    "sha256": "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef",
    "created_at": "2026-11-21T10:00:00.123456Z", "updated_at": "2026-11-21T10:00:01.654321Z"
}))]
pub(crate) struct ImportBody<'a> {
    /// Its id.
    id: Uuid,
    /// What the client called the file.
    name: &'a str,
    /// `csv` or `jsonl`.
    format: &'a str,
    /// `running`, `done` or `failed`.
    state: &'a str,
    /// Why it cannot go on.
    failure: Option<&'a str>,
    /// Size of the file, bytes.
    size: i64,
    /// Bytes of the file that were worked on.
    position: i64,
    /// Rows that were worked on: applied and refused.
    rows: i64,
    /// Rows applied.
    applied: i64,
    /// Rows refused.
    refused: i64,
    /// The node that holds the file: only this one works on it.
    node: u16,
    /// SHA-256 of the file, hexadecimal.
    sha256: String,
    /// When the file was taken.
    created_at: String,
    /// When it last moved on.
    updated_at: String,
}

impl<'a> From<&'a Import> for ImportBody<'a> {
    fn from(import: &'a Import) -> Self {
        let progress = import.progress;
        Self {
            id: import.id,
            name: &import.name,
            format: &import.format,
            state: import.state,
            failure: import.failure.as_deref(),
            size: import.size_bytes,
            position: progress.position,
            rows: progress.applied + progress.refused,
            applied: progress.applied,
            refused: progress.refused,
            node: import.node,
            sha256: hex(&import.sha256),
            created_at: time_text(import.created_at_us),
            updated_at: time_text(import.updated_at_us),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The refusal that the error earns.
pub(crate) fn problem_of(error: ImportError) -> Problem {
    match error {
        ImportError::Forbidden => Problem::forbidden(),
        ImportError::NotFound => not_found(),
        ImportError::KeyReused => Problem::key_reused(),
        ImportError::BadFile(text) => Problem::new(StatusCode::BAD_REQUEST, "bad_file", "Not a file of rows", text),
        ImportError::TooLarge(limit) => {
            let detail = format!("A file has at most {limit} bytes here (import_max_size).");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "File too large", detail)
        }
        ImportError::ImportedBefore(id) => {
            let detail = format!("This file was imported before, as {id}. To import it once more, say again=true.");
            Problem::new(StatusCode::CONFLICT, "imported_before", "Imported before", detail)
        }
        ImportError::Failure(failure) => Problem::failure(&failure),
    }
}
