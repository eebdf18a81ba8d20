//! Usernames: which are allowed, and the one form in which they are kept.
//!
//! They are case sensitive, as the Django service it replaces has them.

use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

/// Longest username, characters.
pub const MAX_USERNAME_CHARS: usize = 150;

/// What is said of a name that somebody else has.
pub const USERNAME_TAKEN: &str = "A user with that username already exists.";

const BAD_CHARACTERS: &str =
    "Enter a valid username. This value may contain only letters, numbers, and @/./+/-/_ characters.";
const TOO_LONG: &str = "Ensure this field has no more than 150 characters.";

/// Messages about this username as it was sent; none if it holds.
#[must_use]
pub fn check_username(username: &str) -> Vec<String> {
    let mut messages = messages_about(username);
    // Compatibility forms may unfold into blanks or into many characters.
    if messages.is_empty() {
        messages = messages_about(&normalize_username(username));
    }
    messages
}

/// The form in which the name is kept and looked up: Unicode NFKC.
#[must_use]
pub fn normalize_username(username: &str) -> String {
    username.nfkc().collect()
}

fn messages_about(username: &str) -> Vec<String> {
    let mut messages = Vec::new();
    if username.is_empty() || !username.chars().all(|c| is_word(c) || matches!(c, '.' | '@' | '+' | '-')) {
        messages.push(BAD_CHARACTERS.to_owned());
    }
    if username.chars().count() > MAX_USERNAME_CHARS {
        messages.push(TOO_LONG.to_owned());
    }
    if username.contains('\0') {
        messages.push(crate::NULL_CHARACTERS.to_owned());
    }
    messages
}

/// What Python's `\w` matches: letters, numbers and the underscore. Unlike Rust's idea of alphabetic, neither vowel
/// signs nor letters in circles or squares.
pub(crate) fn is_word(c: char) -> bool {
    let is_enclosed_letter = matches!(c, '\u{24B6}'..='\u{24E9}' | '\u{1F130}'..='\u{1F149}' | '\u{1F150}'..='\u{1F169}'
        | '\u{1F170}'..='\u{1F189}');
    c == '_' || (c.is_alphanumeric() && !is_combining_mark(c) && !is_enclosed_letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_django_takes_are_taken() {
        for name in ["alice", "ALICE", "иван", "a.b+c-d_e@f", "\u{FB01}lip", "名前", "x", "٣"] {
            assert_eq!(check_username(name), Vec::<String>::new(), "{name}");
        }
    }

    #[test]
    fn names_that_django_refuses_are_refused_in_its_words() {
        for name in ["bad user!", "a\nb", "alice\n", "a b", "e\u{301}x", "\u{24B6}lice", "a/b", ""] {
            assert_eq!(check_username(name), [BAD_CHARACTERS], "{name:?}");
        }
        assert_eq!(check_username("a\0b"), [BAD_CHARACTERS, "Null characters are not allowed."]);
        assert_eq!(check_username(&"u".repeat(151)), ["Ensure this field has no more than 150 characters."]);
        assert!(check_username(&"и".repeat(150)).is_empty());
    }

    #[test]
    fn a_name_is_kept_in_one_form() {
        assert_eq!(normalize_username("\u{FB01}lip"), "filip");
        assert_eq!(normalize_username("ｆｕｌｌ"), "full");
        assert_eq!(normalize_username("Alice"), "Alice");
    }

    #[test]
    fn a_name_that_unfolds_into_blanks_is_refused() {
        assert_eq!(check_username("\u{FDFA}"), [BAD_CHARACTERS]);
    }
}
