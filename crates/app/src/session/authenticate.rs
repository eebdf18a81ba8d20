//! Checking an access token: once by its signature, then from memory, and against ended sessions each time.

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{
    TokenError,
    access_token::{self, Claims, STAFF, TOKEN_BYTES_MAX},
    refresh_token::RefreshToken,
};
use crate::{App, Caller, remembered::Remembered};

/// Tokens remembered; one takes about 150 bytes.
const REMEMBERED_MAX: usize = 100_000;

#[derive(Clone, Copy)]
struct Checked {
    caller: Caller,
    expires_at_s: i64,
    /// Of the keys that it was checked with.
    generation: u64,
}

/// Tokens whose signature was checked, by the hash of their text: never the text itself.
pub(crate) struct TokenCache(Remembered<[u8; 32], Checked>);

impl TokenCache {
    /// An empty memory. Whether a token's time is over is asked each time it comes.
    pub(crate) fn new() -> Self {
        Self(Remembered::new(REMEMBERED_MAX))
    }
}

impl App {
    /// The user that this access token stands for. Touches no database: what a token says of its user stays true,
    /// because disabling and deleting a user end the sessions.
    ///
    /// # Errors
    /// [`TokenError::WrongType`] for a refresh token, [`TokenError::UserGone`] for a disabled or deleted user,
    /// [`TokenError::Invalid`] for anything else.
    pub fn authenticate(&self, access_token: &str) -> Result<Caller, TokenError> {
        if access_token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Invalid);
        }
        let now_s = self.clock.now_us().div_euclid(1_000_000);
        let digest: [u8; 32] = Sha256::digest(access_token.as_bytes()).into();
        let checked = match self.tokens.0.get(&digest) {
            Some(checked) if checked.generation >= self.keys.trusted_since() => checked,
            _ => self.check(access_token, digest, now_s)?,
        };
        if checked.expires_at_s <= now_s {
            return Err(TokenError::Invalid);
        }
        match self.ended.find(checked.caller.session_id) {
            None => Ok(checked.caller),
            Some(true) => Err(TokenError::UserGone),
            Some(false) => Err(TokenError::Invalid),
        }
    }

    fn check(&self, token: &str, digest: [u8; 32], now_s: i64) -> Result<Checked, TokenError> {
        if RefreshToken::parse(token).is_some() {
            return Err(TokenError::WrongType);
        }
        let keys = self.keys.current();
        let claims = access_token::verify(&keys, &self.settings.issuer, token, now_s)?;
        self.seen.insert(claims.jti, ());
        // A life that was shortened since counts for older tokens too: ended sessions are remembered no longer.
        let expires_at_s = claims.exp.min(claims.iat.saturating_add(self.settings.access_token_ttl_s));
        let checked = Checked { caller: caller_of(&claims), expires_at_s, generation: keys.generation };
        self.tokens.0.insert(digest, checked);
        Ok(checked)
    }

    /// The public keys that verify access tokens, as RFC 7517 has them.
    #[must_use]
    pub fn jwks(&self) -> serde_json::Value {
        self.keys.current().jwks.clone()
    }
}

fn caller_of(claims: &Claims) -> Caller {
    let scopes = claims.scope.as_deref().unwrap_or_default();
    Caller {
        user_id: claims.sub,
        user_number: claims.user_id,
        session_id: claims.sid,
        is_staff: scopes.split(' ').any(|scope| scope == STAFF),
    }
}

/// Ids that sessions end under, for the list in memory.
pub(crate) fn ended_at(ids: Vec<Uuid>, reason: &str, now_us: i64) -> Vec<florin_store::session::EndedSession> {
    ids.into_iter()
        .map(|id| florin_store::session::EndedSession { id, ended_at_us: now_us, reason: reason.to_owned() })
        .collect()
}
