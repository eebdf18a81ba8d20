//! An engine around another, at whose every call something may go wrong.

use std::{collections::HashMap, future::pending, panic::resume_unwind, pin::pin, sync::Arc};

use florin_ledger::{Account, AccountId, AccountMap, Applied, Command, IdempotencyKey, Outcome};
use florin_money::Asset;
use florin_store::{
    BatchRows, Begun, ChainHead, Engine, EngineKind, EngineStatus, Interruption, NotDone, PostingFilter, PostingPage,
    Row, StoreError, StoredBatch, Ticket, Tx, Value, Work, request_answer::RequestAnswer,
};
use futures_util::FutureExt as _;
use parking_lot::Mutex;

use super::{
    disk::Disk,
    faults::{AtCall, AtCommit, Faults, Victim},
};

/// How often a transaction is tried that others got in the way of.
const TRIES: u32 = 10;

/// What a killed process unwinds with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Killed(pub Victim);

/// A defect of the engine, put in on purpose to see that it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// Says that a commit was done that was not.
    CommitForgotten,
    /// Does not store the answers to keys.
    KeysForgotten,
    /// Does not store the last balance that a batch changed.
    BalanceForgotten,
    /// Says that a commit whose answer was lost was done.
    UnknownTakenForDone,
    /// Does not find a batch that is there: it is written again.
    BatchNotFound,
}

/// The wrapped engine.
pub struct FaultyEngine<E> {
    inner: E,
    faults: Arc<Faults>,
    disk: Arc<Mutex<Disk>>,
    lie: Option<Lie>,
    under_way: Mutex<UnderWay>,
}

/// Writes that their callers left on their way. Nobody was told yet how they end.
#[derive(Default)]
struct UnderWay {
    tickets: u64,
    left: HashMap<Ticket, Left>,
}

enum Left {
    /// That is settled.
    Ended(Result<(), NotDone>),
    /// It is on its way in the engine within, and this will happen to it.
    Within(Ticket, AtCommit),
}

impl<E: Engine> FaultyEngine<E> {
    /// Wraps `inner`, whose files are on `disk`.
    pub fn new(inner: E, faults: Arc<Faults>, disk: Arc<Mutex<Disk>>, lie: Option<Lie>) -> Self {
        Self { inner, faults, disk, lie, under_way: Mutex::default() }
    }

    fn kill(&self, victim: Victim) -> ! {
        kill(&self.disk, victim)
    }

    /// Power is lost somewhere in the commit that made the log grow from `before_bytes`.
    fn tear(&self, before_bytes: u64) -> ! {
        let mut disk = self.disk.lock();
        let after_bytes = disk.log_bytes();
        let kept_bytes = before_bytes + self.faults.below(after_bytes.saturating_sub(before_bytes) + 1);
        let torn = disk.end_life().and_then(|()| disk.cut_log(kept_bytes));
        drop(disk);
        self.faults.note(|| format!("  the log is cut at {kept_bytes} of {before_bytes}..{after_bytes}"));
        assert!(torn.is_ok(), "the disk could not be copied: {torn:?}");
        resume_unwind(Box::new(Killed(Victim::Machine)))
    }

    /// Leaves a write on its way, or tells its end at once, as an engine does that cannot leave it.
    fn leave(&self, left: Left) -> Result<Begun, NotDone> {
        let ends_at_once = self.faults.below(4) == 0;
        let mut under_way = self.under_way.lock();
        let is_first = under_way.left.values().all(|left| matches!(left, Left::Ended(_)));
        if ends_at_once && (is_first || matches!(left, Left::Ended(_))) {
            drop(under_way);
            return self.end(left).map(|()| Begun::Done);
        }
        under_way.tickets += 1;
        let ticket = Ticket(under_way.tickets);
        under_way.left.insert(ticket, left);
        Ok(Begun::UnderWay(ticket))
    }

    /// How a write ends that was begun behind this one, if that came to nothing or nobody knows.
    fn doom(&self, behind: Option<Ticket>) -> Option<NotDone> {
        match self.under_way.lock().left.get(&behind?)? {
            Left::Ended(Err(NotDone::Failed(StoreError::OutcomeUnknown(_))))
            | Left::Within(_, AtCommit::LoseDone | AtCommit::LoseUndone) => Some(NotDone::Failed(unknown())),
            Left::Ended(Err(_)) => Some(NotDone::Again(injected("the write before it came to nothing"))),
            Left::Ended(Ok(())) | Left::Within(..) => None,
        }
    }

