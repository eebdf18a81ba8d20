//! The ratchet: what may exceed a limit for now, by how much and why. It may only tighten.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::Finding;
use crate::Outcome;

/// Where the exceptions are written down.
pub const FILE: &str = "xtask/tidy-exceptions.txt";

/// One line of the file, and what was found at its place.
#[derive(Debug, Clone)]
struct Exception {
    line: usize,
    limit: usize,
    found: Option<usize>,
}

/// The exceptions, by the place that they are for: a path, or `path::function`.
#[derive(Debug, Default)]
pub struct Exceptions {
    by_place: BTreeMap<String, Exception>,
    malformed: Vec<Finding>,
}

impl Exceptions {
    /// Reads the file; a missing one has no exceptions.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn read(file: &Path) -> Outcome<Self> {
        if !file.exists() {
            return Ok(Self::default());
        }
        Ok(Self::parse(&fs::read_to_string(file)?))
    }

    /// Reads `place, limit, reason` lines; `#` starts a comment.
    pub fn parse(text: &str) -> Self {
        let mut exceptions = Self::default();
        for (index, content) in text.lines().enumerate() {
            let content = content.trim();
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            let line = index + 1;
            let mut parts = content.splitn(3, ',').map(str::trim);
            let (place, limit, reason) = (parts.next(), parts.next(), parts.next());
            match (place, limit.and_then(|number| number.parse().ok()), reason) {
                (Some(place), Some(limit), Some(reason)) if !reason.is_empty() => {
                    exceptions.by_place.insert(place.to_owned(), Exception { line, limit, found: None });
                }
                _ => exceptions.malformed.push(Finding::new(FILE, line, "write: place, limit, reason")),
            }
        }
        exceptions
    }

    /// Whether `found` lines at `place` are excused; remembers that the exception was needed.
    pub fn excuses(&mut self, place: &str, found: usize) -> bool {
        self.by_place.get_mut(place).is_some_and(|exception| {
            exception.found = Some(found);
            found <= exception.limit
        })
    }

    /// Lines of the file that nothing needs any more, that are wider than needed, or that cannot be read.
    pub fn stale(self) -> Vec<Finding> {
        let mut findings = self.malformed;
        for (place, Exception { line, limit, found }) in self.by_place {
            match found {
                None => {
                    findings.push(Finding::new(FILE, line, format!("{place} needs no exception: delete this line")))
                }
                Some(found) if found < limit => {
                    findings.push(Finding::new(FILE, line, format!("{place} has shrunk: lower the limit to {found}")));
                }
                Some(_) => {}
            }
        }
        findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# why\na.rs, 600, a table of vectors\nb.rs::long, 90, one match of a protocol\n";

    #[test]
    fn excuses_up_to_the_limit() {
        let mut exceptions = Exceptions::parse(TEXT);
        assert!(exceptions.excuses("a.rs", 600));
        assert!(!exceptions.excuses("a.rs", 601));
        assert!(!exceptions.excuses("c.rs", 501));
    }

    #[test]
    fn a_line_that_nothing_needs_is_a_finding() {
        let mut exceptions = Exceptions::parse(TEXT);
        assert!(exceptions.excuses("a.rs", 600));
        let stale = exceptions.stale();
        assert_eq!(stale.len(), 1);
        assert_eq!(stale[0].line, 3);
    }

    #[test]
    fn the_ratchet_only_tightens() {
        let mut exceptions = Exceptions::parse("a.rs, 600, a table\n");
        assert!(exceptions.excuses("a.rs", 550));
        assert!(exceptions.stale()[0].what.contains("lower the limit to 550"));
    }

    #[test]
    fn an_exception_without_a_reason_is_a_finding() {
        assert_eq!(Exceptions::parse("a.rs, 600\n").stale().len(), 1);
        assert_eq!(Exceptions::parse("a.rs, many, why\n").stale().len(), 1);
    }
}
