//! The short name of an idempotency key.

use sha2::{Digest as _, Sha256};

use crate::IdempotencyKey;

/// The first 16 bytes of SHA-256 over a key's scope and text.
pub type KeyDigest = [u8; 16];

/// The digest of a key of this scope, 16 bytes.
#[must_use]
pub fn key_digest(scope: &[u8], key: &str) -> KeyDigest {
    let digest = Sha256::new().chain_update(scope).chain_update(key.as_bytes()).finalize();
    let mut short = [0; 16];
    short.copy_from_slice(&digest[..16]);
    short
}

impl IdempotencyKey {
    /// What names it, whatever the request is.
    #[must_use]
    pub fn digest(&self) -> KeyDigest {
        key_digest(self.scope.as_bytes(), &self.key)
    }
}
