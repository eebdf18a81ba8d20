//! A small pool for password hashes: few at once, off the async threads, and no more waiting than agreed.

use zeroize::Zeroizing;

use super::password_hash::{self, DIGEST_BYTES, SALT_BYTES};
use crate::{
    Failure,
    own_threads::{Duty, OwnThreads, Pace},
    port::Rng,
};

/// Of the threads.
const NICENESS: i32 = 10;

/// What a check came to.
pub(crate) struct PasswordCheck {
    /// It is the user's password.
    pub(crate) matches: bool,
    /// The hash to keep from now on, if the password matches one of an outdated form.
    pub(crate) better_hash: Option<String>,
}

/// The pool.
pub(crate) struct PasswordPool {
    pool: OwnThreads,
    /// A hash whose password nobody knows, checked in place of a missing one: time does not tell who exists.
    decoy: String,
}

impl PasswordPool {
    /// A pool for `at_once` hashes with `waiting` more in the queue.
    pub(crate) fn new(rng: &dyn Rng, at_once: usize, waiting: usize, pace: Pace) -> Result<Self, Failure> {
        let mut digest = [0; DIGEST_BYTES];
        rng.fill(&mut digest);
        let decoy = password_hash::of_nobody(&salt(rng), &digest);
        let duty = Duty { name: "florin-password", work: "password hashes", niceness: NICENESS, pace: Some(pace) };
        Ok(Self { pool: OwnThreads::start(duty, at_once, waiting)?, decoy })
    }

    /// The hash of a new password.
    pub(crate) async fn hash(&self, password: &str, rng: &dyn Rng) -> Result<String, Failure> {
        let (password, salt) = (Zeroizing::new(password.to_owned()), salt(rng));
        self.pool.run(move || password_hash::hash(&password, &salt)).await?
    }

    /// Checks a password; without a hash, or with an unusable one, it takes as long and never matches.
    pub(crate) async fn check(
        &self,
        password: &str,
        hash: Option<String>,
        rng: &dyn Rng,
    ) -> Result<PasswordCheck, Failure> {
        let (password, salt) = (Zeroizing::new(password.to_owned()), salt(rng));
        let hash = hash.filter(|hash| !hash.starts_with('!'));
        let is_known = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.decoy.clone());
        let work = move || {
            let matches = password_hash::verify(&password, &hash) && is_known;
            let better_hash = if matches && password_hash::is_outdated(&hash) {
                Some(password_hash::hash(&password, &salt)?)
            } else {
                None
            };
            Ok(PasswordCheck { matches, better_hash })
        };
        self.pool.run(work).await?
    }
}

fn salt(rng: &dyn Rng) -> [u8; SALT_BYTES] {
    let mut salt = [0; SALT_BYTES];
    rng.fill(&mut salt);
    salt
}
