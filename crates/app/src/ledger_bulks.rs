//! Bulks that are in one batch: put together, and told apart again when they are answered.

use std::{mem, sync::Arc};

use florin_ledger::Command;
use florin_store::StoreError;
use tokio::sync::oneshot;

use crate::{
    Failure,
    commit_queue::{Bulk, BulkAnswer, WaitingBulk},
    ledger_batch::{BulkPart, Written},
    ledger_writer::{count_rejections, failure},
};

/// Bulks of one batch, and who waits for their verdicts.
pub(crate) struct Bulks {
    /// Of all of them, in order, and then whatever else is in the batch.
    pub(crate) commands: Vec<Command>,
    pub(crate) parts: Vec<BulkPart>,
    waiting: Vec<Waiting>,
}

struct Waiting {
    enqueued_us: i64,
    answer: oneshot::Sender<Result<BulkAnswer, Failure>>,
}

impl Bulks {
    pub(crate) fn of(bulks: Vec<WaitingBulk>) -> Self {
        let (mut commands, mut parts, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
        for WaitingBulk { bulk, enqueued_us, answer } in bulks {
            let Bulk { commands: mut own, atomic, companion, keyed } = bulk;
            parts.push(BulkPart { len: own.len(), atomic, companion, keyed });
            waiting.push(Waiting { enqueued_us, answer });
            if commands.is_empty() {
                commands = own;
            } else {
                commands.append(&mut own);
            }
        }
        Self { commands, parts, waiting }
    }

    /// Puts single commands behind those of the bulks.
    pub(crate) fn add(&mut self, mut commands: Vec<Command>) {
        if self.commands.is_empty() {
            self.commands = commands;
        } else {
            self.commands.append(&mut commands);
        }
    }

    /// Whether a bulk has rows of its own to write.
    pub(crate) fn has_companion(&self) -> bool {
        self.parts.iter().any(|part| part.companion.is_some())
    }

    /// To each its commands and verdicts: all share one copy of them.
    pub(crate) fn answer(self, mut written: Written) {
        if self.parts.is_empty() {
            return;
        }
        count_rejections(&written.verdicts);
        let decided = Arc::new((self.commands, mem::take(&mut written.verdicts)));
        let (mut command, mut verdict) = (0, 0);
        for (place, (part, Waiting { answer, .. })) in self.parts.into_iter().zip(self.waiting).enumerate() {
            let commands = command..command + part.len;
            let verdicts = verdict..verdict + written.verdicts_of(place, &part);
            (command, verdict) = (commands.end, verdicts.end);
            if let Some(mut keyed) = part.keyed {
                keyed.found(written.take_answer_of(place));
            }
            // A caller that went away loses its answer, not its effect.
            let _ = answer.send(Ok(BulkAnswer::part(Arc::clone(&decided), commands, verdicts)));
        }
    }

    /// Refuses the bulk at this place and gives back the others, and what else was in the batch; without a place it
    /// refuses all of them.
    pub(crate) fn refuse(mut self, place: Option<usize>, error: &StoreError) -> (Vec<WaitingBulk>, Vec<Command>) {
        let mut others = Vec::new();
        for (own, (part, Waiting { enqueued_us, answer })) in self.parts.into_iter().zip(self.waiting).enumerate() {
            let rest = self.commands.split_off(part.len);
            let commands = mem::replace(&mut self.commands, rest);
            if place.is_none_or(|place| place == own) {
                let _ = answer.send(Err(failure(error)));
            } else {
                let BulkPart { atomic, companion, keyed, .. } = part;
                let bulk = Bulk { commands, atomic, companion, keyed };
                others.push(WaitingBulk { bulk, enqueued_us, answer });
            }
        }
        (others, self.commands)
    }
}
