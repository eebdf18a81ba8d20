//! Everything the use cases share, wired once at start.

use std::sync::Arc;

use florin_store::Engine;

use crate::{
    CommitQueue, Settings,
    port::{Clock, Rng},
};

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
    pub key_encryption_key: secrecy::SecretBox<[u8; 32]>,
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
}
