//! What is particular to a database that is a file: whose it is, who serves it, and a disk that is full.

#![expect(clippy::unwrap_used, reason = "a test without its database cannot go on")]

use std::{fs, path::PathBuf};

use florin_store::{Engine, StoreError, Value, read, write};
use florin_store_sqlite::{SqliteEngine, SqliteOptions};
use tempfile::TempDir;

fn folder() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("florin.db");
    (folder, path)
}

fn open(path: &std::path::Path) -> Result<SqliteEngine, StoreError> {
    SqliteEngine::open(path, SqliteOptions::default())
}

fn to_read() -> SqliteOptions {
    SqliteOptions { exclusive: false, read_connections: 1, ..SqliteOptions::default() }
}

fn insert(engine: &SqliteEngine, number: i64, detail: &str) -> Result<u64, StoreError> {
    write(engine, |tx| {
        tx.execute(
            "INSERT INTO counters (name, value) VALUES ($1, $2)",
            &[Value::Text(format!("{number}{detail}")), Value::Int(number)],
        )
    })
}

fn count(engine: &SqliteEngine) -> i64 {
    read(engine, |tx| tx.query("SELECT count(*) FROM counters", &[])).unwrap()[0].get_int(0).unwrap()
}

#[test]
fn a_second_server_is_refused_and_a_reader_is_not() {
    let (_folder, path) = folder();
    let engine = open(&path).unwrap();
    engine.migrate().unwrap();
    let error = open(&path).unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    assert!(error.to_string().contains("in use by another Florin process"), "{error}");

    let reader = SqliteEngine::open(&path, to_read()).unwrap();
    assert_eq!(count(&reader), 1);
    insert(&engine, 1, "").unwrap();
    assert_eq!(count(&reader), 2);
    assert!(matches!(insert(&reader, 2, ""), Err(StoreError::Unavailable(_))));
    drop(reader);
    drop(engine);
    assert_eq!(count(&open(&path).unwrap()), 2, "what was committed is there after the server has gone");
}

#[test]
fn reading_creates_no_database() {
    let (folder, path) = folder();
    let error = SqliteEngine::open(&path, to_read()).unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn files_of_others_are_refused_and_left_alone() {
    let (_folder, path) = folder();
    fs::write(&path, "this is a letter, not a database: ".repeat(100)).unwrap();
    let error = open(&path).unwrap_err();
    assert!(matches!(error, StoreError::Foreign(_)), "{error:?}");

    fs::remove_file(&path).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE songs (title TEXT)").unwrap();
    drop(other);
    let before = fs::read(&path).unwrap();
    for options in [SqliteOptions::default(), to_read()] {
        let error = SqliteEngine::open(&path, options).unwrap_err();
        assert!(matches!(error, StoreError::Foreign(_)), "{error:?}");
        assert!(error.to_string().contains("not one of Florin's"), "{error}");
    }
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_full_disk_refuses_writes_until_there_is_room_again() {
    let (_folder, path) = folder();
    let engine = open(&path).unwrap();
    engine.migrate().unwrap();
    let limit = |sql: &'static str| write(&engine, |tx| tx.query(sql, &[])).unwrap();
    // SQLite's own limit fails with the same code as a full disk.
    limit("PRAGMA max_page_count = 1");
    let detail = "x".repeat(3000);
    let error = (1..200).find_map(|number| insert(&engine, number, &detail).err()).unwrap();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    let kept = count(&engine);
    assert!(matches!(insert(&engine, 1000, &detail), Err(StoreError::Unavailable(_))));
    assert_eq!(count(&engine), kept, "reads go on, and see nothing of what was refused");
    limit("PRAGMA max_page_count = 1000000");
    insert(&engine, 1000, &detail).unwrap();
    assert_eq!(count(&engine), kept + 1);
}

#[cfg(unix)]
#[test]
fn only_its_owner_can_read_the_file() {
    use std::os::unix::fs::PermissionsExt;

    let (folder, path) = folder();
    let engine = open(&path).unwrap();
    engine.migrate().unwrap();
    for name in ["florin.db", "florin.db-wal"] {
        let mode = fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name}");
    }
}
