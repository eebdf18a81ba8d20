//! Rules for one source file: its opening line, its sizes, its names, and what must stay in its layer.

use super::Finding;
use super::exceptions::Exceptions;
use super::lexer::{Layers, is_word, layers};

pub(super) const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 70;
pub(super) const COLUMNS: usize = 120;

const BANNED_NAMES: &[&str] = &["utils", "helpers", "common", "manager"];
const UNFINISHED_MACROS: &[&str] = &["todo", "unimplemented", "dbg"];
pub(super) const UNFINISHED_WORDS: &[&str] = &["TODO", "FIXME", "XXX"];

/// Where SQL may be written.
const SQL_HOMES: &[&str] =
    &["crates/store/", "crates/store-sqlite/", "crates/store-postgres/", "crates/testkit/", "xtask/"];
/// Where HTTP may be spoken of. The binary binds the socket; the testkit calls the router.
const HTTP_HOMES: &[&str] = &["crates/http/", "crates/florin/", "crates/testkit/", "xtask/"];

/// Checks one file; `path` is from the repository's root.
pub fn check(path: &str, source: &str, exceptions: &mut Exceptions, findings: &mut Vec<Finding>) {
    let layers = layers(source);
    let mut add = |line: usize, what: String| findings.push(Finding::new(path, line, what));
    if !source.lines().find(|line| !line.trim().is_empty()).is_some_and(|line| line.starts_with("//!")) {
        add(1, "opens without a doc line: say in one `//!` line what the module is for".to_owned());
    }
    let lines = source.lines().count();
    if lines > FILE_LINES && !exceptions.excuses(path, lines) {
        add(0, format!("{lines} lines, {FILE_LINES} are allowed: give each subject its own file"));
    }
    for (index, line) in source.lines().enumerate() {
        let columns = line.chars().count();
        if columns > COLUMNS {
            add(index + 1, format!("{columns} columns, {COLUMNS} are allowed: break the line"));
        }
    }
    for function in functions(&layers.code) {
        let place = format!("{path}::{}", function.name);
        if function.lines > FUNCTION_LINES && !exceptions.excuses(&place, function.lines) {
            let Function { name, lines, .. } = &function;
            add(function.line, format!("{name} has {lines} lines, {FUNCTION_LINES} are allowed: name its parts"));
        }
    }
    for (line, what) in names(path, &layers.code).into_iter().chain(unfinished(&layers)).chain(strays(path, &layers)) {
        add(line, what);
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Function {
    name: String,
    line: usize,
    lines: usize,
}

/// Every function with a body, from the line of its `fn` to that of its closing brace.
fn functions(code: &str) -> Vec<Function> {
    let mut found: Vec<Function> = Vec::new();
    // The function whose body has not begun, and those whose body we are in, with the depth outside them.
    let mut announced: Option<(String, usize)> = None;
    let mut open: Vec<(String, usize, usize)> = Vec::new();
    let (mut depth, mut brackets) = (0_usize, 0_usize);
    for (index, line) in code.lines().enumerate() {
        let line_number = index + 1;
        let mut words = Words::new(line);
        while let Some(token) = words.next_token() {
            match token {
                "fn" => announced = words.peek_name().map(|name| (name.to_owned(), line_number)).or(announced),
                "(" | "[" => brackets += 1,
                ")" | "]" => brackets = brackets.saturating_sub(1),
                ";" if brackets == 0 => announced = None,
                "{" => {
                    if let Some((name, start)) = announced.take_if(|_| brackets == 0) {
                        open.push((name, start, depth));
                    }
                    depth += 1;
                }
                "}" => {
                    depth = depth.saturating_sub(1);
                    if let Some((name, line, _)) = open.pop_if(|(_, _, outside)| *outside == depth) {
                        found.push(Function { name, line, lines: line_number + 1 - line });
                    }
                }
                _ => {}
            }
        }
    }
    found
}

/// Words and single marks of one line.
struct Words<'a> {
    rest: &'a str,
}

impl<'a> Words<'a> {
    fn new(line: &'a str) -> Self {
        Self { rest: line }
    }

    fn next_token(&mut self) -> Option<&'a str> {
        self.rest = self.rest.trim_start();
        let first = self.rest.chars().next()?;
        let end = if is_word(first) {
            self.rest.find(|next| !is_word(next)).unwrap_or(self.rest.len())
        } else {
            first.len_utf8()
        };
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(token)
    }

    fn peek_name(&self) -> Option<&'a str> {
        Words::new(self.rest).next_token().filter(|token| token.starts_with(is_word))
    }
}

