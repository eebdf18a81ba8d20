//! The access token: an ES256 JWT whose header and claims are taken strictly.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, Header, Validation};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{TokenError, keys::Keys};
use crate::Failure;

/// Longest token looked at, bytes.
pub(crate) const TOKEN_BYTES_MAX: usize = 8 * 1024;

const ACCESS: &str = "access";
/// The scope of a user to whom staff routes are open.
pub(crate) const STAFF: &str = "staff";

/// The claims. Times: seconds since the Unix epoch, UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims {
    /// Who issued it.
    pub(crate) iss: String,
    /// Whom it is for: the issuer itself.
    pub(crate) aud: String,
    /// The user's id.
    pub(crate) sub: Uuid,
    /// The user's number, where clients of the Django service look for it.
    pub(crate) user_id: i64,
    /// `access`.
    pub(crate) token_type: String,
    /// Its own id: that of the refresh token issued with it.
    pub(crate) jti: Uuid,
    /// The session.
    pub(crate) sid: Uuid,
    /// When it was issued.
    pub(crate) iat: i64,
    /// When it stops to count.
    pub(crate) exp: i64,
    /// The user's token version when it was issued.
    pub(crate) tv: i64,
    /// What else it opens; left out if nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) scope: Option<String>,
}

/// What a header may hold. Anything else (`jku`, `x5u`, `jwk`, `x5c`, `crit`) is not ours.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StrictHeader {
    typ: String,
    alg: String,
    kid: String,
}

impl Claims {
    /// Claims of an access token.
    pub(crate) fn is_access(&self) -> bool {
        self.token_type == ACCESS
    }

    /// `access`, as text for [`Claims::token_type`].
    pub(crate) fn access() -> String {
        ACCESS.to_owned()
    }
}

/// Signs the claims.
pub(crate) fn sign(keys: &Keys, claims: &Claims) -> Result<String, Failure> {
    let mut header = Header::new(Algorithm::ES256);
    header.kid = Some(keys.active_id.clone());
    jsonwebtoken::encode(&header, claims, &keys.active)
        .map_err(|_| Failure::Internal("an access token could not be signed".to_owned()))
}

/// The claims of a token that one of our keys signed for `issuer`, whose time is not over at `now_s`.
pub(crate) fn verify(keys: &Keys, issuer: &str, token: &str, now_s: i64) -> Result<Claims, TokenError> {
    if token.len() > TOKEN_BYTES_MAX || token.split('.').count() != 3 {
        return Err(TokenError::Invalid);
    }
    let header = token.split('.').next().and_then(read_header).ok_or(TokenError::Invalid)?;
    if header.alg != "ES256" || header.typ != "JWT" {
        return Err(TokenError::Invalid);
    }
    let key = keys.accepted.get(&header.kid).ok_or(TokenError::Invalid)?;
    // Time, issuer and audience are checked below: by our clock, and exactly.
    let mut validation = Validation::new(Algorithm::ES256);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    let claims = jsonwebtoken::decode::<Claims>(token, key, &validation).map_err(|_| TokenError::Invalid)?.claims;
    if claims.iss != issuer || claims.aud != issuer || claims.exp <= now_s {
        return Err(TokenError::Invalid);
    }
    if claims.is_access() { Ok(claims) } else { Err(TokenError::WrongType) }
}

