//! One batch, one database transaction: how it is applied, and what becomes of it when the answer is lost.

use std::{borrow::Cow, future, ops::Range, pin::pin, sync::Arc};

use florin_ledger::{Batch, BatchHeader, Command, Verdict, bucket_of};
use florin_store::{
    Begun, Engine, Interruption, NotDone, StoreError, Ticket, Tx, ledger, request_answer::RequestAnswer,
};

use crate::{
    commit_queue::{Companion, KeyedAnswer},
    port::Clock,
};

/// How often a batch is tried whose outcome is unknown, before its callers are told to ask again.
const TRIES_MAX: u32 = 30;
/// How long to wait between two tries, microseconds.
const PAUSE_US: u64 = 500_000;

/// The commands of one batch: those of bulks, then the single ones.
pub(crate) struct Together<'a> {
    pub(crate) commands: &'a [Command],
    /// In the order of their commands.
    pub(crate) bulks: &'a mut [BulkPart],
}

/// A bulk in a batch.
pub(crate) struct BulkPart {
    /// How many of the batch's commands are its own.
    pub(crate) len: usize,
    pub(crate) atomic: bool,
    pub(crate) companion: Option<Box<dyn Companion>>,
    pub(crate) keyed: Option<Box<dyn KeyedAnswer>>,
}

/// What came of a batch.
#[derive(Default)]
pub(crate) struct Written {
    /// In the order of the commands; none for those that are left out.
    pub(crate) verdicts: Vec<Verdict>,
    /// The chain's new header, if anything was applied.
    header: Option<BatchHeader>,
    /// The bulks that were applied before, by their place among the bulks.
    left_out: Vec<usize>,
    /// What was found under the keys of those that are left out because of it, likewise.
    answered: Vec<(usize, RequestAnswer)>,
    /// The bulk whose doing it was that nothing was written, by its place.
    by_bulk: Option<usize>,
}

impl Written {
    /// How many verdicts the bulk at this place has.
    pub(crate) fn verdicts_of(&self, place: usize, bulk: &BulkPart) -> usize {
        if self.left_out.contains(&place) { 0 } else { bulk.len }
    }

    /// What the key of the bulk at this place was answered before.
    pub(crate) fn take_answer_of(&mut self, place: usize) -> Option<RequestAnswer> {
        let index = self.answered.iter().position(|(answered, _)| *answered == place)?;
        Some(self.answered.swap_remove(index).1)
    }
}

/// Why a batch was not written.
pub(crate) struct NotWritten {
    pub(crate) error: StoreError,
    /// The bulk whose companion's or answer's doing it was, by its place.
    pub(crate) by_bulk: Option<usize>,
}

impl NotWritten {
    fn of(error: StoreError, by_bulk: Option<usize>) -> Self {
        // It is nobody's doing when the database is away.
        let by_bulk = by_bulk.filter(|_| !matches!(error, StoreError::Unavailable(_)));
        Self { error, by_bulk }
    }
}

/// Writes batches to one chain.
pub(crate) struct BatchWriter {
    engine: Arc<dyn Engine>,
    clock: Arc<dyn Clock>,
    writer: u16,
}

impl BatchWriter {
    pub(crate) fn new(engine: Arc<dyn Engine>, clock: Arc<dyn Clock>, writer: u16) -> Self {
        Self { engine, clock, writer }
    }

    /// Applies the commands and commits them.
    pub(crate) fn apply(&self, together: Together<'_>) -> Result<Written, NotWritten> {
        self.apply_unless_there(together, Vec::new())
    }

    /// Decides commands, and may leave them on their way; see [`Engine::begin_write`].
    pub(crate) fn begin(
        &self,
        behind: Option<Ticket>,
        mut together: Together<'_>,
    ) -> (Written, Result<Begun, NotDone>) {
        let recorded_at_us = self.clock.now_us();
        let (mut written, mut by_bulk) = (Written::default(), None);
        let begun = self.engine.begin_write(behind, &mut |tx| {
            written = self.apply_in_tx(tx, &mut together, recorded_at_us, &mut by_bulk)?;
            Ok(())
        });
        (Written { by_bulk, ..written }, begun)
    }

