//! Rules for one Python file: its opening line, its sizes, its name, nothing unfinished.

use super::Finding;
use super::source::{COLUMNS, FILE_LINES, UNFINISHED_WORDS, is_banned};

/// Checks one file; `path` is from the repository's root.
pub fn check(path: &str, source: &str, findings: &mut Vec<Finding>) {
    let mut add = |line: usize, what: String| findings.push(Finding::new(path, line, what));
    if !source.starts_with("\"\"\"") {
        add(1, "opens without a docstring: say in one line what the module is for".to_owned());
    }
    let lines = source.lines().count();
    if lines > FILE_LINES {
        add(0, format!("{lines} lines, {FILE_LINES} are allowed: give each subject its own file"));
    }
    for stem in path.split('/').map(|part| part.strip_suffix(".py").unwrap_or(part)).filter(|stem| is_banned(stem)) {
        add(0, format!("`{stem}` says nothing: name it after what it holds"));
    }
    for (index, line) in source.lines().enumerate() {
        let columns = line.chars().count();
        if columns > COLUMNS {
            add(index + 1, format!("{columns} columns, {COLUMNS} are allowed: break the line"));
        }
        let comment = line.split_once('#').map_or("", |(_, comment)| comment);
        let mut words = comment.split(|next: char| !next.is_alphanumeric());
        if let Some(word) = words.find(|word| UNFINISHED_WORDS.contains(word)) {
            add(index + 1, format!("{word} is left: do it, or write down where it is tracked"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, source: &str) -> Vec<String> {
        let mut found = Vec::new();
        check(path, source, &mut found);
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_good_file_passes() {
        assert!(findings("bench/a/views.py", "\"\"\"Good.\"\"\"\n\nNAME = \"TODO\"  # why\n").is_empty());
    }

    #[test]
    fn what_is_wrong_is_found_with_its_line() {
        assert!(findings("bench/a/views.py", "import os\n")[0].starts_with("bench/a/views.py:1: opens without"));
        let wide = format!("\"\"\"A.\"\"\"\nNAME = \"{}\"\n", "x".repeat(112));
        assert!(findings("bench/a/views.py", &wide)[0].contains("views.py:2: 121 columns"));
        assert!(findings("bench/a/views.py", "\"\"\"A.\"\"\"\nA = 1  # TODO later\n")[0].contains("views.py:2: TODO"));
        assert!(findings("bench/a/utils.py", "\"\"\"A.\"\"\"\n")[0].contains("`utils` says nothing"));
        let long = format!("\"\"\"A.\"\"\"\n{}", "A = 1\n".repeat(500));
        assert!(findings("bench/a/views.py", &long)[0].contains("501 lines"));
    }
}
