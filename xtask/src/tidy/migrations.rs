//! Migrations exist in pairs: the same number and name for both engines, numbered without a gap.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::Finding;
use crate::Outcome;

const SHOWN: &str = "crates/store/src/migrations";

/// Checks the two folders of migrations under `folder`.
///
/// # Errors
/// When they cannot be read.
pub fn check(folder: &Path) -> Outcome<Vec<Finding>> {
    Ok(judge(&names(&folder.join("sqlite"))?, &names(&folder.join("postgres"))?))
}

fn names(folder: &Path) -> Outcome<BTreeSet<String>> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
}

fn judge(sqlite: &BTreeSet<String>, postgres: &BTreeSet<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (engine, here, other_engine, there) in
        [("sqlite", sqlite, "postgres", postgres), ("postgres", postgres, "sqlite", sqlite)]
    {
        for name in here.difference(there) {
            let what = format!("has no twin: add {SHOWN}/{other_engine}/{name}");
            findings.push(Finding::new(&format!("{SHOWN}/{engine}/{name}"), 0, what));
        }
    }
    for (place, name) in sqlite.iter().enumerate() {
        let wanted = format!("{:04}_", place + 1);
        if !name.starts_with(&wanted) || !name.ends_with(".sql") {
            let what = format!("is number {} of its folder: call it {wanted}<what>.sql", place + 1);
            findings.push(Finding::new(&format!("{SHOWN}/sqlite/{name}"), 0, what));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn pairs_pass() {
        assert!(judge(&set(&["0001_a.sql", "0002_b.sql"]), &set(&["0001_a.sql", "0002_b.sql"])).is_empty());
    }

    #[test]
    fn a_missing_twin_is_found_on_either_side() {
        assert_eq!(judge(&set(&["0001_a.sql", "0002_b.sql"]), &set(&["0001_a.sql"])).len(), 1);
        assert_eq!(judge(&set(&["0001_a.sql"]), &set(&["0001_a.sql", "0002_b.sql"])).len(), 1);
        assert_eq!(judge(&set(&["0001_a.sql"]), &set(&["0001_b.sql"])).len(), 2, "another name is another migration");
    }

    #[test]
    fn gaps_and_repeated_numbers_are_found() {
        let gap = set(&["0001_a.sql", "0003_b.sql"]);
        assert_eq!(judge(&gap, &gap).len(), 1);
        let twice = set(&["0001_a.sql", "0001_b.sql"]);
        assert_eq!(judge(&twice, &twice).len(), 1);
    }
}