    /// Waits for the end of a batch that is on its way.
    pub(crate) fn end(&self, ticket: Ticket) -> Result<(), NotDone> {
        let interrupted = || NotDone::Failed(StoreError::OutcomeUnknown("nothing ended the wait for it".to_owned()));
        self.end_unless(ticket, pin!(future::pending())).unwrap_or_else(|| Err(interrupted()))
    }

    /// The same; nothing when `interruption` is over before.
    pub(crate) fn end_unless(&self, ticket: Ticket, interruption: Interruption<'_>) -> Option<Result<(), NotDone>> {
        self.engine.end_write(ticket, interruption)
    }

    /// What came of commands that were begun, by how they ended: what was not done is done now.
    pub(crate) fn settle(
        &self,
        together: Together<'_>,
        written: Written,
        end: Result<(), NotDone>,
    ) -> Result<Written, NotWritten> {
        match end {
            Ok(()) => Ok(written),
            Err(NotDone::Again(_)) => self.apply(together),
            Err(NotDone::Failed(StoreError::OutcomeUnknown(cause))) => {
                tracing::warn!(%cause, "the outcome of a batch is unknown");
                self.apply_unless_there(together, vec![written])
            }
            Err(NotDone::Failed(error)) => Err(NotWritten::of(error, written.by_bulk)),
        }
    }

    /// `attempts`: what it came to each time when the answer was lost. They are looked up in the database transaction
    /// that would write it again: if that one takes their place in the chain, they find it taken, however late they
    /// come. What left no header left nothing, or what its bulks find when they begin again.
    fn apply_unless_there(
        &self,
        mut together: Together<'_>,
        mut attempts: Vec<Written>,
    ) -> Result<Written, NotWritten> {
        let recorded_at_us = self.clock.now_us();
        for _ in 0..TRIES_MAX {
            let (mut written, mut found, mut by_bulk) = (Written::default(), None, None);
            let result = self.engine.write(&mut |tx| {
                found = Self::find_there(tx, &attempts)?;
                if found.is_some() {
                    return Ok(());
                }
                written = self.apply_in_tx(tx, &mut together, recorded_at_us, &mut by_bulk)?;
                Self::refuse_late(tx, &attempts, &written)
            });
            match (result, found) {
                (Ok(()), None) => return Ok(written),
                (Ok(()), Some(attempt)) => return Ok(attempts.swap_remove(attempt)),
                (Err(StoreError::OutcomeUnknown(cause)), None) => {
                    tracing::warn!(%cause, "the outcome of a batch is unknown");
                    attempts.push(written);
                    // The first look may be the last one.
                    if attempts.len() == 1 {
                        continue;
                    }
                }
                (Err(error), _) if attempts.is_empty() => {
                    return Err(NotWritten::of(error, by_bulk));
                }
                (Err(error), _) => tracing::warn!(%error, "looking up a batch whose outcome is unknown"),
            }
            self.clock.pause_us(PAUSE_US);
        }
        let error = StoreError::OutcomeUnknown("the database does not say what became of a batch".to_owned());
        Err(NotWritten { error, by_bulk: None })
    }

    /// An error when one of these attempts arrived after the look for it, and before the end of the chain was read:
    /// then the batch is there and stands behind itself. One that arrives after that finds its place taken.
    fn refuse_late(tx: &mut dyn Tx, attempts: &[Written], written: &Written) -> Result<(), StoreError> {
        for header in attempts.iter().filter_map(|attempt| attempt.header.as_ref()) {
            // What was just written may be the same as an attempt: then that one is not there.
            if Some(header) != written.header.as_ref() && ledger::has_header_in_tx(tx, header)? {
                return Err(StoreError::Unavailable("a batch whose outcome was unknown arrived meanwhile".to_owned()));
            }
        }
        Ok(())
    }

