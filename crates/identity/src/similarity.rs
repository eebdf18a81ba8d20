//! How alike two texts are: `SequenceMatcher.quick_ratio` of Python's difflib, in whole numbers.

use std::collections::HashMap;

use crate::username::is_word;

/// Whether the password is at least seven tenths like the attribute or like a word in it, as Django's
/// `UserAttributeSimilarityValidator` counts. Both are compared in lower case.
pub(crate) fn is_too_similar(password: &str, attribute: &str) -> bool {
    if attribute.is_empty() {
        return false;
    }
    let password: Vec<char> = password.to_lowercase().chars().collect();
    let attribute = attribute.to_lowercase();
    attribute.split(|c| !is_word(c)).chain([attribute.as_str()]).any(|part| {
        let part: Vec<char> = part.chars().collect();
        !is_far_longer(password.len(), part.len()) && is_alike(&password, &part)
    })
}

/// A password ten times as long as the part cannot be like it; an empty part is not compared.
fn is_far_longer(password: usize, part: usize) -> bool {
    password >= 10 * part && 20 * part < 7 * password
}

/// `2 * matches / (both lengths) >= 0.7`, where the matches are the characters that both have, each as often as the one
/// that has it less often.
fn is_alike(password: &[char], part: &[char]) -> bool {
    let mut left: HashMap<char, usize> = HashMap::new();
    for c in part {
        *left.entry(*c).or_default() += 1;
    }
    let matches = password
        .iter()
        .filter(|c| match left.get_mut(c) {
            Some(count) if *count > 0 => {
                *count -= 1;
                true
            }
            _ => false,
        })
        .count();
    20 * matches >= 7 * (password.len() + part.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn likeness_is_what_difflib_says() {
        // (password, attribute, alike); ratios from Python's SequenceMatcher.quick_ratio in the last column.
        for (password, attribute, alike) in [
            ("charlotte9", "charlotte", true),                 // 0.947
            ("wonderwoman1", "wonderwoman@example.com", true), // 0.957 with the first word
            ("pwuser12", "pwuser", true),                      // 0.857
            ("testpass123", "testuser", false),                // 0.526
            ("testpass123", "test@example.com", false),        // 0.533, and 0.444 with the whole
            ("abcdefgxyzu", "abcdefghi", true),                // 0.7 exactly
            ("abcdefgxyzuv", "abcdefghi", false),              // 0.667
            ("Str0ng-Passw0rd!", "alice", false),
            ("ALICEALICE", "alice", false), // 0.667
            ("iluvjoe99x", "joe", false),
            ("anything", "", false),
        ] {
            assert_eq!(is_too_similar(password, attribute), alike, "{password} {attribute}");
        }
    }

    proptest! {
        #[test]
        fn a_name_is_like_itself(name in "[a-z0-9]{1,40}") {
            prop_assert!(is_too_similar(&name, &name));
        }
    }
}
