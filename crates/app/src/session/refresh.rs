//! Exchanging a refresh token for the next pair.

use florin_identity::{RefreshDecision, RefreshFacts, Successor, decide_refresh};
use florin_store::{
    StoreError, Tx,
    audit::{self, AuditEvent},
    session::{self, RefreshTokenRow, SessionRow},
    user::{self, UserRow},
};
use moka::sync::Cache;
use uuid::Uuid;

use super::{TokenError, TokenPair, ended::REFRESH_REUSE, refresh_token::RefreshToken};
use crate::{App, Failure};

/// What the transaction came to.
enum Outcome {
    /// A successor is stored.
    Issued { user: Box<UserRow>, session_id: Uuid },
    /// The session was ended.
    Theft { session_id: Uuid },
    /// Nothing changed.
    Refused,
    /// The user is disabled or deleted.
    UserGone,
}

/// What the transaction needs; it may run more than once.
struct Exchange {
    presented: RefreshTokenRow,
    /// Id and hash of the successor, with both limits still to be set.
    next_id: Uuid,
    next_hash: [u8; 32],
    idle_limit_us: i64,
    grace_us: i64,
    now_us: i64,
    seen: Cache<Uuid, ()>,
    reuse: AuditEvent,
}

impl App {
    /// Uses up a refresh token and issues the next pair. A token that comes back ends its session, unless all points
    /// to an answer that was lost on its way.
    ///
    /// # Errors
    /// See [`TokenError`]; [`TokenError::WrongType`] for an access token.
    pub async fn refresh(&self, refresh_token: &str, request_id: &str) -> Result<TokenPair, TokenError> {
        let Some(presented) = RefreshToken::parse(refresh_token) else {
            let is_access = self.authenticate(refresh_token).is_ok();
            return Err(if is_access { TokenError::WrongType } else { TokenError::Invalid });
        };
        // Looked up before anything is locked: a made-up token costs a read, never a write.
        let row = self.find_presented(presented).await?.ok_or(TokenError::Invalid)?;
        let now_us = self.clock.now_us();
        let next = self.new_refresh_token(row.user_id);
        let user_id = row.user_id;
        let mut reuse = self.event(REFRESH_REUSE, None, Some(user_id), request_id);
        reuse.outcome = "refused";
        let exchange = Exchange {
            presented: row,
            next_id: next.id,
            next_hash: next.secret_hash(),
            idle_limit_us: now_us.saturating_add(self.settings.refresh_token_ttl_s.saturating_mul(1_000_000)),
            grace_us: self.settings.refresh_grace_s.saturating_mul(1_000_000),
            now_us,
            seen: self.seen.clone(),
            reuse,
        };
        let ended = |outcome: &Outcome| match outcome {
            Outcome::Theft { session_id } => vec![*session_id],
            _ => Vec::new(),
        };
        match self.write_ending((REFRESH_REUSE, now_us), move |tx| exchange.run(tx), ended).await? {
            Outcome::Issued { user, session_id } => Ok(self.issue(&user, session_id, &next, now_us)?),
            Outcome::Theft { session_id } => {
                tracing::warn!(%user_id, %session_id, "a used refresh token came back: the session was ended");
                metrics::counter!("florin_refresh_reuse_total").increment(1);
                Err(TokenError::Invalid)
            }
            Outcome::Refused => Err(TokenError::Invalid),
            Outcome::UserGone => Err(TokenError::UserGone),
        }
    }

