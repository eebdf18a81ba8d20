//! What a presented refresh token leads to: rotation, repair of a lost answer, or the end of a stolen session.

use uuid::Uuid;

/// The token that replaced a used one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Successor {
    /// Its id.
    pub id: Uuid,
    /// It was presented for a refresh itself.
    pub was_presented: bool,
    /// The access token issued with it was used.
    pub access_was_seen: bool,
}

/// What is known of a presented token whose secret matched. Times: microseconds since the Unix epoch, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefreshFacts {
    /// The user is neither disabled nor deleted.
    pub user_is_active: bool,
    /// The session was ended.
    pub session_has_ended: bool,
    /// The session's absolute limit.
    pub session_expires_at_us: i64,
    /// The token's idle limit.
    pub token_expires_at_us: i64,
    /// When it was used; none if it was not.
    pub used_at_us: Option<i64>,
    /// Its direct successor, if that still exists.
    pub successor: Option<Successor>,
    /// How long after its use a lost answer is repaired, microseconds.
    pub grace_us: i64,
}

/// The decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefreshDecision {
    /// Issue a successor.
    Rotate,
    /// The answer was lost on its way: drop the successor that nobody used and issue another.
    RepairLostAnswer {
        /// What to drop.
        drop: Uuid,
    },
    /// Somebody else has the token: end the session.
    Theft,
    /// Nothing is issued and nothing changes. Holds the reason's code.
    Refuse(&'static str),
}

/// Decides what a token leads to at `now_us`.
#[must_use]
pub fn decide_refresh(facts: &RefreshFacts, now_us: i64) -> RefreshDecision {
    if facts.session_has_ended {
        return RefreshDecision::Refuse("session_ended");
    }
    if !facts.user_is_active {
        return RefreshDecision::Refuse("inactive");
    }
    if now_us >= facts.session_expires_at_us {
        return RefreshDecision::Refuse("session_expired");
    }
    let Some(used_at_us) = facts.used_at_us else {
        let is_idle = now_us >= facts.token_expires_at_us;
        return if is_idle { RefreshDecision::Refuse("token_expired") } else { RefreshDecision::Rotate };
    };
    let in_grace = now_us.saturating_sub(used_at_us) <= facts.grace_us;
    match facts.successor {
        Some(next) if in_grace && !next.was_presented && !next.access_was_seen => {
            RefreshDecision::RepairLostAnswer { drop: next.id }
        }
        _ => RefreshDecision::Theft,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000_000_000;
    const GRACE: i64 = 10_000_000;
    const NEXT: Successor = Successor { id: Uuid::from_u128(2), was_presented: false, access_was_seen: false };
    const FRESH: RefreshFacts = RefreshFacts {
        user_is_active: true,
        session_has_ended: false,
        session_expires_at_us: NOW + 1,
        token_expires_at_us: NOW + 1,
        used_at_us: None,
        successor: None,
        grace_us: GRACE,
    };
    const USED: RefreshFacts = RefreshFacts { used_at_us: Some(NOW - GRACE), successor: Some(NEXT), ..FRESH };

    #[test]
    fn refreshes_are_decided_by_the_table() {
        let repair = RefreshDecision::RepairLostAnswer { drop: NEXT.id };
        let table = [
            ("an unused token rotates", FRESH, RefreshDecision::Rotate),
            (
                "idle too long",
                RefreshFacts { token_expires_at_us: NOW, ..FRESH },
                RefreshDecision::Refuse("token_expired"),
            ),
            (
                "session over",
                RefreshFacts { session_expires_at_us: NOW, ..FRESH },
                RefreshDecision::Refuse("session_expired"),
            ),
            (
                "session ended",
                RefreshFacts { session_has_ended: true, ..FRESH },
                RefreshDecision::Refuse("session_ended"),
            ),
            ("disabled user", RefreshFacts { user_is_active: false, ..FRESH }, RefreshDecision::Refuse("inactive")),
            ("a lost answer, last moment of grace", USED, repair),
            ("after grace", RefreshFacts { used_at_us: Some(NOW - GRACE - 1), ..USED }, RefreshDecision::Theft),
            ("a lost answer though the clock went back", RefreshFacts { used_at_us: Some(NOW + 5), ..USED }, repair),
            (
                "the successor was presented",
                RefreshFacts { successor: Some(Successor { was_presented: true, ..NEXT }), ..USED },
                RefreshDecision::Theft,
            ),
            (
                "the successor's access token was used",
                RefreshFacts { successor: Some(Successor { access_was_seen: true, ..NEXT }), ..USED },
                RefreshDecision::Theft,
            ),
            ("the successor is gone", RefreshFacts { successor: None, ..USED }, RefreshDecision::Theft),
            (
                "a used token of an ended session ends nothing twice",
                RefreshFacts { session_has_ended: true, ..USED },
                RefreshDecision::Refuse("session_ended"),
            ),
            ("a used token is repaired though idle", RefreshFacts { token_expires_at_us: NOW, ..USED }, repair),
        ];
        for (what, facts, expected) in table {
            assert_eq!(decide_refresh(&facts, NOW), expected, "{what}");
        }
    }
}
