//! An engine as if it were far away: each write ends as a test says.

#![expect(clippy::unwrap_used, reason = "what is asked for in another order has failed the test")]

use std::{collections::VecDeque, sync::Arc};

use florin_ledger::{Account, AccountId};
use florin_store::{Begun, Engine, EngineKind, EngineStatus, Interruption, NotDone, StoreError, Ticket, Work};
use florin_store_sqlite::SqliteEngine;
use futures_util::FutureExt as _;
use parking_lot::Mutex;

/// How a write ends that was left on its way.
#[derive(Debug, Clone, Copy)]
pub enum End {
    /// Nothing of it is written.
    Again,
    /// It is written, but nobody was told.
    Lost,
    /// It is decided, and nobody was told that it has not arrived.
    Late,
}

/// An engine as if it were far away: what is begun is left on its way, and ends as the test says.
pub struct Distant<E = SqliteEngine> {
    /// Where it is written.
    pub inner: E,
    /// How the next ones end; committed, where nothing is said.
    pub script: Mutex<VecDeque<End>>,
    /// How the next ones end that are waited for.
    pub waited_for: Mutex<VecDeque<End>>,
    under_way: Mutex<VecDeque<(Ticket, Result<(), NotDone>)>>,
    /// Behind what each was begun.
    pub begun: Mutex<Vec<Option<Ticket>>>,
}

impl Distant {
    /// Over SQLite in memory.
    ///
    /// # Panics
    /// As [`Distant::over`].
    #[must_use]
    pub fn new(script: &[End]) -> Arc<Self> {
        Self::over(SqliteEngine::in_memory().unwrap(), script)
    }
}

impl<E: Engine> Distant<E> {
    /// Over this one, whose schema is made.
    ///
    /// # Panics
    /// It cannot be: a test cannot go on.
    #[must_use]
    pub fn over(inner: E, script: &[End]) -> Arc<Self> {
        inner.migrate().unwrap();
        let script = Mutex::new(script.iter().copied().collect());
        let (waited_for, under_way, begun) = (Mutex::default(), Mutex::default(), Mutex::default());
        Arc::new(Self { inner, script, waited_for, under_way, begun })
    }

    fn end_as(&self, end: Option<End>, work: Work<'_>) -> Result<(), NotDone> {
        let refused = || StoreError::Unavailable("another node was first".to_owned());
        let lost = || StoreError::OutcomeUnknown("the connection was lost".to_owned());
        match end {
            None => self.inner.write(work).map_err(NotDone::Failed),
            Some(End::Lost) => self.inner.write(work).and(Err(lost())).map_err(NotDone::Failed),
            Some(End::Late) => self.inner.write(&mut |tx| work(tx).and(Err(lost()))).map_err(NotDone::Failed),
            Some(End::Again) => self.inner.write(&mut |tx| work(tx).and(Err(refused()))).map_err(NotDone::Again),
        }
    }
}

impl<E: Engine> Engine for Distant<E> {
    fn kind(&self) -> EngineKind {
        self.inner.kind()
    }

    fn peek_account(&self, id: AccountId) -> Option<Account> {
        self.inner.peek_account(id)
    }

    fn read(&self, work: Work<'_>) -> Result<(), StoreError> {
        self.inner.read(work)
    }

    fn write(&self, work: Work<'_>) -> Result<(), StoreError> {
        assert!(self.under_way.lock().is_empty(), "no other write passes those that are on their way");
        let end = self.waited_for.lock().pop_front();
        self.end_as(end, work).map_err(|(NotDone::Failed(error) | NotDone::Again(error))| error)
    }

    fn begin_write(&self, behind: Option<Ticket>, work: Work<'_>) -> Result<Begun, NotDone> {
        let mut begun = self.begun.lock();
        begun.push(behind);
        let ticket = Ticket(u64::try_from(begun.len()).unwrap());
        let end = self.script.lock().pop_front();
        let end = self.end_as(end, work);
        self.under_way.lock().push_back((ticket, end));
        Ok(Begun::UnderWay(ticket))
    }

    fn end_write(&self, ticket: Ticket, interruption: Interruption<'_>) -> Option<Result<(), NotDone>> {
        if interruption.now_or_never().is_some() {
            return None;
        }
        let (oldest, end) = self.under_way.lock().pop_front().unwrap();
        assert_eq!(oldest, ticket, "in order");
        Some(end)
    }

    fn status(&self) -> Result<EngineStatus, StoreError> {
        self.inner.status()
    }

    fn migrate(&self) -> Result<Vec<&'static str>, StoreError> {
        self.inner.migrate()
    }
}
