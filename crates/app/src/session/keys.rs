//! Keys that sign access tokens: sealed at rest, published without their secret part, replaced while the node runs.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use florin_store::signing_key::{ACTIVE, SigningKeyRow};
use jsonwebtoken::{DecodingKey, EncodingKey};
use parking_lot::RwLock;
use secrecy::{ExposeSecret, SecretBox};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::{Failure, port::Rng};

const ALGORITHM: &str = "ES256";

/// The keys of this node at one moment.
pub(crate) struct Keys {
    /// Name of the key that signs: its RFC 7638 thumbprint.
    pub(crate) active_id: String,
    /// The key that signs.
    pub(crate) active: EncodingKey,
    /// Keys whose tokens are accepted, by name.
    pub(crate) accepted: HashMap<String, DecodingKey>,
    /// The public parts, as RFC 7517 has them.
    pub(crate) jwks: Value,
    /// Rises with every change on this node.
    pub(crate) generation: u64,
    /// Name and state of every key, as they were read.
    seen: Vec<(String, String)>,
}

/// The keys of this node, which change while it runs.
pub(crate) struct KeyRing {
    current: RwLock<Arc<Keys>>,
    /// The first generation since a key was last taken away: what was checked before must be checked again.
    trusted_since: AtomicU64,
    pub(crate) sealing_key: Arc<SecretBox<[u8; 32]>>,
}

impl KeyRing {
    /// The keys in these rows.
    pub(crate) fn new(rows: &[SigningKeyRow], sealing_key: Arc<SecretBox<[u8; 32]>>) -> Result<Self, Failure> {
        let current = RwLock::new(Arc::new(Keys::from_rows(rows, &sealing_key)?));
        Ok(Self { current, trusted_since: AtomicU64::new(0), sealing_key })
    }

    /// The keys now.
    pub(crate) fn current(&self) -> Arc<Keys> {
        Arc::clone(&self.current.read())
    }

    /// What an earlier generation accepted may not be acceptable any more.
    pub(crate) fn trusted_since(&self) -> u64 {
        self.trusted_since.load(Ordering::Acquire)
    }

    /// Takes over what is stored now; costs nothing if it is what this node knows.
    pub(crate) fn adopt(&self, rows: &[SigningKeyRow]) -> Result<(), Failure> {
        if self.current().seen == seen(rows) {
            return Ok(());
        }
        let mut fresh = Keys::from_rows(rows, &self.sealing_key)?;
        let mut current = self.current.write();
        fresh.generation = current.generation.saturating_add(1);
        if current.accepted.keys().any(|id| !fresh.accepted.contains_key(id)) {
            self.trusted_since.store(fresh.generation, Ordering::Release);
        }
        tracing::info!(signing = %fresh.active_id, accepted = fresh.accepted.len(), "the signing keys have changed");
        *current = Arc::new(fresh);
        Ok(())
    }
}

fn seen(rows: &[SigningKeyRow]) -> Vec<(String, String)> {
    rows.iter().map(|row| (row.id.clone(), row.state.clone())).collect()
}

impl Keys {
    /// The keys in these rows; the private part of the one that signs is opened.
    pub(crate) fn from_rows(rows: &[SigningKeyRow], sealing_key: &SecretBox<[u8; 32]>) -> Result<Self, Failure> {
        let seen = seen(rows);
        let rows: Vec<_> = rows.iter().filter(|row| row.algorithm == ALGORITHM).collect();
        let signer = rows.iter().find(|row| row.state == ACTIVE).ok_or_else(|| defect("there is no signing key"))?;
        let private = open(&signer.id, &signer.private_key, sealing_key)?;
        let mut accepted = HashMap::new();
        let mut published = Vec::new();
        for row in &rows {
            let jwk: Value = serde_json::from_str(&row.public_jwk).map_err(|_| defect("a public key is no JSON"))?;
            let point = |name: &str| jwk.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            let key = DecodingKey::from_ec_components(&point("x"), &point("y"));
            accepted.insert(row.id.clone(), key.map_err(|_| defect("a public key is not one of P-256"))?);
            published.push(jwk);
        }
        Ok(Self {
            active_id: signer.id.clone(),
            active: EncodingKey::from_ec_der(&private),
            accepted,
            jwks: json!({ "keys": published }),
            generation: 0,
            seen,
        })
    }
}

