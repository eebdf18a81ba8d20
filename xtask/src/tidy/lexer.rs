//! Rust source taken apart just far enough: code, comments and string literals, each where it stands.

/// A source file in three layers. `code` and `comments` keep the lines of the source; what belongs elsewhere is blank.
#[derive(Debug, Default)]
pub struct Layers {
    /// Code without comments and without what is inside literals.
    pub code: String,
    /// Comments alone.
    pub comments: String,
    /// String literals with the line (1, 2, 3 …) that they start in.
    pub strings: Vec<(usize, String)>,
}

struct Lexer<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    line: usize,
    layers: Layers,
}

/// Takes a source file apart.
pub fn layers(source: &str) -> Layers {
    let mut lexer = Lexer { rest: source.chars().peekable(), line: 1, layers: Layers::default() };
    let mut before = ' ';
    while let Some(next) = lexer.rest.next() {
        let after = lexer.rest.peek().copied().unwrap_or(' ');
        match (next, after) {
            ('/', '/') => lexer.line_comment(),
            ('/', '*') => lexer.block_comment(),
            ('"', _) => lexer.string(),
            ('r', '"' | '#') if !is_word(before) || before == 'b' || before == 'c' => lexer.raw_string(),
            ('\'', _) => lexer.quote(),
            _ => lexer.put(next, true),
        }
        before = next;
    }
    lexer.layers
}

/// Whether this character can be part of a name.
pub fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

impl Lexer<'_> {
    fn put(&mut self, character: char, is_code: bool) {
        if character == '\n' {
            self.line += 1;
            self.layers.code.push('\n');
            self.layers.comments.push('\n');
            return;
        }
        self.layers.code.push(if is_code { character } else { ' ' });
        self.layers.comments.push(if is_code { ' ' } else { character });
    }

    /// Neither code nor comment: the inside of a literal.
    fn blank(&mut self, character: char) {
        self.put(if character == '\n' { '\n' } else { ' ' }, true);
    }

    fn line_comment(&mut self) {
        self.put('/', false);
        while let Some(next) = self.rest.next_if(|next| *next != '\n') {
            self.put(next, false);
        }
    }

    fn block_comment(&mut self) {
        self.put('/', false);
        let mut depth = 0_usize;
        let mut before = '/';
        while let Some(next) = self.rest.next() {
            self.put(next, false);
            match (before, next) {
                ('/', '*') => depth += 1,
                ('*', '/') => depth = depth.saturating_sub(1),
                _ => {
                    before = next;
                    continue;
                }
            }
            before = ' ';
            if depth == 0 {
                return;
            }
        }
    }

    fn string(&mut self) {
        let start = self.line;
        self.put('"', true);
        let mut text = String::new();
        while let Some(next) = self.rest.next() {
            if next == '"' {
                self.put('"', true);
                break;
            }
            text.push(next);
            self.blank(next);
            if next == '\\'
                && let Some(escaped) = self.rest.next()
            {
                text.push(escaped);
                self.blank(escaped);
            }
        }
        self.layers.strings.push((start, text));
    }

    fn raw_string(&mut self) {
        self.put('r', true);
        let mut hashes = 0;
        while self.rest.next_if_eq(&'#').is_some() {
            self.put('#', true);
            hashes += 1;
        }
        if self.rest.next_if_eq(&'"').is_none() {
            return; // a raw name such as r#type
        }
        let start = self.line;
        self.put('"', true);
        let end = format!("\"{}", "#".repeat(hashes));
        let mut text = String::new();
        while let Some(next) = self.rest.next() {
            text.push(next);
            self.blank(next);
            if text.ends_with(&end) {
                break;
            }
        }
        text.truncate(text.len().saturating_sub(end.len()));
        self.layers.strings.push((start, text));
    }

    /// A character literal, or a lifetime.
    fn quote(&mut self) {
        self.put('\'', true);
        let mut ahead = self.rest.clone();
        let (first, second) = (ahead.next(), ahead.next());
        if first != Some('\\') && second != Some('\'') {
            return; // a lifetime
        }
        while let Some(next) = self.rest.next() {
            if next == '\'' {
                self.put('\'', true);
                return;
            }
            self.blank(next);
            if next == '\\'
                && let Some(escaped) = self.rest.next()
            {
                self.blank(escaped);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_and_comments_leave_the_code() {
        let found = layers("let a = \"x // no { comment\"; // a } word\nlet b = 1;\n");
        assert!(found.code.contains("let b = 1;"));
        assert!(!found.code.contains('{') && !found.code.contains('}'));
        assert!(found.comments.contains("a } word"));
        assert_eq!(found.strings, [(1, "x // no { comment".to_owned())]);
        assert_eq!(found.code.lines().count(), 2);
    }

    #[test]
    fn raw_strings_escapes_and_nested_comments() {
        let found = layers("f(r#\"a \"quoted\" {\"#, \"\\\"}\", b\"c\");\n/* one /* two */ three */ g()\n");
        let texts: Vec<&str> = found.strings.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts, ["a \"quoted\" {", "\\\"}", "c"]);
        assert!(found.code.contains("g()"));
        assert!(!found.code.contains("three"));
    }

    #[test]
    fn characters_and_lifetimes() {
        let found = layers("fn f<'a>(x: &'a str) -> char { if x == \"\" { '{' } else { '\\'' } }");
        assert_eq!(found.code.matches('{').count(), 3);
        assert_eq!(found.code.matches('}').count(), 3);
    }

    #[test]
    fn a_raw_name_is_no_string() {
        assert!(layers("let r#type = 1; var\"").strings.len() <= 1);
        assert!(layers("let r#type = 1;").strings.is_empty());
    }

    #[test]
    fn lines_of_literals_are_right() {
        let found = layers("a(\"one\n two\");\nb(\"three\");\n");
        assert_eq!(found.strings[1], (3, "three".to_owned()));
    }
}
