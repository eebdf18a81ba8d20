//! Sessions that ended while access tokens of theirs still count by their time.

use std::collections::HashMap;

use florin_store::session::EndedSession;
use parking_lot::RwLock;
use uuid::Uuid;

/// A user signed out.
pub(crate) const LOGOUT: &str = "logout";
/// A used refresh token came back.
pub(crate) const REFRESH_REUSE: &str = "refresh_reuse";
/// The password was changed from another session.
pub(crate) const PASSWORD_CHANGE: &str = "password_change";
/// The user has too many sessions, and this was the oldest.
pub(crate) const SESSION_LIMIT: &str = "session_limit";
/// The user was disabled.
pub(crate) const USER_DISABLED: &str = "user_disabled";
/// The user was deleted.
pub(crate) const USER_DELETED: &str = "user_deleted";

/// Below this many nothing is forgotten.
const KEPT_MIN: usize = 1024;

#[derive(Clone, Copy)]
struct Ended {
    at_us: i64,
    user_is_gone: bool,
}

#[derive(Default)]
struct Entries {
    by_id: HashMap<Uuid, Ended>,
    forget_beyond: usize,
}

/// The list, in memory. Entries stay at least as long as an access token can count.
pub(crate) struct EndedSessions {
    entries: RwLock<Entries>,
    keep_us: i64,
}

impl EndedSessions {
    /// An empty list whose entries stay `keep_us` microseconds.
    pub(crate) fn new(keep_us: i64) -> Self {
        Self { entries: RwLock::default(), keep_us }
    }

    /// Enters sessions that were ended, at `now_us`.
    pub(crate) fn enter(&self, ended: impl IntoIterator<Item = EndedSession>, now_us: i64) {
        let mut entries = self.entries.write();
        for session in ended {
            let user_is_gone = session.reason == USER_DISABLED || session.reason == USER_DELETED;
            entries.by_id.insert(session.id, Ended { at_us: session.ended_at_us, user_is_gone });
        }
        if entries.by_id.len() > entries.forget_beyond.max(KEPT_MIN) {
            entries.by_id.retain(|_, ended| now_us.saturating_sub(ended.at_us) <= self.keep_us);
            entries.forget_beyond = entries.by_id.len().saturating_mul(2);
        }
    }

    /// Whether this session ended, and then whether its user is gone.
    pub(crate) fn find(&self, id: Uuid) -> Option<bool> {
        self.entries.read().by_id.get(&id).map(|ended| ended.user_is_gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(id: u128, ended_at_us: i64, reason: &str) -> EndedSession {
        EndedSession { id: Uuid::from_u128(id), ended_at_us, reason: reason.to_owned() }
    }

    #[test]
    fn an_ended_session_is_known_with_its_kind() {
        let list = EndedSessions::new(100);
        list.enter([ended(1, 0, LOGOUT), ended(2, 0, USER_DELETED)], 0);
        assert_eq!(list.find(Uuid::from_u128(1)), Some(false));
        assert_eq!(list.find(Uuid::from_u128(2)), Some(true));
        assert_eq!(list.find(Uuid::from_u128(3)), None);
    }

    #[test]
    fn old_entries_go_when_there_are_many_and_young_ones_never() {
        let list = EndedSessions::new(100);
        list.enter((0..2000).map(|id| ended(id, 0, LOGOUT)), 0);
        list.enter((2000..6000).map(|id| ended(id, 150, LOGOUT)), 150);
        assert_eq!(list.find(Uuid::from_u128(1)), None);
        assert!((2000..6000).all(|id| list.find(Uuid::from_u128(id)).is_some()));
    }
}
