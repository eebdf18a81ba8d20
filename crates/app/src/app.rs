//! Everything the use cases share, wired once at start.

use std::{sync::Arc, time::Duration};

use florin_store::Engine;
use moka::sync::Cache;
use secrecy::SecretBox;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::{
    CommitQueue, Failure, Settings,
    blocking::{BoundedPool, STORAGE_AT_ONCE, STORAGE_WAITING},
    commit_queue,
    own_threads::{Duty, OwnThreads, Pace},
    port::{Clock, Rng},
    session::{
        KeyCare, KeyWish, authenticate::TokenCache, ended::EndedSessions, key_rules, keys::KeyRing,
        staff_right::StaffRights,
    },
    user::password_pool::PasswordPool,
    wallet::{meta::WalletMetas, read_lane::ReadLane},
};

/// Access tokens whose use is remembered for the repair of lost answers.
const SEEN_MAX: u64 = 100_000;
/// How far the clocks of two nodes may be apart, seconds.
pub(crate) const LEEWAY_S: i64 = 30;

/// Of the threads for batches: that of those which serve requests, behind the ledger's writer.
const BATCH_NICENESS: i32 = 3;

/// What an [`App`] is made of.
pub struct Parts {
    /// The database.
    pub engine: Arc<dyn Engine>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub rng: Arc<dyn Rng>,
    /// What the operator decided.
    pub settings: Settings,
    /// Key that seals the signing keys at rest: 32 bytes from outside the database.
    pub key_encryption_key: SecretBox<[u8; 32]>,
    /// Bounds of the commit queue.
    pub queue: crate::QueueSettings,
}

/// The use cases.
pub struct App {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) rng: Arc<dyn Rng>,
    pub(crate) settings: Settings,
    pub(crate) queue: CommitQueue,
    pub(crate) storage: BoundedPool,
    /// For reading batches and writing their answers.
    pub(crate) batch_threads: OwnThreads,
    pub(crate) reads: ReadLane,
    /// An import was entered.
    pub(crate) imports_wanted: Notify,
    pub(crate) wallets: WalletMetas,
    pub(crate) passwords: PasswordPool,
    pub(crate) keys: KeyRing,
    pub(crate) tokens: TokenCache,
    pub(crate) staff_rights: StaffRights,
    /// Shared with work that ends sessions.
    pub(crate) ended: Arc<EndedSessions>,
    /// Ids of access tokens that were used a short while ago.
    pub(crate) seen: Cache<Uuid, ()>,
}

impl App {
    /// Wires the parts: loads or makes the signing key, and learns which sessions ended lately. Blocks; the schema must
    /// be there. Needs no async runtime.
    ///
    /// # Errors
    /// The database is away or without its schema, the signing key does not open, a thread cannot be started.
    pub fn start(parts: Parts) -> Result<Arc<Self>, Failure> {
        let Parts { engine, clock, rng, settings, key_encryption_key, queue } = parts;
        let keys = load_keys(&engine, &clock, &rng, key_encryption_key, &settings)?;
        let queue = CommitQueue::start(engine.clone(), clock.clone(), settings.writer, queue)?;
        let pace = Pace { clock: clock.clone(), is_ledger_busy: queue.watch() };
        let passwords = PasswordPool::new(&*rng, settings.hash_parallelism, settings.hash_queue, pace)?;
        let duty = Duty { name: "florin-batch", work: "batches", niceness: BATCH_NICENESS, pace: None };
        let batch_threads = OwnThreads::start(duty, settings.batch_parallelism, STORAGE_WAITING)?;
        // Sessions that ended a little longer ago than any token lives are kept, for clocks that differ.
        let keep_us = (settings.access_token_ttl_s.saturating_add(LEEWAY_S)).saturating_mul(1_000_000);
        let grace_s = u64::try_from(settings.refresh_grace_s.saturating_add(LEEWAY_S)).unwrap_or_default();
        let app = Self {
            queue,
            storage: BoundedPool::new("storage", STORAGE_AT_ONCE, STORAGE_WAITING),
            batch_threads,
            reads: ReadLane::start(&engine)?,
            imports_wanted: Notify::new(),
            wallets: WalletMetas::new(),
            passwords,
            keys,
            tokens: TokenCache::new(),
            staff_rights: StaffRights::new(),
            ended: Arc::new(EndedSessions::new(keep_us)),
            seen: Cache::builder().max_capacity(SEEN_MAX).time_to_live(Duration::from_secs(grace_s)).build(),
            engine,
            clock,
            rng,
            settings,
        };
        app.load_ended_sessions()?;
        Ok(Arc::new(app))
    }

    /// The time that the use cases see.
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// The randomness that the use cases draw from.
    #[must_use]
    pub fn rng(&self) -> &dyn Rng {
        &*self.rng
    }

    /// What the operator decided.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether the ledger's queue would take one more movement. When not, its request need not be looked at.
    #[must_use]
    pub fn takes_movements(&self) -> bool {
        let has_room = self.queue.has_room();
        if !has_room {
            commit_queue::count_refused();
        }
        has_room
    }
}

/// The signing keys, with what time brought them; makes the first one. Blocks.
fn load_keys(
    engine: &Arc<dyn Engine>,
    clock: &Arc<dyn Clock>,
    rng: &Arc<dyn Rng>,
    sealing_key: SecretBox<[u8; 32]>,
    settings: &Settings,
) -> Result<KeyRing, Failure> {
    let care = KeyCare {
        engine: Arc::clone(engine),
        clock: Arc::clone(clock),
        rng: Arc::clone(rng),
        sealing_key: Arc::new(sealing_key),
        rules: key_rules(settings),
    };
    KeyRing::new(&care.keep(KeyWish::Nothing)?, care.sealing_key)
}
