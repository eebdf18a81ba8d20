//! Password hashes: argon2id for new ones, PBKDF2 as Django wrote it for imported ones.

use std::num::NonZeroU32;

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::pbkdf2;
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};
use password_hash::{PasswordHasher, PasswordVerifier};

use crate::Failure;

/// Memory, KiB (OWASP and ASVS 5.0, appendix C).
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// How hashes of today's parameters begin.
const CURRENT: &str = "$argon2id$v=19$m=19456,t=2,p=1$";

/// Random bytes of a salt.
pub(crate) const SALT_BYTES: usize = 16;

/// Bytes that a hash comes to.
pub(crate) const DIGEST_BYTES: usize = 32;

const PBKDF2_ITERATIONS_MAX: u32 = 5_000_000;
const PBKDF2_SALT_BYTES_MAX: usize = 128;

/// The hash of a password, in PHC form. Takes tens of milliseconds and 19 MiB.
pub(crate) fn hash(password: &str, salt: &[u8; SALT_BYTES]) -> Result<String, Failure> {
    let defect = || Failure::Internal("a password could not be hashed".to_owned());
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|_| defect())?;
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_with_salt(password.as_bytes(), salt)
        .map(|hash| hash.to_string())
        .map_err(|_| defect())
}

/// The hash of a password that nobody knows, this program included: checking one against it takes as long as any check.
/// Made without computing a hash, which would take its memory at every start.
pub(crate) fn of_nobody(salt: &[u8; SALT_BYTES], digest: &[u8; DIGEST_BYTES]) -> String {
    format!("{CURRENT}{}${}", STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(digest))
}

/// Whether the password is the one of this hash. A hash of unknown form matches nothing.
pub(crate) fn verify(password: &str, hash: &str) -> bool {
    if let Some(rest) = hash.strip_prefix("pbkdf2_sha256$") {
        return verify_pbkdf2(password, rest).unwrap_or(false);
    }
    // Django writes `argon2$argon2id$…` for the same form.
    let phc = hash.strip_prefix("argon2").filter(|rest| rest.starts_with('$')).unwrap_or(hash);
    phc.starts_with("$argon2") && Argon2::default().verify_password(password.as_bytes(), phc).is_ok()
}

/// Whether a hash should be made anew when its password is known.
pub(crate) fn is_outdated(hash: &str) -> bool {
    !hash.starts_with(CURRENT)
}

/// `iterations$salt$base64`: the salt's text is the salt.
fn verify_pbkdf2(password: &str, rest: &str) -> Option<bool> {
    let mut parts = rest.splitn(3, '$');
    let (iterations, salt, expected) = (parts.next()?, parts.next()?, parts.next()?);
    let iterations = NonZeroU32::new(iterations.parse().ok()?)?;
    let expected = STANDARD.decode(expected).ok()?;
    if iterations.get() > PBKDF2_ITERATIONS_MAX || salt.len() > PBKDF2_SALT_BYTES_MAX || expected.len() != 32 {
        return None;
    }
    let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
    Some(pbkdf2::verify(algorithm, iterations, salt.as_bytes(), password.as_bytes(), &expected).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_hash_matches_its_password_only() {
        let made = hash("  Str0ng-Passw0rd!  ", &[7; SALT_BYTES]).unwrap();
        assert!(made.starts_with(CURRENT), "{made}");
        assert!(verify("  Str0ng-Passw0rd!  ", &made));
        assert!(!verify("Str0ng-Passw0rd!", &made));
        assert!(!is_outdated(&made));
        assert!(verify("  Str0ng-Passw0rd!  ", &format!("argon2{made}")));
    }

    #[test]
    fn a_hash_of_nobody_has_the_form_of_any_other() {
        let salt = [7; SALT_BYTES];
        let password = "Str0ng-Passw0rd!";
        let real = hash(password, &salt).unwrap();
        let nobody = of_nobody(&salt, &[9; DIGEST_BYTES]);
        assert_eq!(nobody.rsplit_once('$').unwrap().0, real.rsplit_once('$').unwrap().0);
        assert_eq!(nobody.len(), real.len());
        // The password is refused, not the hash: that would take no time.
        let refused = Argon2::default().verify_password(password.as_bytes(), nobody.as_str()).unwrap_err();
        assert_eq!(refused, password_hash::Error::PasswordInvalid);
        assert!(!verify(password, &nobody));
    }

    #[test]
    fn hashes_of_django_match() {
        let password = "correct horse battery staple";
        for (password, hash) in [
            (password, "pbkdf2_sha256$1000$seasalt$3xmXbyk2QpiyNcnoBbzRPwEBsYPTbDlRdtmLyBvQltA="),
            (password, "pbkdf2_sha256$260000$seasalt$E2mD54hHRBD9/QaYlRQ0tKByc/hoeW8FUsx1qlfLA7A="),
            (password, "pbkdf2_sha256$600000$seasalt$JqX3GXFiu9jfHIHiot0rqlJUbmTXbK0fgff0kIvaCW4="),
            (password, "pbkdf2_sha256$1000000$seasalt$5YGFAWS1Cu+xASixJYSbolqCUgtwAdKNxflr6PT+Mys="),
            ("lètmein", "pbkdf2_sha256$1000$seasalt$JgZryXe2Ga8ysg6XbzkLpTdyPQrHqsinbL9BnnhgX4A="),
        ] {
            assert!(verify(password, hash), "{hash}");
            assert!(!verify("another", hash), "{hash}");
            assert!(is_outdated(hash));
        }
    }

    #[test]
    fn odd_hashes_match_nothing() {
        let digest = "3xmXbyk2QpiyNcnoBbzRPwEBsYPTbDlRdtmLyBvQltA=";
        let salt = "s".repeat(129);
        for hash in [
            "!",
            "!unusable",
            "",
            "argon2",
            "$argon2id$",
            "md5$salt$00",
            &format!("pbkdf2_sha256$2147483648$seasalt${digest}"),
            &format!("pbkdf2_sha256$5000001$seasalt${digest}"),
            &format!("pbkdf2_sha256$0$seasalt${digest}"),
            &format!("pbkdf2_sha256$1000${salt}${digest}"),
            "pbkdf2_sha256$1000$seasalt$",
            "pbkdf2_sha256$1000",
        ] {
            assert!(!verify("correct horse battery staple", hash), "{hash}");
        }
    }
}
