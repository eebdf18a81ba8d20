//! The refresh token: opaque text that says where its row is, and a secret of which only the hash is kept.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use florin_ledger::BUCKETS;
use sha2::{Digest, Sha256};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::port::Rng;

const PREFIX: &str = "rt_";
const BYTES: usize = 2 + 16 + 32;

/// A refresh token, as presented or as issued.
pub(crate) struct RefreshToken {
    /// The user's bucket, where its row is.
    pub(crate) bucket: u16,
    /// Its row.
    pub(crate) id: Uuid,
    secret: Zeroizing<[u8; 32]>,
}

impl RefreshToken {
    /// A new one, with a random secret.
    pub(crate) fn new(bucket: u16, id: Uuid, rng: &dyn Rng) -> Self {
        let mut secret = Zeroizing::new([0_u8; 32]);
        rng.fill(&mut secret[..]);
        Self { bucket, id, secret }
    }

    /// What this text says; none if it is no refresh token by its form.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let encoded = text.strip_prefix(PREFIX).filter(|rest| rest.len() <= 2 * BYTES)?;
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(encoded).ok()?);
        if bytes.len() != BYTES {
            return None;
        }
        let bucket = u16::from_be_bytes(bytes.get(..2)?.try_into().ok()?);
        let id = Uuid::from_slice(bytes.get(2..18)?).ok()?;
        let secret = Zeroizing::new(bytes.get(18..)?.try_into().ok()?);
        (bucket < BUCKETS).then_some(Self { bucket, id, secret })
    }

    /// The text that the client keeps.
    pub(crate) fn to_text(&self) -> String {
        let bytes = Zeroizing::new([&self.bucket.to_be_bytes()[..], self.id.as_bytes(), &self.secret[..]].concat());
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(&*bytes))
    }

    /// SHA-256 of the secret. It has 256 random bits: no slow hash is needed.
    pub(crate) fn secret_hash(&self) -> [u8; 32] {
        Sha256::digest(&self.secret[..]).into()
    }

    /// Whether the secret is the one whose hash is kept; takes the same time either way.
    pub(crate) fn matches(&self, secret_hash: &[u8; 32]) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(&self.secret_hash(), secret_hash).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::keys::tests::Counting, *};

    #[test]
    fn a_token_says_where_its_row_is_and_proves_its_secret() {
        let rng = Counting(parking_lot::Mutex::new(0));
        let token = RefreshToken::new(1023, Uuid::from_u128(7), &rng);
        let read = RefreshToken::parse(&token.to_text()).unwrap();
        assert_eq!((read.bucket, read.id), (1023, Uuid::from_u128(7)));
        assert!(read.matches(&token.secret_hash()));
        assert!(!RefreshToken::new(1023, Uuid::from_u128(7), &rng).matches(&token.secret_hash()));
    }

    #[test]
    fn other_texts_are_no_refresh_tokens() {
        let rng = Counting(parking_lot::Mutex::new(0));
        let far = RefreshToken::new(1024, Uuid::nil(), &rng).to_text();
        let good = RefreshToken::new(3, Uuid::nil(), &rng).to_text();
        let long = format!("{good}{}", "A".repeat(10_000));
        for text in ["", "garbage", "rt_", "rt_AAAA", &far, &good[1..], &good[..good.len() - 1], &long, "rt_é"] {
            assert!(RefreshToken::parse(text).is_none(), "{text}");
        }
    }
}
