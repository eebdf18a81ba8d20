//! The name of a request, in its answer, its log lines and its audit rows.

use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue};
use florin_app::port::Rng;

/// The header, both ways.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const LONGEST: usize = 64;

/// One request's id.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(HeaderValue);

impl RequestId {
    /// The client's own if it is sane, else a new one.
    pub(crate) fn of(headers: &HeaderMap, rng: &dyn Rng) -> Self {
        match headers.get(X_REQUEST_ID) {
            Some(value) if is_sane(value.as_bytes()) => Self(value.clone()),
            _ => Self::random(rng),
        }
    }

    fn random(rng: &dyn Rng) -> Self {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut random = [0_u8; 16];
        rng.fill(&mut random);
        let mut text = [0_u8; 32];
        for (pair, byte) in text.chunks_exact_mut(2).zip(random) {
            pair[0] = HEX[usize::from(byte >> 4)];
            pair[1] = HEX[usize::from(byte & 15)];
        }
        Self(HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("none")))
    }

    /// The id that the envelope gave this request.
    pub(crate) fn from_extensions(extensions: &Extensions) -> Self {
        extensions.get::<Self>().cloned().unwrap_or(Self(HeaderValue::from_static("none")))
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    pub(crate) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

fn is_sane(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && bytes.len() <= LONGEST
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_short_plain_ids_are_taken_over() {
        for sane in ["a", "req-1.2_3", &"x".repeat(64)] {
            assert!(is_sane(sane.as_bytes()), "{sane}");
        }
        for bad in ["", "a b", "a\"b", "<x>", "ü", &"x".repeat(65)] {
            assert!(!is_sane(bad.as_bytes()), "{bad}");
        }
    }
}
