//! Copies taken beside a running server, and put back.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
    sync::{
        atomic::{AtomicBool, AtomicI64, Ordering},
        mpsc::channel,
    },
};

use crate::{
    client::Client,
    server::{Database, Server, prove},
};

const CLIENTS: i64 = 6;
/// Deposits before the copy begins.
const BEFORE: i64 = 60;
/// How often a running node is asked until it must have noticed.
const LOOKS: u32 = 100_000;

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn done(database: &Database, arguments: &[&str]) -> String {
    let output = database.command(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    said(&output)
}

fn refused(database: &Database, arguments: &[&str]) -> String {
    let output = database.command(arguments).output().unwrap();
    assert!(!output.status.success(), "{arguments:?}: {}", said(&output));
    said(&output)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn data(folder: &Path, name: &str) -> PathBuf {
    folder.join("florin-data").join(name)
}

#[test]
fn a_backup_under_load_has_everything_that_was_acknowledged_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::Sqlite(folder.path().to_owned());
    let mut server = Server::start(&database, 0);
    let client = Client::with_wallet(&server.base);
    let (applied, stop) = (AtomicI64::new(0), AtomicBool::new(false));
    let (reached, signal) = channel();
    let (least, most) = std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            let (client, applied, stop, reached) = (&client, &applied, &stop, reached.clone());
            scope.spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    assert_eq!(client.deposit().0, 200);
                    if applied.fetch_add(1, Ordering::SeqCst) == BEFORE {
                        reached.send(()).unwrap();
                    }
                }
            });
        }
        signal.recv().unwrap();
        let least = applied.load(Ordering::SeqCst);
        done(&database, &["backup", "copy.db"]);
        let most = applied.load(Ordering::SeqCst) + CLIENTS;
        stop.store(true, Ordering::SeqCst);
        (least, most)
    });
    server.stop();
    prove(&database);
    assert_eq!(names(folder.path()), ["copy.db", "florin-data"], "nothing is left beside the copy");
    let other = tempfile::tempdir().unwrap();
    fs::create_dir(other.path().join("florin-data")).unwrap();
    fs::copy(data(folder.path(), "master.key"), data(other.path(), "master.key")).unwrap();
    fs::copy(folder.path().join("copy.db"), other.path().join("copy.db")).unwrap();
    let restored = Database::Sqlite(other.path().to_owned());
    done(&restored, &["restore", "copy.db"]);
    let server = Server::start(&restored, 0);
    let mut client = client.at(&server.base);
    client.sign_in();
    let found = client.balance_minor() / 100;
    assert!((least..=most).contains(&found), "{found} deposits, but {least} to {most} were acknowledged by then");
}

/// A server with one deposit, and `copy.db` beside its folder of data that was taken then.
fn copied_after_a_deposit(folder: &Path) -> (Database, Server, Client) {
    let database = Database::Sqlite(folder.to_owned());
    let server = Server::start(&database, 0);
    let client = Client::with_wallet(&server.base);
    assert_eq!(client.deposit().0, 200);
    done(&database, &["backup", "copy.db"]);
    (database, server, client)
}

#[test]
fn a_restore_goes_back_keeps_what_was_there_and_ends_every_session() {
    let folder = tempfile::tempdir().unwrap();
    let (database, mut server, mut client) = copied_after_a_deposit(folder.path());
    // This session begins after the copy: the copy does not know it.
    client.sign_in();
    assert_eq!(client.deposit().0, 200);
    assert!(refused(&database, &["restore", "--force", "copy.db"]).contains("in use"));
    server.kill();
    let line = refused(&database, &["restore", "copy.db"]);
    assert!(line.contains("--force") && line.contains("florin.db"), "{line}");
    let said = done(&database, &["restore", "--force", "copy.db"]);
    assert!(said.contains("master.key") && said.contains("Ended 1 sessions"), "{said}");
    prove(&database);

    let mut server = Server::start(&database, 0);
    let mut client = client.at(&server.base);
    assert_eq!((client.look(), client.refresh()), (401, 401), "nobody is signed in");
    client.sign_in();
    assert_eq!(client.balance_minor(), 100, "as it was when the copy was taken");
    server.stop();

    let kept = names(&folder.path().join("florin-data")).into_iter().find(|name| name.contains("before-restore"));
    let kept = data(folder.path(), &kept.unwrap());
    let verified = done(&database, &["verify", "--database-url", &format!("sqlite:{}", kept.display())]);
    assert!(verified.contains("2 transactions"), "what was there is whole, its log included: {verified}");
}

