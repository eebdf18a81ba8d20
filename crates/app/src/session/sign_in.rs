//! Signing in with a name and a password.

use florin_identity::{
    CredentialFacts, Failures, MAX_USERNAME_CHARS, SignInDecision, decide_sign_in, is_within_password_bounds,
    normalize_username,
};
use florin_store::{
    StoreError, Tx,
    audit::{self, AuditEvent},
    session::{self, RefreshTokenRow, SessionRow},
    sign_in_failures,
    user::{self, USERNAME, UserRow},
};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{SignInError, TokenPair, ended::SESSION_LIMIT, issue::refresh_row};
use crate::{App, Failure, port::new_id, user::password_pool::PasswordCheck};

/// What was there before the password was checked.
struct Found {
    user: Option<UserRow>,
    failures: Failures,
}

/// What the one transaction of a sign-in came to.
enum Outcome {
    /// Signed in; these sessions ended for it.
    Opened {
        ended: Vec<Uuid>,
    },
    /// The user was disabled or the password changed since it was checked.
    Overtaken,
    Refused,
    Wait {
        wait_us: i64,
    },
}

/// What that transaction needs; it may run more than once.
struct Attempt {
    /// Where failures under the given name are counted.
    name_id: Uuid,
    /// With the failures as they were; read again under lock.
    facts: CredentialFacts,
    now_us: i64,
    event: AuditEvent,
    /// Written if the attempt is granted; none if it cannot be.
    opening: Option<Opening>,
}

/// A session to be.
struct Opening {
    old_hash: String,
    new_hash: String,
    session: SessionRow,
    token: RefreshTokenRow,
    sessions_max: u32,
    /// Written if another session ends for this one.
    limit_event: AuditEvent,
}

impl App {
    /// Opens a session. The same refusal, after the same work, for an unknown name, a wrong password and a disabled
    /// user; the same wait after too many of them. A password kept in an outdated form is hashed anew.
    ///
    /// # Errors
    /// See [`SignInError`]; [`Failure::Unavailable`] also when too many passwords wait to be checked.
    pub async fn sign_in(&self, username: &str, password: &str, request_id: &str) -> Result<TokenPair, SignInError> {
        self.sign_in_with_any(username, &[password], request_id).await
    }

    /// As [`App::sign_in`] with the first of `passwords` that is right; one attempt, however many they are.
    ///
    /// # Errors
    /// As [`App::sign_in`].
    pub async fn sign_in_with_any(
        &self,
        username: &str,
        passwords: &[&str],
        request_id: &str,
    ) -> Result<TokenPair, SignInError> {
        let name = normalize_username(username);
        let name_id = id_of(&name);
        let found = self.find_account(name, name_id).await?;
        // Nobody who has to wait costs a hash or a write.
        refuse_wait(found.failures.wait_us(self.clock.now_us()))?;
        let hash = found.user.as_ref().map(|user| user.password_hash.clone());
        let check = self.check_any(passwords, hash).await?;
        let facts = CredentialFacts {
            is_known: found.user.is_some(),
            password_matches: check.matches,
            is_active: found.user.as_ref().is_some_and(UserRow::is_live),
            failures: found.failures,
        };
        self.attempt(name_id, found.user, facts, check.better_hash, request_id).await
    }

    /// The user of this name and the failures under it, from one snapshot.
    async fn find_account(&self, name: String, name_id: Uuid) -> Result<Found, Failure> {
        // A longer name is nobody's, and is counted like any other.
        let has_form = name.chars().count() <= MAX_USERNAME_CHARS;
        self.read(move |tx| {
            let failures = sign_in_failures::find_failures(tx, name_id)?;
            let user = if has_form { user::find_user_by_claim(tx, USERNAME, &name)? } else { None };
            Ok(Found { user, failures })
        })
        .await
    }

    async fn check_any(&self, passwords: &[&str], hash: Option<String>) -> Result<PasswordCheck, Failure> {
        let mut last = PasswordCheck { matches: false, better_hash: None };
        for password in passwords {
            // What cannot be a password takes as long as one that is wrong.
            let has_form = is_within_password_bounds(password);
            let (password, hash) = if has_form { (*password, hash.clone()) } else { ("", None) };
            last = self.passwords.check(password, hash, &*self.rng).await?;
            if last.matches {
                break;
            }
        }
        Ok(last)
    }

