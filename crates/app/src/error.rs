//! Failures that every use case shares.

use florin_store::StoreError;
use thiserror::Error;

/// Why a use case could not be carried out, when it is not the caller's doing.
#[derive(Debug, Error)]
pub enum Failure {
    /// Too much is waiting, or the database is away: try again. Nothing was changed.
    #[error("temporarily unavailable: {0}")]
    Unavailable(String),
    /// A defect or an unknown outcome; the cause is for the log, never for the answer.
    #[error("internal failure: {0}")]
    Internal(String),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) | StoreError::OutcomeUnknown(_) => Self::Unavailable(error.to_string()),
            other => Self::Internal(other.to_string()),
        }
    }
}
