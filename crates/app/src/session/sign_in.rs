//! Signing in with a name and a password.

use florin_identity::{
    CredentialFacts, MAX_USERNAME_CHARS, SignInDecision, decide_sign_in, is_within_password_bounds, normalize_username,
};
use florin_store::{
    audit,
    session::{self, SessionRow},
    user::{self, USERNAME, UserRow},
};
use uuid::Uuid;

use super::{SignInError, TokenPair, issue::refresh_row};
use crate::{App, Failure, port::new_id};

impl App {
    /// Opens a session. The same refusal, after the same work, for an unknown name, a wrong password and a disabled
    /// user. A password kept in an outdated form is hashed anew.
    ///
    /// # Errors
    /// See [`SignInError`]; [`Failure::Unavailable`] also when too many passwords wait to be checked.
    pub async fn sign_in(&self, username: &str, password: &str, request_id: &str) -> Result<TokenPair, SignInError> {
        let has_form = is_within_password_bounds(password) && username.chars().count() <= MAX_USERNAME_CHARS;
        let (user, password) = if has_form { (self.find_by_username(username).await?, password) } else { (None, "") };
        let hash = user.as_ref().map(|user| user.password_hash.clone());
        let check = self.passwords.check(password, hash, &*self.rng).await?;
        let facts = CredentialFacts {
            is_known: user.is_some(),
            password_matches: check.matches,
            is_active: user.as_ref().is_some_and(UserRow::is_live),
        };
        match (decide_sign_in(facts), user) {
            (SignInDecision::Granted, Some(user)) => {
                let new_hash = check.better_hash.unwrap_or_else(|| user.password_hash.clone());
                self.open_session(user, new_hash, request_id).await
            }
            (SignInDecision::Refused(reason), user) => {
                self.note_refusal(user.map(|user| user.id), reason, request_id).await?;
                Err(SignInError::Refused)
            }
            (SignInDecision::Granted, None) => Err(SignInError::Refused),
        }
    }

    async fn find_by_username(&self, username: &str) -> Result<Option<UserRow>, Failure> {
        let username = normalize_username(username);
        self.read(move |tx| user::find_user_by_claim(tx, USERNAME, &username)).await
    }

    /// Writes the session, unless the user was disabled or the password changed since it was checked.
    async fn open_session(&self, user: UserRow, new_hash: String, request_id: &str) -> Result<TokenPair, SignInError> {
        let now_us = self.clock.now_us();
        let session = SessionRow {
            id: new_id(&*self.clock, &*self.rng),
            user_id: user.id,
            expires_at_us: now_us.saturating_add(self.settings.session_ttl_s.saturating_mul(1_000_000)),
            ended_at_us: None,
        };
        let refresh = self.new_refresh_token(user.id);
        let idle_limit_us = now_us.saturating_add(self.settings.refresh_token_ttl_s.saturating_mul(1_000_000));
        let row = refresh_row(&refresh, user.id, session.id, idle_limit_us, session.expires_at_us);
        let event = self.event("sign_in", Some(user.id), Some(user.id), request_id);
        let (user_id, old_hash) = (user.id, user.password_hash.clone());
        let opened = self
            .write_own(move |tx| {
                if !user::set_password_hash(tx, user_id, &old_hash, &new_hash, now_us)? {
                    return Ok(false);
                }
                session::insert_session(tx, &session, now_us)?;
                session::insert_refresh_token(tx, &row, now_us)?;
                audit::insert_event(tx, &event)?;
                Ok(true)
            })
            .await?;
        if !opened {
            return Err(SignInError::Refused);
        }
        Ok(self.issue(&user, session.id, &refresh, now_us)?)
    }

    async fn note_refusal(
        &self,
        subject_id: Option<Uuid>,
        reason: &'static str,
        request_id: &str,
    ) -> Result<(), Failure> {
        let mut event = self.event("sign_in", None, subject_id, request_id);
        event.outcome = "refused";
        event.detail = Some(reason);
        self.write_own(move |tx| audit::insert_event(tx, &event)).await
    }
}
