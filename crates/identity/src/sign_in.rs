//! Who is let in.

use crate::Failures;

/// What is known when somebody gives a name and a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CredentialFacts {
    /// There is a user of that name.
    pub is_known: bool,
    /// The password's hash matched. Always computed, known user or not.
    pub password_matches: bool,
    /// The user is neither disabled nor deleted.
    pub is_active: bool,
    /// Failed sign-ins under that name, whether or not it is anybody's.
    pub failures: Failures,
}

/// The decision, with the reason that only the audit trail sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignInDecision {
    /// A session is opened, and the failures before it are forgotten.
    Granted,
    /// Nothing is opened, and the answer does not tell why.
    Refused {
        /// The reason's code.
        reason: &'static str,
        /// The failures that count from now on.
        failures: Failures,
    },
    /// Too many failures: the attempt does not count, and its answer says nothing about name or password.
    Wait {
        /// Until when, microseconds from now; more than 0.
        wait_us: i64,
    },
}

/// Decides a sign-in at `now_us`.
#[must_use]
pub fn decide_sign_in(facts: CredentialFacts, now_us: i64) -> SignInDecision {
    let wait_us = facts.failures.wait_us(now_us);
    if wait_us > 0 {
        return SignInDecision::Wait { wait_us };
    }
    let failures = facts.failures.with_another(now_us);
    match facts {
        CredentialFacts { is_known: false, .. } => SignInDecision::Refused { reason: "unknown_user", failures },
        CredentialFacts { password_matches: false, .. } => {
            SignInDecision::Refused { reason: "wrong_password", failures }
        }
        CredentialFacts { is_active: false, .. } => SignInDecision::Refused { reason: "inactive", failures },
        _ => SignInDecision::Granted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_000_000;

    fn facts(bits: u8, failures: Failures) -> CredentialFacts {
        let (is_known, password_matches, is_active) = (bits & 1 != 0, bits & 2 != 0, bits & 4 != 0);
        CredentialFacts { is_known, password_matches, is_active, failures }
    }

    #[test]
    fn only_a_known_active_user_with_the_right_password_comes_in() {
        for bits in 0..8_u8 {
            let facts = facts(bits, Failures::default());
            assert_eq!(decide_sign_in(facts, NOW) == SignInDecision::Granted, bits == 7, "{facts:?}");
        }
    }

    #[test]
    fn every_refusal_counts_the_same() {
        for bits in 0..7_u8 {
            let decision = decide_sign_in(facts(bits, Failures { count: 3, last_at_us: NOW - 1 }), NOW);
            let SignInDecision::Refused { failures, .. } = decision else { panic!("{decision:?}") };
            assert_eq!(failures, Failures { count: 4, last_at_us: NOW });
        }
    }

    #[test]
    fn who_has_to_wait_learns_nothing_else() {
        for bits in 0..8_u8 {
            let facts = facts(bits, Failures { count: 7, last_at_us: NOW });
            assert_eq!(decide_sign_in(facts, NOW), SignInDecision::Wait { wait_us: 4_000_000 }, "{facts:?}");
        }
    }
}
