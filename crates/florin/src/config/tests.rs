//! The configuration as operators meet it: precedence, slips, secrets.

use std::{ffi::OsString, fs, path::Path};

use super::{options::OPTIONS, *};

fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect()
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    file
}

fn refusal(file: Option<&Path>, pairs: &[(&str, &str)], flags: &[(&'static str, String)]) -> String {
    let empty = self::file("");
    load(Some(file.unwrap_or(empty.path())), variables(pairs), flags).err().unwrap().to_string()
}

#[test]
fn defaults_are_accepted_and_safe() {
    let empty = file("");
    let (config, _) = load(Some(empty.path()), variables(&[]), &[]).unwrap();
    assert!(config.listen.ip().is_loopback());
    assert!(matches!(&config.database, Database::Sqlite(path) if path == Path::new("florin-data/florin.db")));
    assert!(config.migrate_on_start && config.settings.self_deposit && config.master_key.is_none());
    assert_eq!(config.settings.default_asset.code().as_str(), "EUR");
    assert_eq!((config.settings.access_token_ttl_s, config.settings.refresh_token_ttl_s), (3600, 604_800));
}

#[test]
fn flags_win_over_variables_over_the_file() {
    let file = file("listen = \"127.0.0.1:1\"\nissuer = \"file\"\nnode = 1\nself_deposit = false\n");
    let pairs = variables(&[("FLORIN_LISTEN", "127.0.0.1:2"), ("FLORIN_ISSUER", "environment"), ("HOME", "/")]);
    let (config, values) = load(Some(file.path()), pairs, &[("listen", "127.0.0.1:3".to_owned())]).unwrap();
    assert_eq!(config.listen.port(), 3);
    assert_eq!((config.settings.issuer.as_str(), config.settings.writer), ("environment", 1));
    assert!(!config.settings.self_deposit);
    let text = printout(&values).unwrap();
    let line = |name: &str| text.lines().find(|line| line.contains(&format!(" {name} "))).unwrap().to_owned();
    assert!(line("listen").ends_with("--listen"), "{text}");
    assert!(line("issuer").ends_with("FLORIN_ISSUER"), "{text}");
    assert!(line("node").ends_with(&file.path().display().to_string()), "{text}");
    assert!(line("log").ends_with("default"), "{text}");
}

#[test]
fn unknown_names_are_refused_with_the_nearest_known_one() {
    let key = file("lisen = \"127.0.0.1:1\"");
    let message = refusal(Some(key.path()), &[], &[]);
    assert!(message.contains("`lisen`") && message.contains("`listen`"), "{message}");
    let message = refusal(None, &[("FLORIN_DATADIR", "/tmp")], &[]);
    assert!(message.contains("FLORIN_DATADIR") && message.contains("FLORIN_DATA_DIR?"), "{message}");
    let message = refusal(None, &[("FLORIN_LISTEN_FILE", "/tmp/x")], &[]);
    assert!(message.contains("FLORIN_LISTEN_FILE"), "{message}");
    let table = file("[server]\nlisten = \"127.0.0.1:1\"");
    assert!(refusal(Some(table.path()), &[], &[]).contains("`server`"));
}

#[test]
fn a_bad_value_names_key_value_source_and_what_is_accepted() {
    let message = refusal(None, &[("FLORIN_LISTEN", "8000")], &[]);
    for part in ["listen", "`8000`", "FLORIN_LISTEN", "127.0.0.1:8000"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    let message = refusal(None, &[], &[("default_asset", "EURO".to_owned())]);
    assert!(message.contains("`EURO`") && message.contains("--default-asset"), "{message}");
    let float = file("node = 1.5");
    assert!(refusal(Some(float.path()), &[], &[]).contains("node"));
}

#[test]
fn a_broken_file_is_named_with_its_line_but_not_its_text() {
    let broken = file("node = 1\nmaster_key = \"hunter2\n");
    let message = refusal(Some(broken.path()), &[], &[]);
    assert!(message.contains("line 2") && !message.contains("hunter2") && !message.contains('\n'), "{message}");
    let missing = refusal(Some(Path::new("/nonexistent/florin.toml")), &[], &[]);
    assert!(missing.contains("/nonexistent/florin.toml"), "{missing}");
}

#[test]
fn secrets_are_never_shown() {
    let key = "00".repeat(32);
    let url = "postgres://florin:hunter2@db/florin?sslpassword=hunter3&sslmode=require";
    let empty = file("");
    let pairs = variables(&[("FLORIN_MASTER_KEY", &key), ("FLORIN_DATABASE_URL", url)]);
    let (config, values) = load(Some(empty.path()), pairs, &[]).unwrap();
    let text = printout(&values).unwrap();
    for shown in [text.as_str(), config.database_shown.as_str()] {
        assert!(!shown.contains(&key) && !shown.contains("hunter"), "{shown}");
        assert!(shown.contains("postgres://florin:********@db/florin?sslpassword=********&sslmode=require"), "{shown}");
    }
    assert!(!config.migrate_on_start, "PostgreSQL is migrated on request");
    let message = refusal(None, &[("FLORIN_MASTER_KEY", "hunter2")], &[]);
    assert!(message.contains("FLORIN_MASTER_KEY") && !message.contains("hunter2"), "{message}");
    let message = refusal(None, &[("FLORIN_DATABASE_URL", "mysql://root:hunter2@db/florin")], &[]);
    assert!(message.contains("mysql://root") && !message.contains("hunter2"), "{message}");
}

#[test]
fn secrets_come_from_files_too_but_not_from_both() {
    let key = file(&format!("{}\n", "ab".repeat(32)));
    let path = key.path().to_str().unwrap();
    let empty = file("");
    let (config, values) = load(Some(empty.path()), variables(&[("FLORIN_MASTER_KEY_FILE", path)]), &[]).unwrap();
    assert!(config.master_key.is_some());
    assert!(printout(&values).unwrap().contains("FLORIN_MASTER_KEY_FILE"));
    let message = refusal(None, &[("FLORIN_MASTER_KEY_FILE", path), ("FLORIN_MASTER_KEY", &"ab".repeat(32))], &[]);
    assert!(message.contains("twice"), "{message}");
    let message = refusal(None, &[("FLORIN_MASTER_KEY_FILE", "/nonexistent/key")], &[]);
    assert!(message.contains("/nonexistent/key"), "{message}");
}

#[test]
fn test_variables_and_empty_ones_do_not_count() {
    let empty = file("");
    let pairs = variables(&[("FLORIN_TEST_POSTGRES_URL", "x"), ("FLORIN_NODE", ""), ("FLORIN_CONFIG", "x")]);
    assert_eq!(load(Some(empty.path()), pairs, &[]).unwrap().0.settings.writer, 0);
}

#[test]
fn databases_are_told_apart_by_their_urls() {
    let empty = file("");
    let database = |url: &str| load(Some(empty.path()), variables(&[("FLORIN_DATABASE_URL", url)]), &[]);
    for (url, path) in [("sqlite:a.db", "a.db"), ("sqlite:///var/a.db", "/var/a.db"), ("sqlite:/var/a.db", "/var/a.db")]
    {
        assert!(matches!(database(url).unwrap().0.database, Database::Sqlite(found) if found == Path::new(path)));
    }
    assert!(matches!(database("postgresql://h/d").unwrap().0.database, Database::Postgres(_)));
    let pair = database("postgres://florin:hunter2@db1:5432,db2:5433/d?target_session_attrs=read-write").unwrap().0;
    assert!(matches!(pair.database, Database::Postgres(_)));
    assert_eq!(pair.database_shown, "postgres://florin:********@db1:5432,db2:5433/d?target_session_attrs=read-write");
    for bad in ["a.db", "sqlite:", "sqlite::memory:", "sqlite:a.db?mode=ro", "http://h/d"] {
        assert!(database(bad).is_err(), "{bad}");
    }
}

#[test]
fn the_page_of_the_documentation_is_whole_and_current() {
    let page = markdown();
    for spec in OPTIONS {
        assert!(page.contains(&format!("| `{}` | `{}`", spec.name, spec.variable())), "{}", spec.name);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let kept = fs::read_to_string(path).unwrap();
    assert!(kept == page, "run: cargo run -p florin -- config --markdown > docs/configuration.md");
}
