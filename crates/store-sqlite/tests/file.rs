//! What is particular to a database that is a file: whose it is, who serves it, and a disk that is full.

#![expect(clippy::unwrap_used, reason = "a test without its database cannot go on")]

use std::{fs, path::PathBuf};

use florin_store::{Engine, StoreError, Value, read, write};
use florin_store_sqlite::{
    SqliteEngine, SqliteOptions,
    copy::{beside, copy_database},
};
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

/// A database as it is in the middle of its work, in a folder of its own: the file, and a log that has most of it.
fn working() -> (TempDir, PathBuf) {
    let ((_used, path), (folder, copy)) = (folder(), folder());
    let engine = open(&path).unwrap();
    engine.migrate().unwrap();
    insert(&engine, 1, "").unwrap();
    for part in ["", "-wal"] {
        fs::copy(beside(&path, part), beside(&copy, part)).unwrap();
    }
    (folder, copy)
}

fn refused(path: &std::path::Path, said: &[&str]) {
    for options in [SqliteOptions::default(), to_read()] {
        let error = SqliteEngine::open(path, options).unwrap_err();
        assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
        let text = error.to_string();
        assert!(said.iter().all(|word| text.contains(word)), "{text}");
    }
}

#[test]
fn a_log_without_its_database_is_refused_and_kept() {
    let (folder, path) = working();
    let (log, aside) = (beside(&path, "-wal"), folder.path().join("aside"));
    let before = fs::read(&log).unwrap();
    fs::rename(&path, &aside).unwrap();
    refused(&path, &["florin.db is missing", "florin.db-wal", "put the database back", "move the log away"]);
    assert!(!path.exists());
    fs::write(&path, "").unwrap();
    refused(&path, &["florin.db is empty", "florin.db-wal"]);
    let copied = copy_database(&path, &folder.path().join("copy"), &mut |_| ()).unwrap_err();
    assert!(copied.to_string().contains("florin.db is empty"), "{copied}");
    assert_eq!((fs::read(&log).unwrap(), fs::read(&path).unwrap()), (before, Vec::new()));

    fs::rename(&aside, &path).unwrap();
    assert_eq!(count(&open(&path).unwrap()), 2, "with its database back, the log is read");
    fs::remove_file(&path).unwrap();
    fs::write(beside(&path, "-journal"), "what was there before").unwrap();
    refused(&path, &["florin.db is missing", "florin.db-journal"]);
    fs::remove_file(beside(&path, "-journal")).unwrap();
    assert_eq!(open(&path).unwrap().migrate().unwrap().first(), Some(&"0001_identity"));
}

#[cfg(unix)]
#[test]
fn a_log_is_looked_for_where_links_lead() {
    let (_folder, path) = working();
    let (elsewhere, name) = folder();
    std::os::unix::fs::symlink(&path, &name).unwrap();
    fs::rename(&path, elsewhere.path().join("aside")).unwrap();
    refused(&name, &["florin.db is missing", "florin.db-wal"]);
    assert!(!path.exists());
}

/// What a process leaves that is killed in its first moments, step by step.
#[test]
fn a_first_start_that_was_cut_off_is_gone_on_with() {
    let (_working, worked) = working();
    let (first_page, log) = (fs::read(&worked).unwrap(), fs::read(beside(&worked, "-wal")).unwrap());
    assert_eq!(first_page.len(), 4096, "all but the first page is in the log");
    // The journal that takes the first page back: no page was there before.
    let mut journal = vec![0; 512];
    journal[..8].copy_from_slice(&[0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7]);
    journal[22..24].copy_from_slice(&512_u16.to_be_bytes());
    journal[26..28].copy_from_slice(&4096_u16.to_be_bytes());
    let cut_off: [&[(&str, &[u8])]; 6] = [
        &[("", b"")],
        &[("", b""), ("-journal", &journal)],
        &[("", b""), ("-wal", b"")],
        &[("", &first_page), ("-journal", &journal)],
        &[("", &first_page), ("-wal", b"")],
        &[("", &first_page), ("-wal", &log)],
    ];
    for files in cut_off {
        let (_folder, path) = folder();
        for (part, bytes) in files {
            fs::write(beside(&path, part), bytes).unwrap();
        }
        let engine = open(&path).unwrap();
        engine.migrate().unwrap();
        insert(&engine, 2, "").unwrap();
    }
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