/// A banned word alone or at the end: `string_utils` is empty talk, `common_passwords` are a thing.
pub(super) fn is_banned(name: &str) -> bool {
    name.rsplit('_').next().is_some_and(|last| BANNED_NAMES.contains(&last))
}

fn names(path: &str, code: &str) -> Vec<(usize, String)> {
    let advice = "says nothing: name it after what it holds";
    let mut found = Vec::new();
    for part in path.split('/') {
        let stem = part.strip_suffix(".rs").unwrap_or(part);
        if is_banned(stem) {
            found.push((0, format!("`{stem}` {advice}")));
        }
    }
    for (index, line) in code.lines().enumerate() {
        let mut words = Words::new(line);
        while let Some(token) = words.next_token() {
            if token == "mod"
                && let Some(name) = words.peek_name().filter(|name| is_banned(name))
            {
                found.push((index + 1, format!("module `{name}` {advice}")));
            }
        }
    }
    found
}

fn unfinished(layers: &Layers) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (index, line) in layers.code.lines().enumerate() {
        let mut words = Words::new(line);
        while let Some(token) = words.next_token() {
            if UNFINISHED_MACROS.contains(&token) && words.rest.starts_with('!') {
                found.push((index + 1, format!("`{token}!` is left: finish it or take it out")));
            }
        }
    }
    for (index, line) in layers.comments.lines().enumerate() {
        let mut words = Words::new(line);
        while let Some(token) = words.next_token() {
            if UNFINISHED_WORDS.contains(&token) {
                found.push((index + 1, format!("{token} is left: do it, or write down where it is tracked")));
            }
        }
    }
    found
}

/// SQL outside the store, HTTP outside its layer.
fn strays(path: &str, layers: &Layers) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let is_test = path.contains("/tests/");
    if !is_test && !SQL_HOMES.iter().any(|home| path.starts_with(home)) {
        let sql = layers.strings.iter().filter(|(_, text)| is_sql(text));
        found.extend(sql.map(|(line, _)| (*line, "SQL outside the store: move it to crates/store/src".to_owned())));
    }
    if !is_test && !HTTP_HOMES.iter().any(|home| path.starts_with(home)) {
        for (index, line) in layers.code.lines().enumerate() {
            let mut words = Words::new(line);
            while let Some(token) = words.next_token() {
                if ["axum", "StatusCode"].contains(&token) {
                    let what = format!("`{token}` below the HTTP layer: answer with an error of the use case");
                    found.push((index + 1, what));
                }
            }
        }
    }
    found
}

