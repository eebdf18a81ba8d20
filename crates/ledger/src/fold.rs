//! A batch of commands against facts: each gets its own verdict.

use std::collections::HashMap;

use crate::{Account, AccountId, Applied, Command, IdempotencyKey, Outcome, Verdict};

/// What a batch depends on: read under lock before, written back after.
#[derive(Debug, Default)]
pub struct Facts {
    /// The accounts that the commands touch. A missing one does not exist.
    pub accounts: HashMap<AccountId, Account>,
    /// Earlier answers by (scope, key), with the fingerprint they were given for.
    pub answered: HashMap<(uuid::Uuid, String), ([u8; 32], Outcome)>,
}

/// What a batch comes to.
#[derive(Debug)]
pub struct Folded {
    /// One verdict a command, in order.
    pub verdicts: Vec<Verdict>,
    /// Indexes of the commands that were newly applied, in order, with what was applied.
    pub applied: Vec<(usize, Applied)>,
    /// Keys that were newly answered, with the index of their command.
    pub answered: Vec<(usize, IdempotencyKey)>,
    /// The accounts that changed.
    pub changed: Vec<AccountId>,
}

/// Runs `batch` in order over `facts`, which it changes to the state after the batch.
///
/// `recorded_at_us` is the batch's time, microseconds since the Unix epoch, UTC.
#[must_use]
pub fn fold(batch: &[Command], facts: &mut Facts, recorded_at_us: i64) -> Folded {
    let _ = (batch, facts, recorded_at_us);
    unimplemented!("placeholder until the core is written")
}