#[test]
fn a_log_that_was_left_alone_is_not_read_into_what_is_restored() {
    let folder = tempfile::tempdir().unwrap();
    let (database, mut server, mut client) = copied_after_a_deposit(folder.path());
    for _ in 0..BEFORE {
        assert_eq!(client.deposit().0, 200);
    }
    server.kill();
    fs::rename(data(folder.path(), "florin.db"), folder.path().join("gone.db")).unwrap();
    let log = fs::read(data(folder.path(), "florin.db-wal")).unwrap();
    let restored = ["restored", "--yes"];
    let commands = [["migrate", "--yes"].as_slice(), &["verify"], &["backup", "b.db"], &restored, &["serve"]];
    for command in commands {
        let line = refused(&database, command);
        assert!(line.contains("florin.db is missing") && line.contains("florin.db-wal"), "{line}");
    }
    assert!(!data(folder.path(), "florin.db").exists());
    assert!(fs::read(data(folder.path(), "florin.db-wal")).unwrap() == log, "a refusal leaves the log as it was");
    let said = done(&database, &["restore", "--force", "copy.db"]);
    assert!(said.contains("Nothing was replaced"), "{said}");
    let kept = names(&folder.path().join("florin-data")).into_iter().find(|name| name.ends_with("-wal"));
    let kept = kept.filter(|name| name.contains("before-restore")).unwrap();
    assert!(said.contains(&kept), "{said}");
    assert!(fs::metadata(data(folder.path(), &kept)).unwrap().len() > 0, "the log may be all that is left");
    prove(&database);
    let server = Server::start(&database, 0);
    client = client.at(&server.base);
    client.sign_in();
    assert_eq!(client.balance_minor(), 100, "as it was when the copy was taken");
}

/// As who copied a database by hand and then names its copy for the next one.
#[test]
fn a_log_beside_a_copy_is_not_read_into_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let (database, mut server, client) = copied_after_a_deposit(folder.path());
    for name in ["florin.db", "florin.db-wal"] {
        fs::copy(data(folder.path(), name), folder.path().join(name.replace("florin", "old"))).unwrap();
    }
    assert_eq!(client.deposit().0, 200);
    let line = refused(&database, &["backup", "--force", "old.db"]);
    assert!(line.contains("old.db-wal") && line.contains("move it away"), "{line}");
    fs::remove_file(folder.path().join("old.db-wal")).unwrap();
    done(&database, &["backup", "--force", "old.db"]);
    server.kill();
    assert!(done(&database, &["restore", "--force", "old.db"]).contains("old.db is in the place"));
    let server = Server::start(&database, 0);
    let mut client = client.at(&server.base);
    client.sign_in();
    assert_eq!(client.balance_minor(), 200, "as it was when the second copy was taken");
}

#[cfg(unix)]
#[test]
fn a_restore_goes_where_links_lead_and_leaves_the_owner_a_file_to_open() {
    use std::os::unix::fs::{MetadataExt as _, chown, symlink};

    let folder = tempfile::tempdir().unwrap();
    let database = Database::Sqlite(folder.path().to_owned());
    Server::start(&database, 0).stop();
    done(&database, &["backup", "copy.db"]);
    let (disk, name) = (folder.path().join("disk"), data(folder.path(), "florin.db"));
    fs::create_dir(&disk).unwrap();
    fs::remove_file(&name).unwrap();
    symlink(disk.join("florin.db"), &name).unwrap();
    // Only root may give files away.
    let owner = chown(&disk, Some(12_345), Some(23_456)).is_ok().then_some((12_345, 23_456));
    let look = || {
        assert!(fs::symlink_metadata(&name).unwrap().is_symlink());
        for file in ["florin.db", "florin.db.lock"] {
            let found = fs::symlink_metadata(disk.join(file)).unwrap();
            assert!(found.is_file());
            assert!(owner.is_none_or(|owner| owner == (found.uid(), found.gid())), "{file}: {found:?}");
        }
    };
    done(&database, &["restore", "copy.db"]);
    look();
    // From here on the file's owner counts, whoever has the folder.
    chown(&disk, Some(fs::metadata(folder.path()).unwrap().uid()), None).unwrap();
    done(&database, &["restore", "--force", "copy.db"]);
    look();
    assert_eq!(names(&disk).iter().filter(|name| name.contains("before-restore")).count(), 1);
    prove(&database);
}

