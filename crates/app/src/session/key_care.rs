//! Replacing the keys that sign access tokens: as time goes, or because somebody wants it.

use std::sync::Arc;

use florin_identity::{KeyChange, KeyRules, KeyWish, decide_keys};
use florin_store::{
    Engine, StoreError, Tx,
    audit::{self, AuditEvent},
    signing_key::{self, ACTIVE, DELETED, NEXT, RETIRING, REVOKED, SigningKeyRow},
};
use secrecy::SecretBox;
use uuid::Uuid;

use super::keys::{Keys, generate};
use crate::{
    App, Failure, Settings,
    app::LEEWAY_S,
    port::{Clock, Rng, new_id},
};

/// How long whoever reads the published keys may keep them, seconds.
pub const JWKS_MAX_AGE_S: i64 = 300;

/// Everything that changing the stored keys needs. Its methods block.
#[derive(Clone)]
pub struct KeyCare {
    /// The database.
    pub engine: Arc<dyn Engine>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub rng: Arc<dyn Rng>,
    /// Key that seals the signing keys.
    pub sealing_key: Arc<SecretBox<[u8; 32]>>,
    /// How long everything takes.
    pub rules: KeyRules,
}

/// The times of the life of a key, by the settings. A new key is published twice as long as readers keep what they
/// have read before it signs.
#[must_use]
pub fn key_rules(settings: &Settings) -> KeyRules {
    let us = |seconds: i64| seconds.saturating_mul(1_000_000);
    KeyRules {
        lead_us: us(2 * JWKS_MAX_AGE_S),
        token_life_us: us(settings.access_token_ttl_s.saturating_add(LEEWAY_S)),
        key_life_us: Some(us(settings.signing_key_life_s)).filter(|life_us| *life_us > 0),
    }
}

impl KeyCare {
    /// Does what time brings and what is wished; gives the keys as they are then, newest first. Several nodes may do
    /// this at once: each change is made by one of them.
    ///
    /// # Errors
    /// Those of storage.
    pub fn keep(&self, wish: KeyWish) -> Result<Vec<SigningKeyRow>, Failure> {
        let rows = florin_store::read(&*self.engine, signing_key::list_keys)?;
        let now_us = self.clock.now_us();
        if self.decide(&rows, wish, now_us)?.is_empty() {
            return Ok(rows);
        }
        // Whoever cannot open the keys that are there must not add one that nobody else can open.
        if rows.iter().any(|row| row.state == ACTIVE) {
            Keys::from_rows(&rows, &self.sealing_key)?;
        }
        let made = generate(&*self.rng, &self.sealing_key, now_us)?;
        Ok(florin_store::write(&*self.engine, |tx| {
            let rows = signing_key::lock_keys(tx)?;
            for change in self.decide(&rows, wish, now_us)? {
                self.apply(tx, &rows, change, &made, now_us)?;
            }
            signing_key::list_keys(tx)
        })?)
    }

    /// Takes a key away at once: what it signed counts for nothing from now on. False if there is no such key.
    ///
    /// # Errors
    /// Those of storage.
    pub fn revoke(&self, id: &str) -> Result<bool, Failure> {
        let now_us = self.clock.now_us();
        let was_there = florin_store::write(&*self.engine, |tx| {
            signing_key::lock_keys(tx)?;
            let was_there = signing_key::end_key(tx, id, REVOKED, now_us)?;
            if was_there {
                audit::insert_event(tx, &self.event("signing_key_revoked"))?;
            }
            Ok(was_there)
        })?;
        if was_there {
            self.keep(KeyWish::Nothing)?;
        }
        Ok(was_there)
    }

    fn decide(&self, rows: &[SigningKeyRow], wish: KeyWish, now_us: i64) -> Result<Vec<KeyChange>, StoreError> {
        let facts = rows.iter().map(SigningKeyRow::facts).collect::<Result<Vec<_>, _>>()?;
        Ok(decide_keys(&facts, wish, now_us, &self.rules))
    }

    fn apply(
        &self,
        tx: &mut dyn Tx,
        rows: &[SigningKeyRow],
        change: KeyChange,
        made: &SigningKeyRow,
        now_us: i64,
    ) -> Result<(), StoreError> {
        let id = |key: usize| rows.get(key).map_or("", |row| row.id.as_str());
        let action = match change {
            KeyChange::MakeNext => {
                signing_key::insert_key(tx, &SigningKeyRow { state: NEXT.to_owned(), ..made.clone() })?;
                "signing_key_next"
            }
            KeyChange::MakeActive => {
                signing_key::insert_key(tx, made)?;
                "signing_key_active"
            }
            KeyChange::Activate(key) => {
                signing_key::activate_key(tx, id(key))?;
                "signing_key_active"
            }
            KeyChange::Retire { key, until_us } => {
                signing_key::end_key(tx, id(key), RETIRING, until_us)?;
                "signing_key_retiring"
            }
            KeyChange::Delete(key) => {
                signing_key::end_key(tx, id(key), DELETED, now_us)?;
                "signing_key_deleted"
            }
        };
        audit::insert_event(tx, &self.event(action))
    }

    fn event(&self, action: &'static str) -> AuditEvent {
        let id: Uuid = new_id(&*self.clock, &*self.rng);
        AuditEvent {
            id,
            at_us: self.clock.now_us(),
            action,
            actor_id: None,
            subject_id: None,
            outcome: "ok",
            request_id: String::new(),
            detail: None,
        }
    }
}

impl App {
    /// Does what time brings to the signing keys and learns what other processes did to them; to be called about every
    /// second. With a wish, grants it first.
    ///
    /// # Errors
    /// Those of storage; a key that this node's master key does not open. Then the keys stay as they were known.
    pub async fn keep_keys(&self, wish: KeyWish) -> Result<(), Failure> {
        let care = self.key_care();
        let rows = self.blocking(move || care.keep(wish)).await??;
        self.keys.adopt(&rows)
    }

    /// As [`KeyCare::revoke`], and counts on this node at once.
    ///
    /// # Errors
    /// As [`App::keep_keys`].
    pub async fn revoke_key(&self, id: &str) -> Result<bool, Failure> {
        let (care, id) = (self.key_care(), id.to_owned());
        let was_there = self.blocking(move || care.revoke(&id)).await??;
        self.keep_keys(KeyWish::Nothing).await?;
        Ok(was_there)
    }

    fn key_care(&self) -> KeyCare {
        KeyCare {
            engine: self.engine.clone(),
            clock: self.clock.clone(),
            rng: self.rng.clone(),
            sealing_key: self.keys.sealing_key.clone(),
            rules: key_rules(&self.settings),
        }
    }
}
