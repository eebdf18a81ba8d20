//! Batches that were hashed in the first form stay as they are, among those in the second.

use florin_ledger::{
    Applied, Batch, BatchHeader, Facts, HashForm, IdempotencyKey, Outcome, TransactionRecord, Verdict, fold,
    merkle_root, transaction_hash,
};
use florin_store::{BatchFacts, BatchRows, Engine, ledger::apply_batch_in_tx, read, verify::verify, write};

use super::batches::{deposit, open_wallet};

/// A chain that begins in the first form and goes on in the second: it proves clean, and every key has the answer, with
/// the hash, that was given for it.
pub fn both_forms_of_hashing_are_read(engine: &dyn Engine) {
    engine.migrate().unwrap();
    let wallet = open_wallet(engine, 1).id;
    let [opening, first, second] = [101, 102, 103].map(|transaction| deposit(transaction, wallet, 7));
    let apply = |command| {
        let applied = write(engine, |tx| apply_batch_in_tx(tx, 3, Batch::each(std::slice::from_ref(command)), 42));
        applied.unwrap().verdicts.remove(0).outcome
    };
    // The stripe is opened by it.
    apply(&opening);
    let old = write(engine, |tx| {
        let ids: Vec<_> = first.legs.iter().map(|leg| leg.account_id).collect();
        let BatchFacts { head, accounts, .. } = tx.begin_batch(3, &ids, &[])?;
        let (head, mut facts) = (head.unwrap(), Facts { accounts, ..Facts::default() });
        let commands = std::slice::from_ref(&first);
        let folded = fold(Batch::each(commands), &mut facts, 43);
        let Verdict { outcome: Outcome::Applied(applied), .. } = &folded.verdicts[0] else { panic!("{folded:?}") };
        let record = TransactionRecord::of_command(&first, 43, &applied.legs);
        let applied = Applied { hash: transaction_hash(&record, HashForm::V1), ..applied.clone() };
        let header = BatchHeader {
            form: HashForm::V1,
            writer: 3,
            number: head.number + 1,
            previous_hash: head.hash,
            merkle_root: merkle_root(&[applied.hash], HashForm::V1),
            transactions: 1,
            recorded_at_us: 43,
        };
        let outcome = Outcome::Applied(applied.clone());
        tx.write_batch(&BatchRows {
            applied: vec![(&first, &applied)],
            changed: folded.changed.iter().map(|id| &facts.accounts[id]).collect(),
            opened: Vec::new(),
            answered: vec![(first.idempotency.as_ref().unwrap(), &outcome)],
            header: Some(&header),
            recorded_at_us: 43,
        })?;
        Ok(outcome)
    })
    .unwrap();
    let new = apply(&second);

    let keys: [&IdempotencyKey; 2] = [&first, &second].map(|command| command.idempotency.as_ref().unwrap());
    let mut answers = read(engine, |tx| tx.find_answers(&keys)).unwrap();
    answers.sort_unstable_by(|left, right| left.0.key.cmp(&right.0.key));
    assert_eq!(answers.into_iter().map(|(_, outcome)| outcome).collect::<Vec<_>>(), [old, new]);
    let forms = read(engine, |tx| {
        let batches = tx.list_batches(3, 0, &|_| Some(first.asset))?;
        Ok(batches.iter().map(|batch| batch.header.form).collect::<Vec<_>>())
    });
    assert_eq!(forms.unwrap(), [HashForm::V2, HashForm::V1, HashForm::V2]);
    assert_eq!(verify(engine, &mut |_| {}).unwrap().divergence, None);
}