    /// `by_bulk`: the one at work.
    fn apply_in_tx(
        &self,
        tx: &mut dyn Tx,
        together: &mut Together<'_>,
        recorded_at_us: i64,
        by_bulk: &mut Option<usize>,
    ) -> Result<Written, StoreError> {
        let mut left_out = Vec::new();
        for (place, companion) in by_subject(together.bulks) {
            *by_bulk = Some(place);
            if !companion.begin(tx)? {
                left_out.push(place);
            }
        }
        *by_bulk = None;
        let answered = find_answered(tx, together.bulks)?;
        left_out.extend(answered.iter().map(|(place, _)| *place));
        let (commands, own) = without(together, &left_out);
        let is_whole = |place: &usize| together.bulks[*place].atomic && !own[*place].is_empty();
        let atomic: Vec<Range<usize>> = (0..own.len()).filter(is_whole).map(|place| own[place].clone()).collect();
        let written = self.fold(tx, Batch { commands: &commands, atomic: &atomic }, recorded_at_us)?;
        let mut answers = Vec::new();
        for (place, (bulk, own)) in together.bulks.iter_mut().zip(own).enumerate() {
            if left_out.contains(&place) {
                continue;
            }
            *by_bulk = Some(place);
            let (commands, verdicts) = (&commands[own.clone()], &written.verdicts[own]);
            if let Some(companion) = &mut bulk.companion {
                companion.finish(tx, commands, verdicts)?;
            }
            if let Some(keyed) = &mut bulk.keyed {
                let answer = keyed.keep(commands, verdicts)?;
                answers.push((keyed.key(), answer));
            }
        }
        *by_bulk = None;
        // The order in which every node writes them: nobody waits in a circle.
        answers.sort_unstable_by_key(|(key, _)| (bucket_of(key.scope), key.scope, &key.key));
        tx.keep_request_answers(&answers, recorded_at_us)?;
        Ok(Written { left_out, answered, ..written })
    }

    fn fold(&self, tx: &mut dyn Tx, batch: Batch<'_>, recorded_at_us: i64) -> Result<Written, StoreError> {
        // A companion or an answer alone: the chain has nothing to do with it.
        if batch.commands.is_empty() {
            return Ok(Written::default());
        }
        let applied = ledger::apply_batch_in_tx(tx, self.writer, batch, recorded_at_us)?;
        Ok(Written { verdicts: applied.verdicts, header: applied.header, ..Written::default() })
    }

    /// Which of these attempts is stored. A batch is one database transaction, so its header tells of all. One without
    /// a header applied nothing: what it refused under a key is found when that key is decided on again.
    fn find_there(tx: &mut dyn Tx, attempts: &[Written]) -> Result<Option<usize>, StoreError> {
        // Two attempts that applied the same have one header. The verdicts of the last one count: it saw all that was
        // stored before it, and an earlier one that saw less is refused where that matters, at a key.
        for (index, attempt) in attempts.iter().enumerate().rev() {
            if let Some(header) = &attempt.header
                && ledger::has_header_in_tx(tx, header)?
            {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }
}

/// The places of bulks whose keys were answered before, with the answers.
fn find_answered(tx: &mut dyn Tx, bulks: &[BulkPart]) -> Result<Vec<(usize, RequestAnswer)>, StoreError> {
    let own = bulks.iter().enumerate().filter_map(|(place, bulk)| Some((place, bulk.keyed.as_ref()?.key())));
    let (places, keys): (Vec<_>, Vec<_>) = own.unzip();
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let earlier = tx.find_request_answers(&keys)?;
    Ok(places.into_iter().zip(earlier).filter_map(|(place, earlier)| Some((place, earlier?))).collect())
}

/// The companions, with the places of their bulks, in one order everywhere: what they lock they lock in it, and nobody
/// waits in a circle.
fn by_subject(bulks: &mut [BulkPart]) -> Vec<(usize, &mut Box<dyn Companion>)> {
    let own = bulks.iter_mut().enumerate().filter_map(|(place, bulk)| Some((place, bulk.companion.as_mut()?)));
    let mut companions: Vec<_> = own.collect();
    companions.sort_by_cached_key(|(_, companion)| companion.subject());
    companions
}

/// The commands without those of bulks that are left out, and which of them are each bulk's own.
fn without<'a>(together: &Together<'a>, left_out: &[usize]) -> (Cow<'a, [Command]>, Vec<Range<usize>>) {
    let (mut commands, mut own, mut start) = (Cow::Borrowed(together.commands), Vec::new(), 0);
    for (place, bulk) in together.bulks.iter().enumerate() {
        let end = start + bulk.len;
        if left_out.contains(&place) {
            commands.to_mut().drain(start..end);
            own.push(start..start);
        } else {
            own.push(start..end);
            start = end;
        }
    }
    (commands, own)
}