    /// Decides under lock and writes what follows, in one commit.
    async fn attempt(
        &self,
        name_id: Uuid,
        user: Option<UserRow>,
        facts: CredentialFacts,
        better_hash: Option<String>,
        request_id: &str,
    ) -> Result<TokenPair, SignInError> {
        let now_us = self.clock.now_us();
        let is_right = facts.is_known && facts.password_matches && facts.is_active;
        let user_id = user.as_ref().map(|user| user.id);
        let event = self.event("sign_in", user_id.filter(|_| is_right), user_id, request_id);
        let refresh = self.new_refresh_token(user_id.unwrap_or_default());
        let opening = user.as_ref().filter(|_| is_right).map(|user| {
            let session = self.new_session(user.id, now_us);
            let idle_limit_us = now_us.saturating_add(self.settings.refresh_token_ttl_s.saturating_mul(1_000_000));
            Opening {
                old_hash: user.password_hash.clone(),
                new_hash: better_hash.unwrap_or_else(|| user.password_hash.clone()),
                session,
                sessions_max: self.settings.sessions_per_user,
                limit_event: self.event(SESSION_LIMIT, Some(user.id), Some(user.id), request_id),
                token: refresh_row(&refresh, user.id, session.id, idle_limit_us, session.expires_at_us),
            }
        });
        let session_id = opening.as_ref().map(|opening| opening.session.id);
        let attempt = Attempt { name_id, facts, now_us, event, opening };
        let ended = |outcome: &Outcome| match outcome {
            Outcome::Opened { ended } => ended.clone(),
            _ => Vec::new(),
        };
        let outcome = self.write_ending((SESSION_LIMIT, now_us), move |tx| attempt.run(tx), ended).await?;
        match (outcome, user, session_id) {
            (Outcome::Opened { .. }, Some(user), Some(session_id)) => {
                Ok(self.issue(&user, session_id, &refresh, now_us)?)
            }
            (Outcome::Wait { wait_us }, ..) => Err(refuse_wait(wait_us).err().unwrap_or(SignInError::Refused)),
            _ => Err(SignInError::Refused),
        }
    }

    fn new_session(&self, user_id: Uuid, now_us: i64) -> SessionRow {
        SessionRow {
            id: new_id(&*self.clock, &*self.rng),
            user_id,
            expires_at_us: now_us.saturating_add(self.settings.session_ttl_s.saturating_mul(1_000_000)),
            ended_at_us: None,
        }
    }
}

impl Attempt {
    fn run(&self, tx: &mut dyn Tx) -> Result<Outcome, StoreError> {
        // Of attempts at the same time, each sees the failures of those that were written before it.
        let failures = match self.opening {
            Some(_) => sign_in_failures::lock_failures(tx, self.name_id)?,
            None => sign_in_failures::lock_or_open_failures(tx, self.name_id, self.now_us)?,
        };
        match (decide_sign_in(CredentialFacts { failures, ..self.facts }, self.now_us), &self.opening) {
            (SignInDecision::Wait { wait_us }, _) => Ok(Outcome::Wait { wait_us }),
            (SignInDecision::Refused { reason, failures }, _) => {
                sign_in_failures::set_failures(tx, self.name_id, failures)?;
                let event = AuditEvent { outcome: "refused", detail: Some(reason), ..self.event.clone() };
                audit::insert_event(tx, &event)?;
                Ok(Outcome::Refused)
            }
            (SignInDecision::Granted, Some(opening)) => {
                if failures.count > 0 {
                    sign_in_failures::forget_failures(tx, self.name_id)?;
                }
                opening.write(tx, &self.event, self.now_us)
            }
            (SignInDecision::Granted, None) => Ok(Outcome::Refused),
        }
    }
}

impl Opening {
    fn write(&self, tx: &mut dyn Tx, event: &AuditEvent, now_us: i64) -> Result<Outcome, StoreError> {
        let user_id = self.session.user_id;
        if !user::set_password_hash(tx, user_id, &self.old_hash, &self.new_hash, now_us)? {
            return Ok(Outcome::Overtaken);
        }
        session::insert_session(tx, &self.session, now_us)?;
        session::insert_refresh_token(tx, &self.token, now_us)?;
        audit::insert_event(tx, event)?;
        // Two sign-ins of one user take turns at the user's row, which was written above.
        let (newest, keep) = (self.session.id, self.sessions_max);
        let ended = session::end_oldest_sessions(tx, user_id, newest, keep, SESSION_LIMIT, now_us)?;
        if !ended.is_empty() {
            audit::insert_event(tx, &self.limit_event)?;
        }
        Ok(Outcome::Opened { ended })
    }
}

/// Where failures under this name are counted: a hash, so that a row is small and keeps no typed text.
fn id_of(name: &str) -> Uuid {
    let digest: [u8; 32] = Sha256::digest(name.as_bytes()).into();
    let (id, _) = digest.split_at(16);
    Uuid::from_slice(id).unwrap_or_default()
}

fn refuse_wait(wait_us: i64) -> Result<(), SignInError> {
    if wait_us <= 0 {
        return Ok(());
    }
    metrics::counter!("florin_sign_in_throttled_total").increment(1);
    Err(SignInError::Throttled { retry_after_s: u64::try_from(wait_us).unwrap_or_default().div_ceil(1_000_000) })
}
