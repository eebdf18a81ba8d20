//! What is kept beside bulks: answers by key, and how far imports are.

use std::thread;

use florin_ledger::IdempotencyKey;
use florin_store::{
    Engine, StoreError,
    import::{self, ImportRow, ImportState, Progress},
    read,
    request_answer::{RequestAnswer, claim_key, set_answer},
    write,
};
use uuid::Uuid;

fn key(fingerprint: u8) -> IdempotencyKey {
    let scope = Uuid::from_u128(7);
    IdempotencyKey { scope, resource: scope, key: "k".to_owned(), fingerprint: [fingerprint; 32] }
}

/// Of requests with one key, one claims it, and the others find its answer; a claim that is taken back is none.
pub fn a_key_is_claimed_once(engine: &dyn Engine) {
    engine.migrate().unwrap();
    let taken_back = write(engine, |tx| {
        assert_eq!(claim_key(tx, &key(1), 1)?, None);
        Err::<(), _>(StoreError::Unavailable("taken back".to_owned()))
    });
    assert!(taken_back.is_err());
    one_of_many_is_first(&|fingerprint| {
        write(engine, |tx| {
            let earlier = claim_key(tx, &key(fingerprint), 1)?;
            if earlier.is_none() {
                set_answer(tx, &key(fingerprint), 200, &[fingerprint; 3])?;
            }
            Ok(earlier)
        })
        .unwrap()
    });
    assert!(write(engine, |tx| set_answer(tx, &IdempotencyKey { key: "x".to_owned(), ..key(1) }, 200, b"")).is_err());
}

/// The requests are told apart by their fingerprints; each gives what it finds.
fn one_of_many_is_first(request: &(dyn Fn(u8) -> Option<RequestAnswer> + Sync)) {
    let found: Vec<_> = thread::scope(|scope| {
        let requests: Vec<_> = (1..=6).map(|fingerprint| scope.spawn(move || request(fingerprint))).collect();
        requests.into_iter().map(|request| request.join().unwrap()).collect()
    });
    let first = found.iter().position(Option::is_none).unwrap();
    let answer = answer(u8::try_from(first + 1).unwrap());
    for (at, found) in found.iter().enumerate() {
        assert_eq!(found.as_ref(), (at != first).then_some(&answer), "{at}");
    }
}

fn answer(fingerprint: u8) -> RequestAnswer {
    RequestAnswer { fingerprint: [fingerprint; 32], status: 200, kept: vec![fingerprint; 3] }
}

/// Answers that are kept together are found together, each by its own key. A key that was answered is found out, at the
/// latest when it is to be answered again: then nothing is written, and the work is done again.
pub fn answers_to_many_requests_are_kept_together(engine: &dyn Engine) {
    engine.migrate().unwrap();
    let named = |name: &str| IdempotencyKey { key: name.to_owned(), ..key(1) };
    let elsewhere = IdempotencyKey { scope: Uuid::from_u128(8), ..key(1) };
    let (a, b, c) = (named("a"), named("b"), named("c"));
    let keep = |answers: &[(&IdempotencyKey, RequestAnswer)]| {
        let keys: Vec<_> = answers.iter().map(|(key, _)| *key).collect();
        write(engine, |tx| {
            let found = tx.find_request_answers(&keys)?;
            if found.iter().all(Option::is_none) {
                tx.keep_request_answers(answers, 1)?;
            }
            Ok(found)
        })
        .unwrap()
    };
    let find = |keys: &[&IdempotencyKey]| read(engine, |tx| tx.find_request_answers(keys)).unwrap();
    assert_eq!(keep(&[]), []);
    assert_eq!(keep(&[(&a, answer(1)), (&c, answer(3))]), [None, None]);
    assert_eq!(keep(&[(&elsewhere, answer(4))]), [None]);
    assert_eq!(keep(&[(&b, answer(2)), (&c, answer(9))]), [None, Some(answer(3))], "one is known, so neither is kept");
    let all = [&c, &b, &elsewhere, &a, &c];
    assert_eq!(find(&all), [Some(answer(3)), None, Some(answer(4)), Some(answer(1)), Some(answer(3))]);
    let taken_back = write(engine, |tx| {
        tx.keep_request_answers(&[(&b, answer(2))], 1)?;
        Err::<(), _>(StoreError::Unavailable("taken back".to_owned()))
    });
    assert!(taken_back.is_err() && find(&[&b]) == [None]);
    let name = named("raced");
    one_of_many_is_first(&|fingerprint| keep(&[(&name, answer(fingerprint))]).remove(0));
}

