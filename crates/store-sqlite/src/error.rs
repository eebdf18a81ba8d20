//! SQLite's errors, sorted by what a caller can do about them.

use florin_store::StoreError;
use rusqlite::{Error, ErrorCode, ffi};

/// Sorts an error of a statement, or of anything before the commit.
pub(crate) fn store_error(error: Error) -> StoreError {
    let (code, extended_code) = match &error {
        Error::SqliteFailure(failure, _) => (failure.code, failure.extended_code),
        Error::SqlInputError { error, .. } => (error.code, error.extended_code),
        _ => return StoreError::Internal(error.to_string()),
    };
    match code {
        ErrorCode::ConstraintViolation if is_unique(extended_code) => {
            StoreError::Duplicate(columns(&error.to_string()))
        }
        ErrorCode::DiskFull
        | ErrorCode::SystemIoFailure
        | ErrorCode::ReadOnly
        | ErrorCode::DatabaseBusy
        | ErrorCode::DatabaseLocked
        | ErrorCode::CannotOpen => StoreError::Unavailable(error.to_string()),
        ErrorCode::NotADatabase => StoreError::Foreign("this file is not a SQLite database".to_owned()),
        _ => StoreError::Internal(error.to_string()),
    }
}

/// Sorts an error of the commit itself. Only until the log is written is it sure that nothing of it is there: when the
/// log could not be flushed, or its index could not grow after that, the commit may still turn up.
pub(crate) fn commit_error(error: Error) -> StoreError {
    match &error {
        Error::SqliteFailure(failure, _)
            if failure.code == ErrorCode::SystemIoFailure && failure.extended_code != ffi::SQLITE_IOERR_WRITE =>
        {
            StoreError::OutcomeUnknown(error.to_string())
        }
        _ => store_error(error),
    }
}

fn is_unique(extended_code: i32) -> bool {
    [ffi::SQLITE_CONSTRAINT_UNIQUE, ffi::SQLITE_CONSTRAINT_PRIMARYKEY, ffi::SQLITE_CONSTRAINT_ROWID]
        .contains(&extended_code)
}

/// `UNIQUE constraint failed: users.bucket, users.id` names the columns after the colon.
fn columns(message: &str) -> String {
    message.rsplit_once("failed: ").map_or(message, |(_, columns)| columns).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_that_failed_after_its_log_was_written_may_have_happened() {
        let of = |code| Error::SqliteFailure(ffi::Error::new(code), None);
        for code in [ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_IOERR_SHMSIZE, ffi::SQLITE_IOERR_SHMMAP, ffi::SQLITE_IOERR] {
            assert!(matches!(commit_error(of(code)), StoreError::OutcomeUnknown(_)), "{code}");
            assert!(matches!(store_error(of(code)), StoreError::Unavailable(_)), "{code}: before the commit");
        }
        for code in [ffi::SQLITE_IOERR_WRITE, ffi::SQLITE_FULL, ffi::SQLITE_BUSY] {
            assert!(matches!(commit_error(of(code)), StoreError::Unavailable(_)), "{code}");
        }
    }
}