    /// Behind what the engine within shall decide it, if it shall. Behind nothing, it comes before what others have on
    /// their way there, which comes to nothing.
    fn place_within(&self, behind: Option<Ticket>) -> Option<Option<Ticket>> {
        let mut under_way = self.under_way.lock();
        let Some(behind) = behind else {
            if self.faults.below(4) == 0 {
                return None;
            }
            for left in under_way.left.values_mut().filter(|left| matches!(left, Left::Within(..))) {
                *left = Left::Ended(Err(NotDone::Again(injected("another write came first"))));
            }
            return Some(None);
        };
        match under_way.left.get(&behind) {
            Some(Left::Within(within, _)) => Some(Some(*within)),
            _ => None,
        }
    }

    /// Decided by the engine within before its transaction begins, and written when its end is asked for.
    fn begin_within(&self, behind: Option<Ticket>, work: Work<'_>) -> Left {
        let (mut fate, mut broken) = (AtCommit::Nothing, None);
        let begun = self.inner.begin_write(behind, &mut |tx| {
            let mut faulty = FaultyTx::new(tx, &self.faults, &self.disk, self.lie);
            let result = work(&mut faulty);
            broken = faulty.broken;
            result?;
            fate = self.faults.at_commit();
            Ok(())
        });
        match (broken, begun) {
            (Some(Broken::Retry), _) => Left::Ended(Err(NotDone::Again(injected("others got in the way")))),
            (Some(Broken::Lost), _) => Left::Ended(Err(NotDone::Failed(injected("the connection was lost")))),
            (None, Ok(Begun::UnderWay(within))) => Left::Within(within, fate),
            (None, end) => Left::Ended(end.map(drop)),
        }
    }

    fn end(&self, left: Left) -> Result<(), NotDone> {
        let (within, fate) = match left {
            Left::Ended(end) => return end,
            Left::Within(within, fate) => (within, fate),
        };
        match fate {
            AtCommit::KillBefore(victim) => self.kill(victim),
            AtCommit::Refuse => return Err(NotDone::Failed(injected("not committed"))),
            AtCommit::Retry => return Err(NotDone::Again(injected("others got in the way"))),
            AtCommit::LoseUndone if self.lie == Some(Lie::UnknownTakenForDone) => return Ok(()),
            AtCommit::LoseUndone => return Err(NotDone::Failed(unknown())),
            AtCommit::Nothing if self.lie == Some(Lie::CommitForgotten) && self.faults.below(8) == 0 => return Ok(()),
            _ => {}
        }
        let log_bytes = if fate == AtCommit::Tear { self.disk.lock().log_bytes() } else { 0 };
        let waited_for = self.inner.end_write(within, pin!(pending()));
        waited_for.unwrap_or_else(|| Err(NotDone::Failed(injected("nobody waited for it"))))?;
        match fate {
            AtCommit::KillAfter(victim) => self.kill(victim),
            AtCommit::Tear => self.tear(log_bytes),
            AtCommit::LoseDone if self.lie != Some(Lie::UnknownTakenForDone) => Err(NotDone::Failed(unknown())),
            _ => Ok(()),
        }
    }

    /// One try. `None`: run it again.
    fn attempt(&self, work: Work<'_>) -> Option<Result<(), StoreError>> {
        let mut fate = AtCommit::Nothing;
        let mut broken = None;
        let mut log_bytes = 0;
        let result = self.inner.write(&mut |tx| {
            let mut faulty = FaultyTx::new(tx, &self.faults, &self.disk, self.lie);
            let result = work(&mut faulty);
            broken = faulty.broken;
            if broken.is_some() {
                return Err(injected("the connection was lost"));
            }
            result?;
            fate = self.faults.at_commit();
            match fate {
                AtCommit::KillBefore(victim) => self.kill(victim),
                AtCommit::Refuse | AtCommit::LoseUndone | AtCommit::Retry => Err(injected("not committed")),
                AtCommit::Nothing if self.lie == Some(Lie::CommitForgotten) && self.faults.below(8) == 0 => {
                    fate = AtCommit::LoseUndone;
                    Err(injected("not committed"))
                }
                AtCommit::Tear => {
                    log_bytes = self.disk.lock().log_bytes();
                    Ok(())
                }
                AtCommit::Nothing | AtCommit::LoseDone | AtCommit::KillAfter(_) => Ok(()),
            }
        });
        match (broken, fate) {
            (Some(Broken::Retry), _) | (None, AtCommit::Retry) => None,
            (Some(Broken::Lost), _) => Some(result),
            (None, AtCommit::Nothing | AtCommit::Refuse | AtCommit::KillBefore(_)) => Some(result),
            (None, AtCommit::LoseUndone) if self.lie == Some(Lie::CommitForgotten) => Some(Ok(())),
            (None, AtCommit::LoseUndone | AtCommit::LoseDone) if self.lie == Some(Lie::UnknownTakenForDone) => {
                Some(Ok(()))
            }
            (None, AtCommit::LoseUndone) => Some(Err(unknown())),
            (None, AtCommit::LoseDone) => Some(result.and(Err(unknown()))),
            (None, AtCommit::KillAfter(victim)) if result.is_ok() => self.kill(victim),
            (None, AtCommit::Tear) if result.is_ok() => self.tear(log_bytes),
            (None, AtCommit::KillAfter(_) | AtCommit::Tear) => Some(result),
        }
    }
}

