//! The ledger's batch: read under lock, decide, write, in one database transaction.

use std::collections::{BTreeSet, HashMap};

use florin_ledger::{
    Account, AccountId, Batch, BatchHeader, Command, Facts, Folded, GENESIS_HASH, IdempotencyKey, Outcome,
    SystemAccount, TransactionId, Verdict, fold, merkle_root, system_account_id,
};

use crate::{BatchRows, Row, StoreError, Tx, Value};

/// Applies `batch` in order; one verdict a command. See [`florin_ledger::fold`] for what is applied whole.
///
/// `writer` is this node's chain and its stripe of the system accounts. The order of the reads matters: the chain's
/// head first, so that two nodes with the same number take turns; then the accounts; then the keys, so that whoever
/// waited for an account sees the answers given meanwhile.
///
/// # Errors
/// Those of the engine. A refusal is a verdict, not an error.
pub fn apply_batch_in_tx(
    tx: &mut dyn Tx,
    writer: u16,
    batch: Batch<'_>,
    recorded_at_us: i64,
) -> Result<Vec<Verdict>, StoreError> {
    let head = tx.lock_chain_head(writer)?;
    let (mut facts, missing_stripes) = read_facts(tx, writer, batch.commands, recorded_at_us)?;
    let folded = fold(batch, &mut facts, recorded_at_us);
    write_folded(tx, writer, head, batch.commands, &facts, &missing_stripes, &folded, recorded_at_us)?;
    Ok(folded.verdicts)
}

/// Whether this transaction is there, once every batch of `writer` that is still under way has ended.
///
/// For a commit whose outcome is unknown: taking the chain's head waits for whoever holds it.
///
/// # Errors
/// Those of the engine.
pub fn has_transaction_in_tx(tx: &mut dyn Tx, writer: u16, bucket: u16, id: TransactionId) -> Result<bool, StoreError> {
    tx.lock_chain_head(writer)?;
    let rows = tx.query(
        "SELECT id FROM transactions WHERE bucket = $1 AND id = $2",
        &[Value::Int(i64::from(bucket)), Value::Uuid(id.0)],
    )?;
    Ok(!rows.is_empty())
}

/// Whether all these answers are kept as they are here, once every batch of `writer` that is still under way has ended.
///
/// # Errors
/// Those of the engine.
pub fn has_answers_in_tx(
    tx: &mut dyn Tx,
    writer: u16,
    answers: &[(&IdempotencyKey, &Outcome)],
) -> Result<bool, StoreError> {
    if answers.is_empty() {
        return Ok(true);
    }
    tx.lock_chain_head(writer)?;
    let keys: Vec<_> = answers.iter().map(|(key, _)| *key).collect();
    let kept: HashMap<IdempotencyKey, Outcome> = tx.find_answers(&keys)?.into_iter().collect();
    Ok(answers.iter().all(|(key, outcome)| kept.get(*key) == Some(*outcome)))
}

/// The bucket of a transaction: that of its first leg on a wallet, else of its first leg.
#[must_use]
pub fn transaction_bucket(command: &Command) -> u16 {
    let stripe = |id: AccountId| id.0.get_version_num() == 8;
    let leg = command.legs.iter().find(|leg| !stripe(leg.account_id)).or_else(|| command.legs.first());
    leg.map_or(0, |leg| leg.account_id.bucket())
}

/// For each posting of a transaction, the account on the other side: the first leg with the other direction.
#[must_use]
pub fn counterpart_of(command: &Command, leg_index: usize) -> AccountId {
    let own = command.legs.get(leg_index);
    let other = command.legs.iter().find(|leg| own.is_some_and(|own| own.side != leg.side));
    other.or(own).map_or(AccountId(uuid::Uuid::nil()), |leg| leg.account_id)
}

