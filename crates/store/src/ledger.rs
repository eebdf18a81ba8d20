//! The ledger's batch: read under lock, decide, write, in one database transaction.

use florin_ledger::{Command, Verdict};

use crate::{StoreError, Tx};

/// Applies `batch` in order; one verdict a command.
///
/// `writer` is this node's chain and its stripe of the system accounts.
///
/// # Errors
/// Those of the engine. A refusal is a verdict, not an error.
pub fn apply_batch_in_tx(
    tx: &mut dyn Tx,
    writer: u16,
    batch: &[Command],
    recorded_at_us: i64,
) -> Result<Vec<Verdict>, StoreError> {
    let _ = (tx, writer, batch, recorded_at_us);
    Err(StoreError::Internal("not built".to_owned()))
}