    /// Whether a token of either kind could be used now.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub async fn verify_any(&self, token: &str) -> Result<(), TokenError> {
        let Some(presented) = RefreshToken::parse(token) else {
            return self.authenticate(token).map(drop);
        };
        let row = self.find_presented(presented).await?.ok_or(TokenError::Invalid)?;
        let now_us = self.clock.now_us();
        if row.used_at_us.is_some() || row.expires_at_us <= now_us {
            return Err(TokenError::Invalid);
        }
        let (session, user) = self
            .read(move |tx| {
                Ok((session::find_session(tx, row.user_id, row.session_id)?, user::find_user(tx, row.user_id)?))
            })
            .await?;
        match (session, user) {
            (_, Some(user)) if !user.is_live() => Err(TokenError::UserGone),
            (Some(session), Some(_)) if session.ended_at_us.is_none() && session.expires_at_us > now_us => Ok(()),
            _ => Err(TokenError::Invalid),
        }
    }

    /// The row of a token whose secret is right.
    async fn find_presented(&self, presented: RefreshToken) -> Result<Option<RefreshTokenRow>, Failure> {
        self.read(move |tx| {
            let row = session::find_refresh_token(tx, presented.bucket, presented.id)?;
            Ok(row.filter(|row| presented.matches(&row.secret_hash)))
        })
        .await
    }
}

impl Exchange {
    fn run(&self, tx: &mut dyn Tx) -> Result<Outcome, StoreError> {
        let (user_id, session_id) = (self.presented.user_id, self.presented.session_id);
        let Some(session) = session::lock_session(tx, user_id, session_id)? else { return Ok(Outcome::Refused) };
        // Read again under the session's lock: another exchange may have come first.
        let bucket = florin_ledger::bucket_of(user_id);
        let Some(token) = session::find_refresh_token(tx, bucket, self.presented.id)? else {
            return Ok(Outcome::Refused);
        };
        let user = user::find_user(tx, user_id)?;
        let Some(user) = user.filter(UserRow::is_live) else { return Ok(Outcome::UserGone) };
        let facts = self.facts(tx, &session, &token)?;
        let is_stored = match decide_refresh(&facts, self.now_us) {
            RefreshDecision::Refuse(_) => return Ok(Outcome::Refused),
            RefreshDecision::Theft => return self.end_stolen(tx, user_id, session_id),
            RefreshDecision::Rotate => session::use_refresh_token(tx, &token, self.next_id, self.now_us)?,
            RefreshDecision::RepairLostAnswer { drop } => session::replace_successor(tx, &token, drop, self.next_id)?,
        };
        if !is_stored {
            return Err(StoreError::Inconsistent("a refresh token changed under its session's lock".to_owned()));
        }
        session::insert_refresh_token(tx, &self.successor(&session), self.now_us)?;
        Ok(Outcome::Issued { user: Box::new(user), session_id })
    }

    fn facts(
        &self,
        tx: &mut dyn Tx,
        session: &SessionRow,
        token: &RefreshTokenRow,
    ) -> Result<RefreshFacts, StoreError> {
        let bucket = florin_ledger::bucket_of(token.user_id);
        let successor = match token.replaced_by {
            Some(id) => session::find_refresh_token(tx, bucket, id)?,
            None => None,
        };
        Ok(RefreshFacts {
            user_is_active: true,
            session_has_ended: session.ended_at_us.is_some(),
            session_expires_at_us: session.expires_at_us,
            token_expires_at_us: token.expires_at_us,
            used_at_us: token.used_at_us,
            successor: successor.map(|next| Successor {
                id: next.id,
                was_presented: next.used_at_us.is_some(),
                // An access token has the id of the refresh token that was issued with it.
                access_was_seen: self.seen.contains_key(&next.id),
            }),
            grace_us: self.grace_us,
        })
    }

    fn end_stolen(&self, tx: &mut dyn Tx, user_id: Uuid, session_id: Uuid) -> Result<Outcome, StoreError> {
        session::end_session(tx, user_id, session_id, REFRESH_REUSE, self.now_us)?;
        audit::insert_event(tx, &self.reuse)?;
        Ok(Outcome::Theft { session_id })
    }

    fn successor(&self, session: &SessionRow) -> RefreshTokenRow {
        RefreshTokenRow {
            id: self.next_id,
            secret_hash: self.next_hash,
            expires_at_us: self.idle_limit_us.min(session.expires_at_us),
            used_at_us: None,
            replaced_by: None,
            ..self.presented.clone()
        }
    }
}