fn is_sql(text: &str) -> bool {
    let words: Vec<&str> =
        text.split(|next: char| next.is_whitespace() || next == '\\').filter(|w| !w.is_empty()).collect();
    match words.as_slice() {
        ["SELECT", _, ..] | ["INSERT", "INTO", ..] | ["DELETE", "FROM", ..] | ["CREATE", "TABLE" | "INDEX", ..] => true,
        ["UPDATE", rest @ ..] => rest.contains(&"SET"),
        ["WITH", rest @ ..] => rest.contains(&"SELECT"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, source: &str) -> Vec<String> {
        let mut found = Vec::new();
        check(path, source, &mut Exceptions::default(), &mut found);
        found.iter().map(ToString::to_string).collect()
    }

    fn body(lines: usize) -> String {
        "    f();\n".repeat(lines)
    }

    #[test]
    fn a_good_file_passes() {
        assert!(findings("crates/app/src/a.rs", "//! Good.\n\nfn f() {\n    g(\"} TODO\");\n}\n").is_empty());
    }

    #[test]
    fn the_opening_line_is_required() {
        let found = findings("crates/app/src/a.rs", "use std::fs;\n");
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("crates/app/src/a.rs:1: opens without"), "{found:?}");
    }

    #[test]
    fn long_functions_are_found_and_short_ones_are_not() {
        let exact = format!("//! A.\nfn f() {{\n{}}}\n", body(68));
        assert!(findings("crates/app/src/a.rs", &exact).is_empty());
        let long = format!("//! A.\nimpl A {{\n    fn f(x: [u8; 2]) -> u8 {{\n{}}}\n}}\n", body(69));
        let found = findings("crates/app/src/a.rs", &long);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("a.rs:3: f has 71 lines"), "{found:?}");
    }

    #[test]
    fn a_function_without_a_body_does_not_swallow_the_next() {
        let code = "trait T {\n    fn a(&self, f: fn(u8) -> u8) -> u8;\n    fn b(&self) {\n    }\n}\n";
        assert_eq!(functions(code), [Function { name: "b".to_owned(), line: 3, lines: 2 }]);
    }

    #[test]
    fn long_files_and_wide_lines_are_found() {
        let long = format!("//! A.\n{}", "const A: u8 = 1;\n".repeat(500));
        assert!(findings("crates/app/src/a.rs", &long)[0].contains("501 lines"));
        let wide = format!("//! A.\n// {}\n", "x".repeat(118));
        assert!(findings("crates/app/src/a.rs", &wide)[0].contains("a.rs:2: 121 columns"));
    }

    #[test]
    fn an_exception_excuses_its_place_alone() {
        let long = format!("//! A.\nfn f() {{\n{}}}\n", body(80));
        let mut exceptions = Exceptions::parse("crates/app/src/a.rs::f, 82, one table\n");
        let mut found = Vec::new();
        check("crates/app/src/a.rs", &long, &mut exceptions, &mut found);
        assert!(found.is_empty(), "{found:?}");
        check("crates/app/src/b.rs", &long, &mut exceptions, &mut found);
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn empty_names_are_found_in_paths_and_modules() {
        assert_eq!(findings("crates/app/src/string_utils.rs", "//! A.\n").len(), 1);
        assert_eq!(findings("crates/app/src/helpers/a.rs", "//! A.\n").len(), 1);
        assert_eq!(findings("crates/app/src/a.rs", "//! A.\nmod common;\n").len(), 1);
        assert!(findings("crates/app/src/a.rs", "//! A.\nmod common_passwords;\n").is_empty());
    }

    #[test]
    fn unfinished_work_is_found() {
        assert_eq!(findings("crates/app/src/a.rs", "//! A.\nfn f() { todo!() }\n").len(), 1);
        assert_eq!(findings("crates/app/src/a.rs", "//! A.\nfn f() { dbg!(1); unimplemented!() }\n").len(), 2);
        assert_eq!(findings("crates/app/src/a.rs", "//! A.\n// TODO later\n").len(), 1);
    }

    #[test]
    fn sql_stays_in_the_store() {
        let source = "//! A.\nconst A: &str = \"SELECT 1\";\nconst B: &str = \"UPDATE users \\\n SET a = 1\";\n";
        assert_eq!(findings("crates/app/src/a.rs", source).len(), 2);
        assert!(findings("crates/store/src/sql.rs", source).is_empty());
        assert!(findings("crates/app/tests/a.rs", source).is_empty());
        assert!(findings("crates/app/src/a.rs", "//! A.\nconst A: &str = \"UPDATE failed\";\n").is_empty());
    }

    #[test]
    fn http_stays_in_its_layer() {
        assert_eq!(findings("crates/app/src/a.rs", "//! A.\nuse axum::Json;\n").len(), 1);
        assert_eq!(findings("crates/ledger/src/a.rs", "//! A.\nfn f() -> StatusCode { g() }\n").len(), 1);
        assert!(findings("crates/http/src/a.rs", "//! A.\nuse axum::http::StatusCode;\n").is_empty());
    }
}
