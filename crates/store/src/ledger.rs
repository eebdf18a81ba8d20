//! The ledger's batch: read, decide, write, in one database transaction.

use std::collections::BTreeSet;

use florin_ledger::{
    Account, AccountId, AccountMap, Batch, BatchHeader, Command, Facts, Folded, GENESIS_HASH, HashForm, Outcome,
    SystemAccount, Verdict, fold, system_account_id,
};

use crate::{BatchFacts, BatchRows, ChainHead, StoreError, Tx};

/// Applies `batch` in order; one verdict a command. See [`florin_ledger::fold`] for what is applied whole.
///
/// `writer` is this node's chain and its stripe of the system accounts. The order of the reads matters: the keys after
/// the accounts, so that whoever waited for an account sees the answers given meanwhile.
///
/// # Errors
/// Those of the engine. A refusal is a verdict, not an error.
pub fn apply_batch_in_tx(
    tx: &mut dyn Tx,
    writer: u16,
    batch: Batch<'_>,
    now_us: i64,
) -> Result<AppliedBatch, StoreError> {
    let ids = accounts_of(batch.commands);
    let keys: Vec<_> = batch.commands.iter().filter_map(|command| command.idempotency.as_ref()).collect();
    let BatchFacts { head, accounts, answers } = tx.begin_batch(writer, &ids, &keys)?;
    let answered = answers.into_iter().map(|(key, outcome)| ((key.scope, key.key), (key.fingerprint, outcome)));
    let mut facts = Facts { accounts, answered: answered.collect() };
    let missing_stripes = open_missing_stripes(&mut facts.accounts, &ids, writer, batch.commands, now_us);
    // The clock may step back between batches; recorded time does not, neither a chain's nor an account's.
    let last_us = facts.accounts.values().map(|account| account.updated_at_us).max();
    let recorded_at_us = now_us.max(head.map_or(i64::MIN, |head| head.recorded_at_us)).max(last_us.unwrap_or(i64::MIN));
    let folded = fold(batch, &mut facts, recorded_at_us);
    confirm_refusals(tx, batch.commands, &folded.verdicts)?;
    let header = write_folded(tx, writer, head, batch.commands, &facts, &missing_stripes, &folded, recorded_at_us)?;
    Ok(AppliedBatch { verdicts: folded.verdicts, header })
}

/// What a batch came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedBatch {
    /// One verdict a command, in order.
    pub verdicts: Vec<Verdict>,
    /// The chain's new header; none if nothing was applied.
    pub header: Option<BatchHeader>,
}

/// Whether the batch with this header is there.
///
/// For a commit whose outcome is unknown: a batch is one database transaction, so its header tells of all. One that is
/// still under way is not there yet. Who writes another batch in this transaction looks again behind it: either the one
/// arrived before the end of the chain was read, and is seen then, or its place in the chain is taken.
///
/// # Errors
/// Those of the engine.
pub fn has_header_in_tx(tx: &mut dyn Tx, header: &BatchHeader) -> Result<bool, StoreError> {
    Ok(tx.lock_header(header.writer, header.number)? == Some(header.hash()))
}

/// What is refused is refused on figures that are still true.
fn confirm_refusals(tx: &mut dyn Tx, commands: &[Command], verdicts: &[Verdict]) -> Result<(), StoreError> {
    let refused = commands
        .iter()
        .zip(verdicts)
        .filter(|(_, verdict)| !verdict.replayed && matches!(verdict.outcome, Outcome::Rejected(_)));
    let ids: BTreeSet<AccountId> =
        refused.flat_map(|(command, _)| command.legs.iter().map(|leg| leg.account_id)).collect();
    if ids.is_empty() { Ok(()) } else { tx.confirm_accounts(&ids.into_iter().collect::<Vec<_>>()) }
}

/// Sorted, each once.
fn accounts_of(batch: &[Command]) -> Vec<AccountId> {
    let mut ids: Vec<AccountId> =
        batch.iter().flat_map(|command| command.legs.iter().map(|leg| leg.account_id)).collect();
    AccountId::sort(&mut ids);
    ids
}

/// Opens the stripes that are used for the first time; their ids.
fn open_missing_stripes(
    accounts: &mut AccountMap<Account>,
    ids: &[AccountId],
    writer: u16,
    batch: &[Command],
    now_us: i64,
) -> Vec<AccountId> {
    let mut opened = Vec::new();
    // Nothing to look for in the ordinary case, where every account is there.
    let some_missing = accounts.len() < ids.len();
    for command in batch.iter().take(if some_missing { batch.len() } else { 0 }) {
        for system in SystemAccount::ALL {
            let id = system_account_id(system, command.asset.code(), writer);
            if ids.binary_search(&id).is_ok() && !accounts.contains_key(&id) {
                accounts.insert(id, system.open(command.asset, writer, now_us));
                opened.push(id);
            }
        }
    }
    opened
}

#[expect(clippy::too_many_arguments, reason = "one private step of one function: its locals")]
fn write_folded(
    tx: &mut dyn Tx,
    writer: u16,
    head: Option<ChainHead>,
    batch: &[Command],
    facts: &Facts,
    missing_stripes: &[AccountId],
    folded: &Folded,
    recorded_at_us: i64,
) -> Result<Option<BatchHeader>, StoreError> {
    if folded.applied.is_empty() && folded.answered.is_empty() {
        return Ok(None);
    }
    let applied: Vec<_> = folded.applied_of(batch).collect();
    let (number, previous_hash) = head.map_or((0, GENESIS_HASH), |head| (head.number, head.hash));
    let header = BatchHeader {
        form: HashForm::CURRENT,
        writer,
        number: number + 1,
        previous_hash,
        merkle_root: folded.merkle_root,
        transactions: u32::try_from(applied.len()).unwrap_or(u32::MAX),
        recorded_at_us,
    };
    let changed: Vec<&Account> = folded.changed.iter().filter_map(|id| facts.accounts.get(id)).collect();
    let opened = changed.iter().copied().filter(|account| missing_stripes.contains(&account.id)).collect();
    let answered = folded.answers_of(batch).collect();
    let header = (!applied.is_empty()).then_some(header);
    tx.write_batch(&BatchRows { applied, changed, opened, answered, header: header.as_ref(), recorded_at_us })?;
    Ok(header)
}
