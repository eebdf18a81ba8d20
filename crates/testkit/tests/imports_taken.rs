//! Files of imports are taken once: of two at once, and where the database's answer is lost.

#![expect(clippy::unwrap_used, reason = "what a test cannot read or prepare has failed it")]

use std::{sync::Arc, thread};

use florin_app::{
    App, Caller,
    import::{Import, ImportError, ImportFolder, ImportFormat, LocalFile, NewImport},
};
use florin_store::Engine;
use florin_testkit::{
    distant::{Distant, End},
    held::Held,
    node::{node, run},
    postgres::{FreshDatabase, fresh_database},
};
use tokio::task::block_in_place;
use uuid::Uuid;

const FILE: &[u8] = b"type,wallet,amount\nDEPOSIT,0197b9a2-7c31-7d52-9d5e-7f0f2f6f3a11,1\n";
const STAFF: Caller = Caller { user_id: Uuid::nil(), user_number: 1, session_id: Uuid::nil(), is_staff: true };

fn folder_in(directory: &tempfile::TempDir) -> ImportFolder {
    ImportFolder { path: directory.path().to_owned(), file_bytes_max: 1 << 20 }
}

fn upload(app: &App, folder: &ImportFolder) -> Result<(Import, bool), ImportError> {
    let mut receiver = app.receive_import(&STAFF, folder)?;
    receiver.write(FILE)?;
    app.enter_import(&STAFF, receiver, new_import())
}

fn new_import() -> NewImport {
    NewImport { format: ImportFormat::Csv, name: String::new(), again: false, key: None }
}

/// The first is held before its commit until the second waits, too.
#[test]
fn of_two_equal_files_at_once_one_is_taken() {
    let Some(database) = fresh_database() else { return };
    run(two_uploads(&database));
}

async fn two_uploads(database: &FreshDatabase) {
    let engine = database.connect();
    block_in_place(|| engine.migrate()).unwrap();
    let nodes = [node(Arc::new(database.connect()), 0), node(Arc::new(database.connect()), 1)];
    let directory = tempfile::tempdir().unwrap();
    let folder = folder_in(&directory);
    let path = directory.path().join("local.csv");
    std::fs::write(&path, FILE).unwrap();
    let local = LocalFile::read(&path, ImportFormat::Csv).unwrap();
    block_in_place(|| {
        let held = Held::open(Arc::new(engine), |tx| tx.execute("LOCK TABLE imports IN SHARE MODE", &[]).map(drop));
        thread::scope(|scope| {
            let first = scope.spawn(|| upload(&nodes[0], &folder));
            database.wait_for_waiting("INSERT INTO imports ");
            let second = scope.spawn(|| upload(&nodes[1], &folder));
            database.wait_for_waiting("INSERT INTO request_answers");
            held.release().unwrap();
            let (first, replayed) = first.join().unwrap().unwrap();
            assert!(!replayed);
            let second = second.join().unwrap();
            assert!(matches!(second, Err(ImportError::ImportedBefore(id)) if id == first.id), "{second:?}");
            let local = nodes[1].enter_local_import(&local, &new_import()).unwrap();
            assert_eq!(local.id, first.id);
        });
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_whose_entry_was_not_answered_keeps_its_file() {
    let engine = Distant::new(&[]);
    let app = node(engine.clone(), 0);
    let directory = tempfile::tempdir().unwrap();
    engine.waited_for.lock().push_back(End::Lost);
    let (import, replayed) = block_in_place(|| upload(&app, &folder_in(&directory))).unwrap();
    assert!(!replayed && directory.path().join(import.id.to_string()).exists());
}