#[test]
fn copies_do_not_get_in_anybodys_way() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::Sqlite(folder.path().to_owned());
    assert!(refused(&database, &["backup", "copy.db"]).contains("there is no database"));
    assert!(refused(&database, &["restored", "--yes"]).contains("there is no database"));
    fs::write(folder.path().join("letter"), "no folder").unwrap();
    let elsewhere = ["--database-url", "sqlite:letter/florin.db"];
    for command in [["backup", "copy.db"].as_slice(), &["verify"], &["restore", "letter/florin.db"]] {
        let line = refused(&database, &[command, &elsewhere].concat());
        assert!(line.contains("letter/florin.db cannot be looked at"), "{line}");
    }
    fs::create_dir_all(folder.path().join("florin-data")).unwrap();
    fs::write(data(folder.path(), "florin.db"), "").unwrap();
    assert!(refused(&database, &["restored", "--yes"]).contains("is empty"), "no new ledger is made");
    assert!(refused(&database, &["backup", "copy.db"]).contains("is empty"));
    assert!(!folder.path().join("copy.db").exists());
    Server::start(&database, 0).stop();
    done(&database, &["backup", "copy.db"]);
    let copy = fs::read(folder.path().join("copy.db")).unwrap();
    assert!(refused(&database, &["backup", "copy.db"]).contains("--force"));
    assert!(refused(&database, &["backup", "nowhere/copy.db"]).contains("no copy could be made: nowhere/copy.db"));
    assert!(refused(&database, &["backup", "--force", "florin-data/florin.db"]).contains("the database itself"));
    assert!(refused(&database, &["restore", "--force", "florin-data/florin.db"]).contains("the database itself"));
    done(&database, &["backup", "--force", "copy.db"]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(folder.path().join("copy.db")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    // A torn copy, an empty one, and something else altogether.
    fs::write(folder.path().join("empty.db"), "").unwrap();
    fs::write(folder.path().join("torn.db"), &copy[..copy.len() / 2]).unwrap();
    fs::write(folder.path().join("notes.db"), "these are my notes\n".repeat(100)).unwrap();
    let before = names(&folder.path().join("florin-data"));
    for broken in ["torn.db", "empty.db", "notes.db", "missing.db"] {
        let line = refused(&database, &["restore", "--force", broken]);
        assert!(line.contains(broken), "{line}");
    }
    assert_eq!(names(&folder.path().join("florin-data")), before, "nothing was replaced, nothing was left");
    prove(&database);
}

#[test]
fn after_a_restore_of_postgres_one_command_ends_every_session() {
    let Some(fresh) = florin_testkit::postgres::fresh_database() else { return };
    let folder = tempfile::tempdir().unwrap();
    let database = Database::Postgres(fresh.url().to_owned(), folder.path().to_owned());
    let mut server = Server::start(&database, 0);
    let client = Client::with_wallet(&server.base);
    server.stop();
    assert!(refused(&database, &["backup", "copy.db"]).contains("docs/recovery.md"));
    assert!(refused(&database, &["restore", "copy.db"]).contains("florin restored"));
    assert!(done(&database, &["restored", "--yes"]).contains("Ended 1 sessions and revoked 1 signing keys"));
    let server = Server::start(&database, 0);
    let mut client = client.at(&server.base);
    assert_eq!((client.look(), client.refresh()), (401, 401));
    client.sign_in();
    assert_eq!(client.look(), 200);
    // A node that runs is told by the database.
    done(&database, &["restored", "--yes"]);
    assert!((0..LOOKS).any(|_| client.look() == 401), "a running node still takes the old tokens");
    client.sign_in();
    assert_eq!(client.look(), 200);
}
