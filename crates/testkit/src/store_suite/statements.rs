//! Every statement that both engines share, taken from the sources of the store.

use std::{fs, path::Path};

/// The texts of all statements in `crates/store/src`: every literal that begins like one.
///
/// # Panics
/// The sources are not there.
#[must_use]
pub fn shared_statements() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../store/src");
    let mut statements: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .flat_map(|path| literals(&fs::read_to_string(path).unwrap()))
        .filter(|text| ["SELECT ", "INSERT ", "UPDATE ", "DELETE ", "WITH "].iter().any(|verb| text.starts_with(verb)))
        .collect();
    statements.sort_unstable();
    statements.dedup();
    statements
}

/// String literals, with escapes and continued lines resolved as the compiler does.
fn literals(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut characters = source.chars().peekable();
    let mut previous = ' ';
    while let Some(character) = characters.next() {
        if character == '/' && characters.peek() == Some(&'/') {
            characters.by_ref().take_while(|character| *character != '\n').for_each(drop);
        } else if character == '"' && previous != '\'' {
            let mut literal = String::new();
            while let Some(inner) = characters.next() {
                match inner {
                    '"' => break,
                    '\\' => match characters.next() {
                        Some('\n') => while characters.next_if(|next| next.is_whitespace()).is_some() {},
                        Some(escaped) => literal.push(escaped),
                        None => {}
                    },
                    other => literal.push(other),
                }
            }
            found.push(literal);
        }
        previous = character;
    }
    found
}