impl<E: Engine> Engine for FaultyEngine<E> {
    fn kind(&self) -> EngineKind {
        self.inner.kind()
    }

    fn peek_account(&self, id: AccountId) -> Option<Account> {
        self.inner.peek_account(id)
    }

    fn read(&self, work: Work<'_>) -> Result<(), StoreError> {
        self.inner.read(&mut |tx| {
            let mut faulty = FaultyTx { is_write: false, ..FaultyTx::new(tx, &self.faults, &self.disk, None) };
            let result = work(&mut faulty);
            if faulty.broken.is_some() { Err(injected("the connection was lost")) } else { result }
        })
    }

    fn write(&self, work: Work<'_>) -> Result<(), StoreError> {
        match self.faults.at_call() {
            AtCall::FailBefore | AtCall::FailAfter => return Err(injected("no connection")),
            AtCall::Kill(victim) => self.kill(victim),
            AtCall::Nothing | AtCall::Retry => {}
        }
        for _ in 0..TRIES {
            if let Some(result) = self.attempt(&mut *work) {
                return result;
            }
        }
        Err(injected("others got in the way again and again"))
    }

    fn begin_write(&self, behind: Option<Ticket>, work: Work<'_>) -> Result<Begun, NotDone> {
        if let Some(doom) = self.doom(behind) {
            // It is decided, on something that will not be, and then refused.
            let decided = self.inner.write(&mut |tx| work(tx).and(Err(injected("refused"))));
            assert!(decided.is_err());
            return self.leave(Left::Ended(Err(doom)));
        }
        match self.faults.at_call() {
            AtCall::FailBefore | AtCall::FailAfter => {
                return self.leave(Left::Ended(Err(NotDone::Failed(injected("no connection")))));
            }
            AtCall::Kill(victim) => self.kill(victim),
            AtCall::Nothing | AtCall::Retry => {}
        }
        if let Some(within) = self.place_within(behind) {
            return self.leave(self.begin_within(within, work));
        }
        self.leave(Left::Ended(match self.attempt(&mut *work) {
            None => Err(NotDone::Again(injected("others got in the way"))),
            Some(result) => result.map_err(NotDone::Failed),
        }))
    }

    fn end_write(&self, ticket: Ticket, interruption: Interruption<'_>) -> Option<Result<(), NotDone>> {
        if interruption.now_or_never().is_some() {
            return None;
        }
        let left = self.under_way.lock().left.remove(&ticket);
        Some(left.map_or_else(|| Err(NotDone::unknown(ticket)), |left| self.end(left)))
    }

    fn status(&self) -> Result<EngineStatus, StoreError> {
        self.inner.status()
    }

    fn migrate(&self) -> Result<Vec<&'static str>, StoreError> {
        self.inner.migrate()
    }
}

/// Why a transaction cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    Lost,
    Retry,
}

struct FaultyTx<'a> {
    tx: &'a mut dyn Tx,
    faults: &'a Faults,
    disk: &'a Mutex<Disk>,
    lie: Option<Lie>,
    broken: Option<Broken>,
    is_write: bool,
    assumes_new_keys: bool,
}

impl<'a> FaultyTx<'a> {
    fn new(tx: &'a mut dyn Tx, faults: &'a Faults, disk: &'a Mutex<Disk>, lie: Option<Lie>) -> Self {
        Self { tx, faults, disk, lie, broken: None, is_write: true, assumes_new_keys: false }
    }

    fn call<T>(&mut self, call: impl FnOnce(&mut dyn Tx) -> Result<T, StoreError>) -> Result<T, StoreError> {
        if self.broken.is_some() {
            return Err(StoreError::Internal("the transaction was lost before this call".to_owned()));
        }
        match self.faults.at_call() {
            AtCall::Nothing => call(self.tx),
            AtCall::Kill(victim) => kill(self.disk, victim),
            AtCall::FailBefore => self.end(Broken::Lost),
            AtCall::FailAfter => call(self.tx).and_then(|_| self.end(Broken::Lost)),
            AtCall::Retry => self.end(Broken::Retry),
        }
    }

    fn end<T>(&mut self, broken: Broken) -> Result<T, StoreError> {
        self.broken = Some(broken);
        Err(injected("the transaction cannot go on"))
    }
}

