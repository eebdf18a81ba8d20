//! Issuing a pair: a refresh token's row in the caller's transaction, then an access token signed for it.

use florin_ledger::bucket_of;
use florin_store::{session::RefreshTokenRow, user::UserRow};
use uuid::Uuid;

use super::{
    TokenPair,
    access_token::{self, Claims, STAFF},
    refresh_token::RefreshToken,
};
use crate::{App, Failure, port::new_id};

impl App {
    /// A new refresh token for this user; its row must be written before it is handed out.
    pub(crate) fn new_refresh_token(&self, user_id: Uuid) -> RefreshToken {
        RefreshToken::new(bucket_of(user_id), new_id(&*self.clock, &*self.rng), &*self.rng)
    }

    /// The pair of an active user, once the refresh token is stored.
    pub(crate) fn issue(
        &self,
        user: &UserRow,
        session_id: Uuid,
        refresh: &RefreshToken,
        now_us: i64,
    ) -> Result<TokenPair, Failure> {
        let issued_at_s = now_us.div_euclid(1_000_000);
        let claims = Claims {
            iss: self.settings.issuer.clone(),
            aud: self.settings.issuer.clone(),
            sub: user.id,
            user_id: user.number,
            token_type: Claims::access(),
            jti: refresh.id,
            sid: session_id,
            iat: issued_at_s,
            exp: issued_at_s.saturating_add(self.settings.access_token_ttl_s),
            tv: user.token_version,
            scope: user.is_staff.then(|| STAFF.to_owned()),
        };
        Ok(TokenPair {
            access: access_token::sign(&self.keys.current(), &claims)?,
            refresh: refresh.to_text(),
            expires_in_s: self.settings.access_token_ttl_s,
        })
    }
}

/// The row of a new refresh token: its idle limit slides, the session's does not.
pub(crate) fn refresh_row(
    refresh: &RefreshToken,
    user_id: Uuid,
    session_id: Uuid,
    idle_limit_us: i64,
    session_expires_at_us: i64,
) -> RefreshTokenRow {
    RefreshTokenRow {
        id: refresh.id,
        session_id,
        user_id,
        secret_hash: refresh.secret_hash(),
        expires_at_us: idle_limit_us.min(session_expires_at_us),
        used_at_us: None,
        replaced_by: None,
    }
}
