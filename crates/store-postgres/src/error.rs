//! PostgreSQL's errors, sorted by what a caller can do about them.

use std::{error::Error as _, io};

use deadpool_postgres::PoolError;
use florin_store::StoreError;
use tokio_postgres::{Error, error::SqlState};

/// Sorts an error of a statement, or of anything before the commit was sent.
pub(crate) fn store_error(error: &Error) -> StoreError {
    let Some(code) = error.code() else {
        return if is_connection_lost(error) {
            StoreError::Unavailable(describe(error))
        } else {
            StoreError::Internal(describe(error))
        };
    };
    if *code == SqlState::UNIQUE_VIOLATION {
        let constraint = error.as_db_error().and_then(|error| error.constraint()).unwrap_or("unknown");
        return StoreError::Duplicate(constraint.to_owned());
    }
    if is_retryable(error) || is_server_unable(code) {
        return StoreError::Unavailable(describe(error));
    }
    StoreError::Internal(describe(error))
}

/// Sorts an error of the commit itself: unless the server said no, it may have happened.
pub(crate) fn commit_error(error: &Error) -> StoreError {
    match error.code() {
        Some(code) if is_outcome_unknown(code) => StoreError::OutcomeUnknown(describe(error)),
        Some(_) => store_error(error),
        None => StoreError::OutcomeUnknown(describe(error)),
    }
}

/// An error of getting a connection: nothing has been sent.
pub(crate) fn pool_error(error: &PoolError) -> StoreError {
    StoreError::Unavailable(match error {
        PoolError::Backend(error) => describe(error),
        other => other.to_string(),
    })
}

/// Serialization failure, deadlock, lock not available: the whole transaction may be tried again.
pub(crate) fn is_retryable(error: &Error) -> bool {
    error.code().is_some_and(|code| {
        [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED, SqlState::LOCK_NOT_AVAILABLE]
            .contains(code)
    })
}

/// A statement that was prepared before a migration: it works on a new connection.
pub(crate) fn is_stale_plan(error: &Error) -> bool {
    error.code() == Some(&SqlState::FEATURE_NOT_SUPPORTED)
        && error.as_db_error().is_some_and(|error| error.message().contains("cached plan"))
}

/// Whether this is only the echo of an earlier error in the same transaction.
pub(crate) fn is_echo(error: &Error) -> bool {
    error.code() == Some(&SqlState::IN_FAILED_SQL_TRANSACTION)
}

/// Whether the connection is gone, as opposed to a server that answered.
pub(crate) fn is_connection_lost(error: &Error) -> bool {
    error.is_closed() || error.source().is_some_and(|source| source.is::<io::Error>())
}

/// What happened, without the rows' values that PostgreSQL puts into the detail.
pub(crate) fn describe(error: &Error) -> String {
    if let Some(error) = error.as_db_error() {
        return format!("{} ({})", error.message(), error.code().code());
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// Connection exceptions, shutdowns, a full disk, too many connections, a standby, a statement that took too long, a
/// transaction that stood still for too long.
fn is_server_unable(code: &SqlState) -> bool {
    ["08", "53", "58"].iter().any(|class| code.code().starts_with(class))
        || ["57P01", "57P02", "57P03", "57P05", "57014", "25006", "25P03"].contains(&code.code())
}

fn is_outcome_unknown(code: &SqlState) -> bool {
    code.code().starts_with("08") || ["57P01", "57P02", "57P03", "57014", "40003"].contains(&code.code())
}