fn read_facts(
    tx: &mut dyn Tx,
    writer: u16,
    batch: &[Command],
    recorded_at_us: i64,
) -> Result<(Facts, Vec<AccountId>), StoreError> {
    let ids: BTreeSet<AccountId> =
        batch.iter().flat_map(|command| command.legs.iter().map(|leg| leg.account_id)).collect();
    let ids: Vec<AccountId> = ids.into_iter().collect();
    let mut accounts: HashMap<AccountId, Account> =
        tx.lock_accounts(&ids)?.into_iter().map(|account| (account.id, account)).collect();
    let mut opened = Vec::new();
    // Nothing to look for in the ordinary case, where every account is there.
    let some_missing = accounts.len() < ids.len();
    for command in batch.iter().take(if some_missing { batch.len() } else { 0 }) {
        for system in SystemAccount::ALL {
            let id = system_account_id(system, command.asset.code(), writer);
            if ids.binary_search(&id).is_ok() && !accounts.contains_key(&id) {
                accounts.insert(id, system.open(command.asset, writer, recorded_at_us));
                opened.push(id);
            }
        }
    }
    let keys: Vec<_> = batch.iter().filter_map(|command| command.idempotency.as_ref()).collect();
    let answers = if keys.is_empty() { Vec::new() } else { tx.find_answers(&keys)? };
    let answered =
        answers.into_iter().map(|(key, outcome)| ((key.scope, key.key), (key.fingerprint, outcome))).collect();
    Ok((Facts { accounts, answered }, opened))
}

#[expect(clippy::too_many_arguments, reason = "one private step of one function: its locals")]
fn write_folded(
    tx: &mut dyn Tx,
    writer: u16,
    head: Option<(i64, [u8; 32])>,
    batch: &[Command],
    facts: &Facts,
    missing_stripes: &[AccountId],
    folded: &Folded,
    recorded_at_us: i64,
) -> Result<(), StoreError> {
    if folded.applied.is_empty() && folded.answered.is_empty() {
        return Ok(());
    }
    let applied: Vec<_> = folded.applied_of(batch).collect();
    let hashes: Vec<_> = applied.iter().map(|(_, applied)| applied.hash).collect();
    let (number, previous_hash) = head.unwrap_or((0, GENESIS_HASH));
    let header = BatchHeader {
        writer,
        number: number + 1,
        previous_hash,
        merkle_root: merkle_root(&hashes),
        transactions: u32::try_from(applied.len()).unwrap_or(u32::MAX),
        recorded_at_us,
    };
    let changed: Vec<&Account> = folded.changed.iter().filter_map(|id| facts.accounts.get(id)).collect();
    let opened = changed.iter().copied().filter(|account| missing_stripes.contains(&account.id)).collect();
    let answered = folded
        .answered
        .iter()
        .filter_map(|(index, key)| folded.verdicts.get(*index).map(|verdict| (key, &verdict.outcome)))
        .collect();
    let header = if applied.is_empty() { None } else { Some(&header) };
    tx.write_batch(&BatchRows { applied, changed, opened, answered, header, recorded_at_us })
}

/// One line of an account's history, newest first, as [`crate::POSTING_COLUMNS`].
///
/// # Errors
/// Those of the engine.
pub fn list_postings(tx: &mut dyn Tx, account_id: AccountId, filter: &PostingFilter) -> Result<Vec<Row>, StoreError> {
    tx.query(
        "SELECT account_id, version, transaction_id, leg, kind, side, amount, posted_after, pending_after, \
         counterpart_id, reason, recorded_at FROM postings \
         WHERE bucket = $1 AND account_id = $2 AND version < $3 \
         AND ($4 < 0 OR kind = $4) AND recorded_at >= $5 AND recorded_at < $6 AND amount >= $7 AND amount <= $8 \
         ORDER BY version DESC LIMIT $9",
        &[
            Value::Int(i64::from(account_id.bucket())),
            Value::Uuid(account_id.0),
            Value::Int(filter.before_version),
            Value::Int(filter.kind_code),
            Value::Time(filter.from_us),
            Value::Time(filter.to_us),
            Value::Minor(filter.min_minor),
            Value::Minor(filter.max_minor),
            Value::Int(filter.limit),
        ],
    )
}

/// Which postings to list. Every bound is always there: the widest one lets everything pass.
#[derive(Debug, Clone, Copy)]
pub struct PostingFilter {
    /// Only places before this one.
    pub before_version: i64,
    /// Only this kind (see [`crate::codes::kind_code`]); -1 for all.
    pub kind_code: i64,
    /// Recorded at or after, microseconds since the Unix epoch, UTC.
    pub from_us: i64,
    /// Recorded before, microseconds since the Unix epoch, UTC.
    pub to_us: i64,
    /// Amount at least, minor units.
    pub min_minor: i128,
    /// Amount at most, minor units.
    pub max_minor: i128,
    /// At most so many.
    pub limit: i64,
}
