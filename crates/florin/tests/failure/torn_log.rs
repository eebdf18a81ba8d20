//! Loss of power in the middle of a write: SQLite's log is cut, overwritten or followed by garbage anywhere. Every
//! commit before that place is there, nothing after it is, and the books prove clean.

use std::{fs, path::Path};

use florin_store::{ChainHead, Engine, verify::verify};
use florin_store_sqlite::{SqliteEngine, SqliteOptions};
use florin_testkit::simulator::random::Random;

use crate::{
    client::Client,
    seeded::{fault_rounds, random},
    server::{Database, Server, prove},
    wal::commit_ends,
};

/// Rounds without the variable, and injuries of one log in each.
const ROUNDS: u64 = 2;
const INJURIES: u64 = 12;

const DATA: &str = "florin-data";
const LOG: &str = "florin-data/florin.db-wal";

/// A folder's files, with another log.
fn copy_with_log(from: &Path, log: &[u8]) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    fs::create_dir(to.path().join(DATA)).unwrap();
    for entry in fs::read_dir(from.join(DATA)).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        // The index of the log is made anew, as after a loss of power; so is the lock.
        if entry.file_type().unwrap().is_file() && !name.to_string_lossy().ends_with("-shm") {
            fs::copy(entry.path(), to.path().join(DATA).join(name)).unwrap();
        }
    }
    fs::write(to.path().join(LOG), log).unwrap();
    to
}

/// What is in the books: transactions, and the end of the hash chain, which stands for all of them.
fn books(folder: &Path) -> (u64, Option<ChainHead>) {
    let engine = SqliteEngine::open(&folder.join(DATA).join("florin.db"), SqliteOptions::default()).unwrap();
    engine.migrate().unwrap();
    let report = verify(&engine, &mut |_| {}).unwrap();
    assert_eq!(report.divergence, None);
    (report.transactions, florin_store::read(&engine, |tx| tx.find_chain_head(0)).unwrap())
}

/// An injured log, and the place up to which it is whole.
fn injure(random: &mut Random, log: &[u8], first: usize) -> (Vec<u8>, usize, &'static str) {
    let place = first + random.index(log.len() - first);
    let mut injured = log.to_vec();
    let garbage = |random: &mut Random, count: usize| -> Vec<u8> {
        (0..count).map(|_| random.next_u64().to_be_bytes()[0]).collect()
    };
    match random.below(4) {
        0 => {
            injured.truncate(place);
            (injured, place, "cut")
        }
        1 => {
            injured[place] ^= 1 << random.below(8);
            (injured, place, "a bit turned over")
        }
        2 => {
            let count = 1 + random.index(10_000);
            injured.extend(garbage(random, count));
            (injured, log.len(), "garbage after its end")
        }
        _ => {
            injured.truncate(place);
            let count = 1 + random.index(10_000);
            // The first byte differs, so that the place is exactly known.
            injured.push(!log[place]);
            injured.extend(garbage(random, count));
            (injured, place, "garbage from the middle on")
        }
    }
}

#[test]
fn sqlite_has_every_commit_before_the_place_where_its_log_is_torn() {
    let mut random = random();
    for round in 0..fault_rounds(ROUNDS) {
        let folder = tempfile::tempdir().unwrap();
        let mut server = Server::start(&Database::Sqlite(folder.path().to_owned()), 0);
        let client = Client::with_wallet(&server.base);
        let count = 20 + random.below(100);
        // How long the log was when each deposit was acknowledged: what it took is before that place.
        let acknowledged: Vec<usize> = (0..count)
            .map(|number| {
                assert_eq!(client.deposit_once(&format!("torn-{number}")), Some(200));
                usize::try_from(fs::metadata(folder.path().join(LOG)).unwrap().len()).unwrap()
            })
            .collect();
        server.kill();
        let log = fs::read(folder.path().join(LOG)).unwrap();
        let ends = commit_ends(&log);
        assert_eq!(books(copy_with_log(folder.path(), &log).path()).0, count, "nothing was torn yet");
        for _ in 0..INJURIES {
            let (injured, place, what) = injure(&mut random, &log, acknowledged[0]);
            let end = ends.iter().copied().filter(|end| *end <= place).max().unwrap();
            let told =
                format!("round {round}: {what} at {place} of {}, the last whole commit ends at {end}", log.len());
            let found = books(copy_with_log(folder.path(), &injured).path());
            assert_eq!(found, books(copy_with_log(folder.path(), &log[..end]).path()), "{told}");
            let promised = acknowledged.iter().filter(|length| **length <= place).count();
            assert!(found.0 >= u64::try_from(promised).unwrap(), "{told}: {promised} were acknowledged before it");
        }
        go_on(&mut random, folder.path(), client, (&log, acknowledged[0]), count);
    }
}

/// A server goes on from a torn log; clients ask again with their keys, and all is there once.
fn go_on(random: &mut Random, folder: &Path, client: Client, (log, first): (&[u8], usize), count: u64) {
    let (injured, ..) = injure(random, log, first);
    let torn = copy_with_log(folder, &injured);
    let database = Database::Sqlite(torn.path().to_owned());
    let mut server = Server::start(&database, 0);
    let client = client.at(&server.base);
    for number in 0..count {
        assert_eq!(client.deposit_once(&format!("torn-{number}")), Some(200));
    }
    assert_eq!(client.balance_minor(), i64::try_from(count).unwrap() * 100);
    server.stop();
    prove(&database);
}
