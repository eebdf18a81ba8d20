//! `florin import` as operators meet it: what it refuses before it begins, and the report of refused rows.
#![expect(clippy::unwrap_used, reason = "steps of tests, outside of the tests themselves")]

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use tempfile::TempDir;

/// The exit code, and what was said on standard output and on standard error.
type Said = (Option<i32>, String, String);

/// `florin` with its data in `folder` and nothing of the caller's settings.
fn florin(folder: &Path, arguments: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_florin"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("FLORIN_")) {
        command.env_remove(name);
    }
    command.env("FLORIN_SUPERUSER_PASSWORD", "Analytical-Engine-1843");
    // Piped, so that it is a pipe for who reads it by its name.
    let output = command.current_dir(folder).args(arguments).stdin(Stdio::piped()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// A folder with a database.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let made = florin(folder.path(), &["createsuperuser", "--username", "root", "--email", "root@example.org"]);
    assert_eq!(made.0, Some(0), "{made:?}");
    folder
}

/// Two rows, of which none can be applied.
const ROWS: &str = "type,wallet,amount\nDEPOSIT,x,1\nDEPOSIT,,1\n";
const REPORT: &str =
    "line,code,detail\n2,validation_error,wallet is not a UUID.\n3,validation_error,wallet is missing.\n";

#[test]
fn a_mistyped_file_or_folder_is_told_and_nothing_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::write(path.join("wages.csv"), ROWS).unwrap();
    fs::create_dir(path.join("folder.csv")).unwrap();
    for (arguments, expected) in [
        (&["import", "missing.csv"][..], "missing.csv cannot be read: No such file"),
        (&["import", "folder.csv"], "folder.csv: A regular file is needed"),
        (&["import", "--format", "csv", "/dev/stdin"], "/dev/stdin: A regular file is needed"),
        (&["import", "wages.csv"], "there is no database"),
        (&["import", "wages.csv", "--data-dir", "elsewhere"], "there is no database"),
    ] {
        let (code, _, said) = florin(path, arguments);
        assert!(code == Some(1) && said.contains(expected), "{arguments:?}: {said}");
    }
    assert_eq!(fs::read_dir(path).unwrap().count(), 2, "a database was made");
}

#[test]
fn a_report_that_was_lost_is_written_again_and_none_is_written_over() {
    let folder = folder();
    let report = folder.path().join("wages.csv.refused.csv");
    fs::write(folder.path().join("wages.csv"), ROWS).unwrap();
    fs::write(&report, "mine").unwrap();
    let import = |more: &[&str]| florin(folder.path(), &[&["import", "wages.csv"], more].concat());
    let (code, said, refused) = import(&[]);
    assert!(code == Some(1) && refused.contains("move it away"), "{refused}");
    assert_eq!((fs::read_to_string(&report).unwrap().as_str(), said.as_str()), ("mine", ""));
    fs::remove_file(&report).unwrap();

    let (code, said, refused) = import(&[]);
    assert!(
        code == Some(3) && said.contains("0 rows applied, 2 refused; why: wages.csv.refused.csv"),
        "{said}{refused}"
    );
    assert_eq!(fs::read_to_string(&report).unwrap(), REPORT);
    fs::remove_file(&report).unwrap();

    let (code, said, refused) = import(&[]);
    assert!(code == Some(1) && refused.contains("wages.csv was imported before (done; 0 rows applied"), "{refused}");
    assert!(said.starts_with("wages.csv: nothing is left to do; 0 rows applied, 2 refused"), "{said}");
    assert_eq!(fs::read_to_string(&report).unwrap(), REPORT);

    for more in [&[][..], &["--again"]] {
        fs::write(&report, "noted").unwrap();
        let (code, _, refused) = import(more);
        assert!(code == Some(1) && refused.contains("wages.csv"), "{refused}");
        assert_eq!(fs::read_to_string(&report).unwrap(), "noted");
    }
    fs::remove_file(&report).unwrap();
    assert_eq!(import(&["--again"]).0, Some(3));
    let names = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(names.into_iter().all(|name| !name.contains("part")), "a draft was left behind");
}

#[test]
fn nothing_is_imported_where_the_report_has_no_place() {
    let folder = folder();
    // A name that a file can have, and its report cannot.
    let name = format!("{}.csv", "x".repeat(245));
    fs::write(folder.path().join(&name), ROWS).unwrap();
    let (code, _, said) = florin(folder.path(), &["import", &name]);
    assert!(code == Some(1) && said.contains("nothing was imported") && said.contains("name too long"), "{said}");
    fs::rename(folder.path().join(&name), folder.path().join("wages.csv")).unwrap();
    let (code, said, refused) = florin(folder.path(), &["import", "wages.csv"]);
    assert!(code == Some(3) && !said.contains("goes on"), "{said}{refused}");
}
