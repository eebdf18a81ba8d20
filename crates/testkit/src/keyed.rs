//! A bulk's idempotency key, in tests: what is kept under it is how many commands were decided.

use std::sync::Arc;

use florin_app::KeyedAnswer;
use florin_ledger::{Command, IdempotencyKey, Verdict};
use florin_store::{
    StoreError, Tx,
    request_answer::{MADE_AGAIN, RequestAnswer},
};
use parking_lot::Mutex;
use uuid::Uuid;

/// Where to see what was found under a key.
pub type Found = Arc<Mutex<Option<RequestAnswer>>>;

/// A bulk's answer under the key of this name.
#[must_use]
pub fn once(name: &str) -> (Box<dyn KeyedAnswer>, Found) {
    let found = Found::default();
    (Box::new(Once { key: key_of(name), found: Arc::clone(&found) }), found)
}

struct Once {
    key: IdempotencyKey,
    found: Found,
}

impl KeyedAnswer for Once {
    fn key(&self) -> &IdempotencyKey {
        &self.key
    }

    fn found(&mut self, earlier: Option<RequestAnswer>) {
        *self.found.lock() = earlier;
    }

    fn keep(&mut self, commands: &[Command], verdicts: &[Verdict]) -> Result<RequestAnswer, StoreError> {
        assert_eq!(commands.len(), verdicts.len());
        Ok(answer_of(&self.key, verdicts.len()))
    }
}

/// What is kept when so many commands were decided.
#[must_use]
pub fn answer_of(key: &IdempotencyKey, commands: usize) -> RequestAnswer {
    let kept = u64::try_from(commands).unwrap_or(u64::MAX).to_be_bytes().to_vec();
    RequestAnswer { fingerprint: key.fingerprint, status: MADE_AGAIN, kept }
}

/// The key of this name.
#[must_use]
pub fn key_of(name: &str) -> IdempotencyKey {
    let resource = Uuid::from_u128(0x00b0_1c0f);
    // Two scopes, so that keys are not in the order of their names.
    let scope = Uuid::from_u128(u128::from(name.len().is_multiple_of(2)));
    IdempotencyKey { scope, resource, key: name.to_owned(), fingerprint: [7; 32] }
}

/// What is kept under the key of this name.
///
/// # Errors
/// Those of the engine.
pub fn find_kept(tx: &mut dyn Tx, name: &str) -> Result<Option<RequestAnswer>, StoreError> {
    Ok(tx.find_request_answers(&[&key_of(name)])?.into_iter().flatten().next())
}