impl Tx for FaultyTx<'_> {
    fn query(&mut self, sql: &'static str, params: &[Value]) -> Result<Vec<Row>, StoreError> {
        self.call(|tx| tx.query(sql, params))
    }

    fn execute(&mut self, sql: &'static str, params: &[Value]) -> Result<u64, StoreError> {
        self.call(|tx| tx.execute(sql, params))
    }

    fn insert_rows(
        &mut self,
        table: &'static str,
        columns: &'static str,
        rows: &[Vec<Value>],
    ) -> Result<(), StoreError> {
        self.call(|tx| tx.insert_rows(table, columns, rows))
    }

    fn lock_accounts(&mut self, ids: &[AccountId]) -> Result<AccountMap<Account>, StoreError> {
        self.call(|tx| tx.lock_accounts(ids))
    }

    fn find_answers(&mut self, keys: &[&IdempotencyKey]) -> Result<Vec<(IdempotencyKey, Outcome)>, StoreError> {
        self.call(|tx| tx.find_answers(keys))
    }

    fn find_request_answers(&mut self, keys: &[&IdempotencyKey]) -> Result<Vec<Option<RequestAnswer>>, StoreError> {
        // As an engine does that finds out when they are kept.
        self.assumes_new_keys = self.is_write && self.faults.below(4) == 0;
        if self.assumes_new_keys { Ok(vec![None; keys.len()]) } else { self.call(|tx| tx.find_request_answers(keys)) }
    }

    fn keep_request_answers(
        &mut self,
        answers: &[(&IdempotencyKey, RequestAnswer)],
        now_us: i64,
    ) -> Result<(), StoreError> {
        let keys: Vec<_> = answers.iter().map(|(key, _)| *key).collect();
        if self.assumes_new_keys && self.call(|tx| tx.find_request_answers(&keys))?.iter().any(Option::is_some) {
            return self.end(Broken::Retry);
        }
        self.call(|tx| tx.keep_request_answers(answers, now_us))
    }

    fn confirm_accounts(&mut self, ids: &[AccountId]) -> Result<(), StoreError> {
        self.call(|tx| tx.confirm_accounts(ids))
    }

    fn page_accounts(&mut self, after: Option<AccountId>, limit: usize) -> Result<Vec<Account>, StoreError> {
        self.call(|tx| tx.page_accounts(after, limit))
    }

    fn find_chain_head(&mut self, writer: u16) -> Result<Option<ChainHead>, StoreError> {
        self.call(|tx| tx.find_chain_head(writer))
    }

    fn lock_header(&mut self, writer: u16, number: i64) -> Result<Option<[u8; 32]>, StoreError> {
        let found = self.call(|tx| tx.lock_header(writer, number))?;
        Ok(found.filter(|_| self.lie != Some(Lie::BatchNotFound)))
    }

    fn list_chain_heads(&mut self) -> Result<Vec<Row>, StoreError> {
        self.call(|tx| tx.list_chain_heads())
    }

    fn list_postings(&mut self, account_id: AccountId, filter: &PostingFilter) -> Result<PostingPage, StoreError> {
        self.call(|tx| tx.list_postings(account_id, filter))
    }

    fn list_batches(
        &mut self,
        writer: u16,
        after_number: i64,
        asset_of: &dyn Fn(AccountId) -> Option<Asset>,
    ) -> Result<Vec<StoredBatch>, StoreError> {
        self.call(|tx| tx.list_batches(writer, after_number, asset_of))
    }

    fn count_postings(&mut self) -> Result<u64, StoreError> {
        self.call(|tx| tx.count_postings())
    }

    fn write_batch(&mut self, rows: &BatchRows<'_>) -> Result<(), StoreError> {
        let mut keyless = Vec::new();
        let mut rows = BatchRows {
            applied: rows.applied.clone(),
            changed: rows.changed.clone(),
            opened: rows.opened.clone(),
            answered: rows.answered.clone(),
            header: rows.header,
            recorded_at_us: rows.recorded_at_us,
        };
        match self.lie {
            Some(Lie::KeysForgotten) => {
                rows.answered.clear();
                let forget = |(command, _): &(&Command, &Applied)| Command { idempotency: None, ..(*command).clone() };
                keyless.extend(rows.applied.iter().map(forget));
                rows.applied =
                    keyless.iter().zip(&rows.applied).map(|(command, (_, applied))| (command, *applied)).collect();
            }
            Some(Lie::BalanceForgotten) => drop(rows.changed.pop()),
            _ => {}
        }
        self.call(|tx| tx.write_batch(&rows))
    }
}

fn kill(disk: &Mutex<Disk>, victim: Victim) -> ! {
    if victim == Victim::Machine {
        let copied = disk.lock().end_life();
        assert!(copied.is_ok(), "the disk could not be copied: {copied:?}");
    }
    resume_unwind(Box::new(Killed(victim)))
}

fn injected(what: &str) -> StoreError {
    StoreError::Unavailable(format!("injected: {what}"))
}

fn unknown() -> StoreError {
    StoreError::OutcomeUnknown("injected: the answer was lost".to_owned())
}
