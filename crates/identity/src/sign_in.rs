//! Who is let in.

/// What is known when somebody gives a name and a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CredentialFacts {
    /// There is a user of that name.
    pub is_known: bool,
    /// The password's hash matched. Always computed, known user or not.
    pub password_matches: bool,
    /// The user is neither disabled nor deleted.
    pub is_active: bool,
}

/// The decision, with the reason that only the audit trail sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignInDecision {
    /// A session is opened.
    Granted,
    /// Nothing is opened; the answer does not tell why. Holds the reason's code.
    Refused(&'static str),
}

/// Decides a sign-in.
#[must_use]
pub fn decide_sign_in(facts: CredentialFacts) -> SignInDecision {
    match facts {
        CredentialFacts { is_known: false, .. } => SignInDecision::Refused("unknown_user"),
        CredentialFacts { password_matches: false, .. } => SignInDecision::Refused("wrong_password"),
        CredentialFacts { is_active: false, .. } => SignInDecision::Refused("inactive"),
        _ => SignInDecision::Granted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_known_active_user_with_the_right_password_comes_in() {
        for bits in 0..8_u8 {
            let facts =
                CredentialFacts { is_known: bits & 1 != 0, password_matches: bits & 2 != 0, is_active: bits & 4 != 0 };
            assert_eq!(decide_sign_in(facts) == SignInDecision::Granted, bits == 7, "{facts:?}");
        }
    }
}