fn row(number: u8, state: ImportState) -> ImportRow {
    ImportRow {
        id: Uuid::from_u128(u128::from(number)),
        actor_id: Uuid::from_u128(99),
        node: 3,
        name: "wages.csv".to_owned(),
        format: "csv".to_owned(),
        sha256: [number; 32],
        size_bytes: 1_000,
        state,
        failure: None,
        progress: Progress { position: 0, line: 1, applied: 0, refused: 0 },
        created_at_us: i64::from(number),
        updated_at_us: i64::from(number),
    }
}

/// An import comes back as it was entered, by its id, its digest and in pages.
pub fn imports_come_back(engine: &dyn Engine) {
    engine.migrate().unwrap();
    let rows = [row(1, ImportState::Running), row(2, ImportState::Done), row(3, ImportState::Running)];
    for row in &rows {
        write(engine, |tx| import::insert_import(tx, row)).unwrap();
    }
    assert!(matches!(write(engine, |tx| import::insert_import(tx, &rows[0])), Err(StoreError::Duplicate(_))));
    assert_eq!(read(engine, |tx| import::find_import(tx, rows[1].id)).unwrap().as_ref(), Some(&rows[1]));
    assert_eq!(read(engine, |tx| import::find_import(tx, Uuid::nil())).unwrap(), None);
    assert_eq!(read(engine, |tx| import::find_by_digest(tx, [2; 32])).unwrap().as_ref(), Some(&rows[1]));
    let page = read(engine, |tx| import::list_imports(tx, None, 2)).unwrap();
    assert_eq!(page, [rows[2].clone(), rows[1].clone()]);
    let rest = read(engine, |tx| import::list_imports(tx, Some((2, rows[1].id)), 2)).unwrap();
    assert_eq!(rest, [rows[0].clone()]);
    let running = read(engine, |tx| import::list_running(tx, 3)).unwrap();
    assert_eq!(running, [rows[0].clone(), rows[2].clone()]);
    assert!(read(engine, |tx| import::list_running(tx, 4)).unwrap().is_empty());
    write(engine, |tx| import::fail_import(tx, rows[0].id, "gone", 9)).unwrap();
    let failed = read(engine, |tx| import::find_import(tx, rows[0].id)).unwrap().unwrap();
    assert_eq!((failed.state, failed.failure.as_deref(), failed.updated_at_us), (ImportState::Failed, Some("gone"), 9));
}

/// Of two who move an import on from one place, one does; refused rows come back chunk by chunk.
pub fn an_import_moves_on_once(engine: &dyn Engine) {
    engine.migrate().unwrap();
    let row = row(1, ImportState::Running);
    write(engine, |tx| import::insert_import(tx, &row)).unwrap();
    let step = |from: i64, to: i64, is_last: bool| {
        write(engine, |tx| {
            let moved = import::advance(tx, row.id, from, (to, to / 10), is_last, 5)?;
            if moved {
                import::count_rows(tx, row.id, from + 1, (8, 2), &format!("[{from}]"))?;
            }
            Ok(moved)
        })
        .unwrap()
    };
    let moved: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(|| step(0, 100, false))).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    assert_eq!(moved.iter().filter(|moved| **moved).count(), 1);
    assert!(step(100, 1_000, true));
    assert!(!step(1_000, 2_000, true), "what is done moves no more");
    let done = read(engine, |tx| import::find_import(tx, row.id)).unwrap().unwrap();
    let progress = Progress { position: 1_000, line: 100, applied: 16, refused: 4 };
    assert_eq!((done.state, done.progress, done.updated_at_us), (ImportState::Done, progress, 5));
    let chunk = |after| read(engine, |tx| import::find_refusals(tx, row.id, after)).unwrap();
    assert_eq!(chunk(0), Some((1, "[0]".to_owned())));
    assert_eq!(chunk(1), Some((101, "[100]".to_owned())));
    assert_eq!(chunk(101), None);
}
