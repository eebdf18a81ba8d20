//! Whether staff are still staff: the access token says it, the database decides.

use florin_store::{
    StoreError, Tx, session,
    user::{self, UserRow},
};
use uuid::Uuid;

use crate::{App, Caller, Failure, remembered::Remembered};

/// How long an answer of the database counts, microseconds: as long as an ended session may be unknown to a node.
const FRESH_US: i64 = 1_000_000;
/// Sessions of staff remembered.
const REMEMBERED_MAX: usize = 10_000;

#[derive(Clone, Copy)]
struct Answer {
    at_us: i64,
    is_staff: bool,
}

/// What the database said lately, by user and session.
pub(crate) struct StaffRights(Remembered<(Uuid, Uuid), Answer>);

impl StaffRights {
    /// An empty memory.
    pub(crate) fn new() -> Self {
        Self(Remembered::new(REMEMBERED_MAX))
    }
}

impl App {
    /// The caller, as staff only if the user is that in the database and the session has not ended there. Asks at most
    /// once a second and session, and never about anybody whose token does not say staff.
    ///
    /// # Errors
    /// Those of storage.
    pub async fn with_current_rights(&self, caller: &Caller) -> Result<Caller, Failure> {
        if let Some(known) = self.known_rights(caller) {
            return Ok(known);
        }
        let asked = *caller;
        let is_staff = self.read(move |tx| is_staff(tx, &asked)).await?;
        Ok(self.remember_rights(caller, is_staff))
    }

    /// As [`App::with_current_rights`], on a thread that may block.
    pub(crate) fn with_current_rights_here(&self, caller: &Caller) -> Result<Caller, Failure> {
        match self.known_rights(caller) {
            Some(known) => Ok(known),
            None => {
                let is_staff = florin_store::read(&*self.engine, |tx| is_staff(tx, caller))?;
                Ok(self.remember_rights(caller, is_staff))
            }
        }
    }

    fn known_rights(&self, caller: &Caller) -> Option<Caller> {
        if !caller.is_staff {
            return Some(*caller);
        }
        let answer = self.staff_rights.0.get(&(caller.user_id, caller.session_id))?;
        let is_fresh = self.clock.elapsed_us().saturating_sub(answer.at_us) < FRESH_US;
        is_fresh.then_some(Caller { is_staff: answer.is_staff, ..*caller })
    }

    fn remember_rights(&self, caller: &Caller, is_staff: bool) -> Caller {
        let answer = Answer { at_us: self.clock.elapsed_us(), is_staff };
        self.staff_rights.0.insert((caller.user_id, caller.session_id), answer);
        Caller { is_staff, ..*caller }
    }
}

fn is_staff(tx: &mut dyn Tx, caller: &Caller) -> Result<bool, StoreError> {
    // Work that was ordered outlives the session, but not the right.
    if !caller.session_id.is_nil() {
        let session = session::find_session(tx, caller.user_id, caller.session_id)?;
        if session.is_none_or(|session| session.ended_at_us.is_some()) {
            return Ok(false);
        }
    }
    let user = user::find_user(tx, caller.user_id)?;
    Ok(user.is_some_and(|user: UserRow| user.is_live() && user.is_staff))
}
