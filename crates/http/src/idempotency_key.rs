//! The `Idempotency-Key` of a request that moves money, with the fingerprint of what was asked.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Response};
use florin_app::wallet::RequestKey;
use sha2::{Digest, Sha256};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const LONGEST: usize = 255;

/// What is said of a key that is not one.
pub(crate) const KEY_RULE: &str = "Idempotency-Key must be 1 to 255 printable ASCII characters.";

/// The key has other characters, is empty, too long, or there are two.
#[derive(Debug)]
pub(crate) struct InvalidKey;

/// The request's key, if it has one.
///
/// The fingerprint covers `request`: the route and the values as understood, so that the same request written with
/// other spaces or `10` for `10.00` is the same.
pub(crate) fn request_key(headers: &HeaderMap, request: &[&str]) -> Result<Option<RequestKey>, InvalidKey> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let bytes = value.as_bytes();
    let is_printable = bytes.iter().all(|byte| (0x20..=0x7e).contains(byte));
    if values.next().is_some() || bytes.is_empty() || bytes.len() > LONGEST || !is_printable {
        return Err(InvalidKey);
    }
    let mut hasher = Sha256::new();
    for part in request {
        // The length goes first, so that no two lists of parts hash alike.
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    let key = value.to_str().map_err(|_| InvalidKey)?.to_owned();
    Ok(Some(RequestKey { key, fingerprint: hasher.finalize().into() }))
}

/// Marks an answer that was given before.
pub(crate) fn mark_replayed<B>(response: &mut Response<B>, replayed: bool) {
    if replayed {
        response.headers_mut().insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_of(value: &[u8]) -> Result<Option<RequestKey>, InvalidKey> {
        let mut headers = HeaderMap::new();
        headers.insert(IDEMPOTENCY_KEY, HeaderValue::from_bytes(value).unwrap());
        request_key(&headers, &["POST", "/x"])
    }

    #[test]
    fn keys_are_printable_and_bounded() {
        assert!(request_key(&HeaderMap::new(), &[]).unwrap().is_none());
        assert_eq!(key_of(b"a-1 \"x\"").unwrap().unwrap().key, "a-1 \"x\"");
        assert!(key_of(&[b'k'; 255]).is_ok());
        for bad in [&b""[..], &[b'k'; 256], "é".as_bytes(), b"a\tb"] {
            assert!(key_of(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn parts_do_not_run_together() {
        let mut headers = HeaderMap::new();
        headers.insert(IDEMPOTENCY_KEY, HeaderValue::from_static("k"));
        let fingerprint = |parts: &[&str]| request_key(&headers, parts).unwrap().unwrap().fingerprint;
        assert_ne!(fingerprint(&["ab", "c"]), fingerprint(&["a", "bc"]));
        assert_eq!(fingerprint(&["ab", "c"]), fingerprint(&["ab", "c"]));
    }
}