/// A new key, sealed. The pair comes from the cryptographic library's own randomness: a valid scalar is its business.
pub(crate) fn generate(
    rng: &dyn Rng,
    sealing_key: &SecretBox<[u8; 32]>,
    now_us: i64,
) -> Result<SigningKeyRow, Failure> {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| defect("no key was made"))?;
    let document = pair.to_pkcs8v1().map_err(|_| defect("a new key could not be written"))?;
    // An uncompressed point: 4, then both coordinates of 32 bytes.
    let point = pair.public_key().as_ref();
    let (x, y) = match (point.get(1..33), point.get(33..65)) {
        (Some(x), Some(y)) => (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y)),
        _ => return Err(defect("a new key has no point")),
    };
    let id = thumbprint(&x, &y);
    let jwk = json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y, "use": "sig", "alg": ALGORITHM, "kid": id });
    Ok(SigningKeyRow {
        private_key: seal(&id, document.as_ref(), rng, sealing_key)?,
        id,
        algorithm: ALGORITHM.to_owned(),
        public_jwk: jwk.to_string(),
        state: ACTIVE.to_owned(),
        created_at_us: now_us,
        retire_at_us: None,
    })
}

/// RFC 7638: the hash of the required members, in the order of their names, without blanks.
fn thumbprint(x: &str, y: &str) -> String {
    let members = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    URL_SAFE_NO_PAD.encode(Sha256::digest(members.as_bytes()))
}

/// Nonce, ciphertext, tag; bound to the key's name.
fn seal(id: &str, plain: &[u8], rng: &dyn Rng, key: &SecretBox<[u8; 32]>) -> Result<Vec<u8>, Failure> {
    let mut nonce = [0_u8; NONCE_LEN];
    rng.fill(&mut nonce);
    let mut text = plain.to_vec();
    cipher(key)?
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), bound_to(id), &mut text)
        .map_err(|_| defect("a signing key could not be sealed"))?;
    Ok([&nonce[..], &text].concat())
}

fn open(id: &str, sealed: &[u8], key: &SecretBox<[u8; 32]>) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let wrong = || defect("the signing key does not open: is this the key-encryption key it was sealed with?");
    let (nonce, text) = sealed.split_at_checked(NONCE_LEN).ok_or_else(wrong)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| wrong())?;
    let mut text = Zeroizing::new(text.to_vec());
    let length = cipher(key)?.open_in_place(nonce, bound_to(id), &mut text).map_err(|_| wrong())?.len();
    text.truncate(length);
    Ok(text)
}

fn cipher(key: &SecretBox<[u8; 32]>) -> Result<LessSafeKey, Failure> {
    let key = UnboundKey::new(&AES_256_GCM, key.expose_secret()).map_err(|_| defect("not a key of AES-256"))?;
    Ok(LessSafeKey::new(key))
}

fn bound_to(id: &str) -> Aad<String> {
    Aad::from(format!("signing_keys:{id}"))
}

fn defect(what: &str) -> Failure {
    Failure::Internal(what.to_owned())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) struct Counting(pub(crate) parking_lot::Mutex<u8>);

    impl Rng for Counting {
        fn fill(&self, bytes: &mut [u8]) {
            for byte in bytes {
                let mut next = self.0.lock();
                *next = next.wrapping_add(1);
                *byte = *next;
            }
        }
    }

    fn sealing_key(byte: u8) -> SecretBox<[u8; 32]> {
        SecretBox::new(Box::new([byte; 32]))
    }

    pub(crate) fn some_keys() -> Keys {
        let row = generate(&Counting(parking_lot::Mutex::new(0)), &sealing_key(7), 0).unwrap();
        Keys::from_rows(&[row], &sealing_key(7)).unwrap()
    }

    #[test]
    fn a_key_opens_under_its_own_name_and_key_only() {
        let row = generate(&Counting(parking_lot::Mutex::new(0)), &sealing_key(7), 0).unwrap();
        assert!(open(&row.id, &row.private_key, &sealing_key(7)).is_ok());
        assert!(open(&row.id, &row.private_key, &sealing_key(8)).is_err());
        assert!(open("other", &row.private_key, &sealing_key(7)).is_err());
        assert!(open(&row.id, &row.private_key[..5], &sealing_key(7)).is_err());
    }

    #[test]
    fn what_is_published_has_no_secret_part() {
        let keys = some_keys();
        let key = &keys.jwks["keys"][0];
        assert!(key.get("d").is_none());
        assert_eq!((key["alg"].as_str(), key["use"].as_str()), (Some("ES256"), Some("sig")));
        assert_eq!(key["kid"], keys.active_id.as_str());
        assert_eq!(thumbprint(key["x"].as_str().unwrap(), key["y"].as_str().unwrap()), keys.active_id);
    }
}
