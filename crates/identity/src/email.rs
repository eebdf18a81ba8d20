//! E-mail addresses: Django's rules, decided without a regular expression.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Longest address, characters.
pub const MAX_EMAIL_CHARS: usize = 254;

const TOO_LONG: &str = "Ensure this field has no more than 254 characters.";
const INVALID: &str = "Enter a valid email address.";

/// Messages about this address; none if it holds. An empty one holds: an address is optional.
#[must_use]
pub fn check_email(email: &str) -> Vec<String> {
    let mut messages = Vec::new();
    if email.is_empty() {
        return messages;
    }
    if email.chars().count() > MAX_EMAIL_CHARS {
        messages.push(TOO_LONG.to_owned());
    }
    if email.contains('\0') {
        messages.push(crate::NULL_CHARACTERS.to_owned());
    }
    if !is_address(email) {
        messages.push(INVALID.to_owned());
    }
    messages
}

/// The form in which an address is kept: the domain in lower case.
#[must_use]
pub fn normalize_email(email: &str) -> String {
    match email.rsplit_once('@') {
        Some((local, domain)) => format!("{local}@{}", domain.to_lowercase()),
        None => email.to_owned(),
    }
}

fn is_address(email: &str) -> bool {
    email.chars().count() <= 320
        && email.rsplit_once('@').is_some_and(|(local, domain)| {
            (is_dot_atom(local) || is_quoted(local))
                && (domain == "localhost" || is_domain(domain) || is_address_literal(domain))
        })
}

fn is_dot_atom(local: &str) -> bool {
    local.split('.').all(|atom| {
        !atom.is_empty() && atom.chars().all(|c| c.is_ascii_alphanumeric() || "-!#$%&'*+/=?^_`{}|~".contains(c))
    })
}

fn is_quoted(local: &str) -> bool {
    let Some(inner) = local.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else { return false };
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        let holds = match c {
            '\\' => {
                chars.next().is_some_and(|c| matches!(c, '\u{1}'..='\u{9}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{7f}'))
            }
            c => {
                let is_control = matches!(c, '\u{1}'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}');
                is_control || matches!(c, '!' | '#'..='[' | ']'..='\u{7f}')
            }
        };
        if !holds {
            return false;
        }
    }
    true
}

fn is_domain(domain: &str) -> bool {
    let Some((hosts, top)) = domain.rsplit_once('.') else { return false };
    hosts.split('.').all(is_label) && is_top_level(top)
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.chars().count())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.chars().all(|c| c == '-' || c.is_ascii_digit() || is_letter(c))
}

fn is_top_level(label: &str) -> bool {
    let punycode = label.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case("xn--"))
        && (1..=59).contains(&label.len().saturating_sub(4))
        && label.chars().skip(4).all(|c| c.is_ascii_alphanumeric());
    punycode || (is_label(label) && label.chars().count() >= 2 && !label.chars().any(|c| c.is_ascii_digit()))
}

fn is_letter(c: char) -> bool {
    c.is_ascii_alphabetic() || ('\u{a1}'..='\u{ffff}').contains(&c)
}

fn is_address_literal(domain: &str) -> bool {
    domain
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .is_some_and(|inner| inner.parse::<Ipv4Addr>().is_ok() || inner.parse::<Ipv6Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_django_takes_are_taken() {
        for email in [
            "",
            "email@here.com",
            "weirder-email@here.and.there.com",
            "!def!xyz%abc@example.com",
            "email@[127.0.0.1]",
            "email@[2001:dB8::1]",
            "email@[::fffF:127.0.0.1]",
            "example@valid-----hyphens.com",
            "test@domain.with.idn.tld.उदाहरण.परीक्षा",
            "email@localhost",
            "\"test@test\"@example.com",
            "\"\\\t\"@here.com",
            "a@atm.xn--vermgensberater-ctb",
            "o'brien+tag@ex.co",
        ] {
            assert_eq!(check_email(email), Vec::<String>::new(), "{email}");
        }
    }

    #[test]
    fn addresses_that_django_refuses_are_refused_in_its_words() {
        for email in [
            "abc",
            "abc@",
            "abc@bar",
            "a @x.cz",
            "abc@.com",
            "something@@somewhere.com",
            "email@127.0.0.1",
            "email@[127.0.0.256]",
            "email@[::ffff::127.0.0.1]",
            "example@invalid-.com",
            "example@-invalid.com",
            "example@inv-.alid-.com",
            "test@example.com\n\n<script src=\"x.js\">",
            "\"\\\u{a}\"@here.com",
            "trailingdot@shouldfail.com.",
            "a@b.com\n",
            "a.@b.com",
            "john.doe@com.1",
        ] {
            assert_eq!(check_email(email), [INVALID], "{email}");
        }
    }

    #[test]
    fn a_long_address_is_refused_for_its_length() {
        let email = format!(
            "{}@{}.{}.{}.{}.com",
            "a".repeat(60),
            "b".repeat(60),
            "c".repeat(60),
            "d".repeat(60),
            "e".repeat(9)
        );
        assert_eq!(check_email(&email), ["Ensure this field has no more than 254 characters."]);
    }

    #[test]
    fn only_the_domain_is_put_in_lower_case() {
        assert_eq!(normalize_email("Mix.Case@EXAMPLE.Com"), "Mix.Case@example.com");
        assert_eq!(normalize_email(""), "");
    }
}