fn read_header(part: &str) -> Option<StrictHeader> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::{super::keys::tests::some_keys, *};

    const ISSUER: &str = "https://florin.test";
    const NOW_S: i64 = 1_800_000_000;

    fn claims() -> Claims {
        Claims {
            iss: ISSUER.to_owned(),
            aud: ISSUER.to_owned(),
            sub: Uuid::from_u128(1),
            user_id: 42,
            token_type: Claims::access(),
            jti: Uuid::from_u128(2),
            sid: Uuid::from_u128(3),
            iat: NOW_S,
            exp: NOW_S + 900,
            tv: 0,
            scope: None,
        }
    }

    fn sign_with_header(keys: &Keys, header: &str, claims: &Claims) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), {
            URL_SAFE_NO_PAD.encode(serde_json::to_vec(claims).unwrap())
        });
        let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &keys.active, Algorithm::ES256).unwrap();
        format!("{signed}.{signature}")
    }

    #[test]
    fn a_token_of_ours_is_read_until_its_time_is_over() {
        let keys = some_keys();
        let token = sign(&keys, &claims()).unwrap();
        assert_eq!(verify(&keys, ISSUER, &token, NOW_S).unwrap(), claims());
        assert!(verify(&keys, ISSUER, &token, NOW_S + 899).is_ok());
        assert!(matches!(verify(&keys, ISSUER, &token, NOW_S + 900), Err(TokenError::Invalid)));
    }

    #[test]
    fn the_user_number_is_a_number_on_the_wire() {
        let token = sign(&some_keys(), &claims()).unwrap();
        let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
        let payload: serde_json::Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!((payload["user_id"].as_i64(), payload["token_type"].as_str()), (Some(42), Some("access")));
    }

    #[test]
    fn tokens_for_somebody_else_or_of_another_kind_are_refused() {
        let keys = some_keys();
        let refused = |change: fn(&mut Claims)| {
            let mut claims = claims();
            change(&mut claims);
            verify(&keys, ISSUER, &sign(&keys, &claims).unwrap(), NOW_S).unwrap_err()
        };
        assert!(matches!(refused(|claims| claims.iss = "https://florin.test/".to_owned()), TokenError::Invalid));
        assert!(matches!(refused(|claims| claims.aud = "other".to_owned()), TokenError::Invalid));
        assert!(matches!(refused(|claims| claims.token_type = "refresh".to_owned()), TokenError::WrongType));
    }

    #[test]
    fn headers_are_taken_strictly() {
        let keys = some_keys();
        let kid = &keys.active_id;
        let good = format!(r#"{{"typ":"JWT","alg":"ES256","kid":"{kid}"}}"#);
        assert!(verify(&keys, ISSUER, &sign_with_header(&keys, &good, &claims()), NOW_S).is_ok());
        for bad in [
            format!(r#"{{"typ":"JWT","alg":"none","kid":"{kid}"}}"#),
            format!(r#"{{"typ":"JWT","alg":"HS256","kid":"{kid}"}}"#),
            format!(r#"{{"typ":"logout+jwt","alg":"ES256","kid":"{kid}"}}"#),
            r#"{"typ":"JWT","alg":"ES256","kid":"../../etc/passwd"}"#.to_owned(),
            r#"{"typ":"JWT","alg":"ES256"}"#.to_owned(),
            format!(r#"{{"typ":"JWT","alg":"ES256","kid":"{kid}","jku":"https://evil.test"}}"#),
            format!(r#"{{"typ":"JWT","alg":"ES256","kid":"{kid}","x5u":"https://evil.test"}}"#),
            format!(r#"{{"typ":"JWT","alg":"ES256","kid":"{kid}","crit":["exp"]}}"#),
            format!(r#"{{"typ":"JWT","alg":"ES256","kid":"{kid}","jwk":{{"kty":"EC"}}}}"#),
            format!(r#"{{"typ":"JWT","alg":"ES256","alg":"ES256","kid":"{kid}"}}"#),
        ] {
            let token = sign_with_header(&keys, &bad, &claims());
            assert!(matches!(verify(&keys, ISSUER, &token, NOW_S), Err(TokenError::Invalid)), "{bad}");
        }
    }

    #[test]
    fn changed_or_foreign_or_oversized_texts_are_refused() {
        let keys = some_keys();
        let token = sign(&keys, &claims()).unwrap();
        let parts: Vec<&str> = token.split('.').collect();
        let payload = String::from_utf8(URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
        let other = URL_SAFE_NO_PAD.encode(payload.replace("\"user_id\":42", "\"user_id\":1"));
        let changed = format!("{}.{other}.{}", parts[0], parts[2]);
        let unsigned = format!("{}.{}.", parts[0], parts[1]);
        let foreign = sign(&some_keys(), &claims()).unwrap();
        let padded = format!("{}=.{}.{}", parts[0], parts[1], parts[2]);
        let long = format!("{token}{}", "A".repeat(TOKEN_BYTES_MAX));
        for bad in ["", "garbage", "a.b.c", "...", &changed, &unsigned, &foreign, &padded, &long] {
            assert!(matches!(verify(&keys, ISSUER, bad, NOW_S), Err(TokenError::Invalid)), "{bad}");
        }
    }
}
