//! Which passwords are allowed: the four default rules of Django, in its order and words, and a bound on the length.

use crate::similarity::is_too_similar;

/// Longest password, bytes: more is work for an attacker's benefit only.
pub const MAX_PASSWORD_BYTES: usize = 1024;
/// Shortest password, characters.
pub const MIN_PASSWORD_CHARS: usize = 8;

/// Lower case, sorted by bytes, one a line. Where it comes from: `common_passwords.NOTICE`.
const COMMON: &str = include_str!("common_passwords.txt");

/// Whether this text may be a password at all, by its length. Checked before anything is computed from it.
#[must_use]
pub fn is_within_password_bounds(password: &str) -> bool {
    password.len() <= MAX_PASSWORD_BYTES
}

/// Messages about a new password of a user with this name and address; none if it holds.
#[must_use]
pub fn check_password(password: &str, username: &str, email: &str) -> Vec<String> {
    if !is_within_password_bounds(password) {
        return vec!["This password is too long. It must contain at most 1024 bytes.".to_owned()];
    }
    let mut messages = Vec::new();
    if is_too_similar(password, username) {
        messages.push("The password is too similar to the username.".to_owned());
    } else if is_too_similar(password, email) {
        messages.push("The password is too similar to the email address.".to_owned());
    }
    if password.chars().count() < MIN_PASSWORD_CHARS {
        messages.push("This password is too short. It must contain at least 8 characters.".to_owned());
    }
    if is_common(password) {
        messages.push("This password is too common.".to_owned());
    }
    if !password.is_empty() && password.chars().all(char::is_numeric) {
        messages.push("This password is entirely numeric.".to_owned());
    }
    messages
}

fn is_common(password: &str) -> bool {
    let wanted = password.to_lowercase();
    let wanted = wanted.trim().as_bytes();
    // Narrows a range of the text by whole lines: nothing is built at start or kept in memory.
    let text = COMMON.as_bytes();
    let (mut low, mut high) = (0, text.len());
    while low < high {
        let middle = low + (high - low) / 2;
        let start = text[low..middle].iter().rposition(|byte| *byte == b'\n').map_or(low, |place| low + place + 1);
        let end = text[middle..high].iter().position(|byte| *byte == b'\n').map_or(high, |place| middle + place);
        match text[start..end].cmp(wanted) {
            std::cmp::Ordering::Equal => return true,
            std::cmp::Ordering::Less => low = end + 1,
            std::cmp::Ordering::Greater => high = start,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: &str = "This password is too short. It must contain at least 8 characters.";
    const COMMON_TEXT: &str = "This password is too common.";
    const NUMERIC: &str = "This password is entirely numeric.";

    #[test]
    fn passwords_are_judged_in_djangos_order_and_words() {
        let table: &[(&str, &str, &str, &[&str])] = &[
            ("Str0ng-Passw0rd!", "alice", "alice@example.com", &[]),
            ("testpass123", "testuser", "test@example.com", &[]),
            ("xY7!q", "u1", "a@example.com", &[SHORT]),
            ("football1", "u1", "a@example.com", &[COMMON_TEXT]),
            (" FOOTBALL1 ", "u1", "a@example.com", &[COMMON_TEXT]),
            ("8492650173", "u1", "a@example.com", &[NUMERIC]),
            ("12345", "u1", "a@example.com", &[SHORT, COMMON_TEXT, NUMERIC]),
            ("charlotte9", "charlotte", "a@example.com", &["The password is too similar to the username."]),
            ("wonderwoman1", "u1", "wonderwoman@example.com", &["The password is too similar to the email address."]),
            ("pwuser12", "pwuser", "", &["The password is too similar to the username."]),
            ("alice", "alice", "alice@x.io", &["The password is too similar to the username.", SHORT, COMMON_TEXT]),
        ];
        for (password, username, email, expected) in table {
            assert_eq!(check_password(password, username, email), *expected, "{password}");
        }
    }

    #[test]
    fn a_password_is_bounded() {
        assert!(check_password(&"aB3$".repeat(256), "u1", "").is_empty());
        assert_eq!(check_password(&"aB3$x".repeat(256), "u1", "").len(), 1);
        assert!(check_password(&format!("{}z", "aB3$".repeat(32)), "longpw", "a@example.com").is_empty());
    }

    #[test]
    fn every_line_of_the_list_is_found_and_nothing_between() {
        let lines: Vec<&str> = COMMON.lines().collect();
        assert!(lines.len() > 19_000);
        assert!(lines.windows(2).all(|pair| pair[0].as_bytes() < pair[1].as_bytes()));
        for line in &lines {
            assert!(is_common(line), "{line}");
        }
        for absent in ["", "football1x", "zzzzzzzzzzzzzzzzzzzz", "footbal1l\nfootball1", "\u{10ffff}"] {
            assert!(!is_common(absent), "{absent}");
        }
    }
}
