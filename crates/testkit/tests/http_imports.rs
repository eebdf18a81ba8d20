//! Imports over HTTP: taken once, worked on to the end, every row applied or told.

#![expect(clippy::unwrap_used, reason = "what a test cannot read or prepare has failed it")]

use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};
use florin_app::{
    Caller,
    import::{Import, ImportError, ImportFolder, ImportFormat, LocalFile, NewImport, Work},
    wallet::BatchRights,
};
use florin_http::HttpOptions;
use florin_store::{import, user};
use florin_testkit::service::{Answer, Service, settings};
use serde_json::{Value, json};
use uuid::Uuid;

const PATH: &str = "/api/v1/imports";
const KEY: &str = "idempotency-key";
const NOWHERE: &str = "0197b9a2-7c31-7d52-9d5e-7f0f2f6f3a11";

struct World {
    service: Service,
    folder: ImportFolder,
    _directory: tempfile::TempDir,
    root: String,
    alice: String,
    wallet: String,
}

async fn world() -> World {
    let directory = tempfile::tempdir().unwrap();
    let folder = ImportFolder { path: directory.path().join("imports"), file_bytes_max: 1 << 20 };
    let options = HttpOptions { imports: Some(folder.clone()), ..HttpOptions::default() };
    let service = Service::with(settings(), options);
    let (root, alice) = (service.superuser("root").await, service.user("alice").await);
    let wallet = service.wallet(&alice, "100.00").await;
    World { service, folder, _directory: directory, root, alice, wallet }
}

impl World {
    async fn send(&self, token: &str, query: &str, kind: &str, file: impl Into<Vec<u8>>, key: &str) -> Answer {
        let mut request = Request::builder()
            .method("POST")
            .uri(format!("{PATH}{query}"))
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header(header::CONTENT_TYPE, kind);
        if !key.is_empty() {
            request = request.header(KEY, key);
        }
        self.service.send(request.body(Body::from(file.into())).unwrap()).await
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.service.call("GET", path, &self.root, Value::Null).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.json());
        answer.json()
    }

    async fn work(&self) {
        self.service.app.work_off_imports(&self.folder).await.unwrap();
    }

    async fn balance(&self) -> String {
        let path = format!("/api/v1/wallets/{}", self.wallet);
        self.get(&path).await["balance"].as_str().unwrap().to_owned()
    }

    fn files(&self) -> usize {
        std::fs::read_dir(&self.folder.path).map_or(0, Iterator::count)
    }
}

fn code(answer: &Answer) -> (StatusCode, String) {
    (answer.status, answer.json()["code"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_is_applied_or_told() {
    let world = world().await;
    let wallet = &world.wallet;
    let mut file = format!(
        "type,wallet,amount,direction,reason\r\n\
         DEPOSIT,{wallet},10.50,,wages\r\n\
         WITHDRAW,{wallet},1000,,\r\n\
         ADJUSTMENT,{wallet},0.50,DEBIT,\"fee,\nsmall\"\r\n\
         DEPOSIT,{NOWHERE},1,,\r\n\
         DEPOSIT,{wallet},1.005,,\r\n\
         DEPOSIT,{wallet},,,\r\n\
         TRANSFER,{wallet},1,,\r\n\
         DEPOSIT,{wallet},1\r\n"
    )
    .into_bytes();
    file.extend_from_slice(b"DEPOSIT,\xff,1,,\r\n");
    file.extend_from_slice(format!("DEPOSIT,{wallet},2,,").as_bytes());
    let taken = world.send(&world.root, "?name=wages.csv", "text/csv; charset=utf-8", file, "").await;
    assert_eq!(taken.status, StatusCode::ACCEPTED, "{}", taken.json());
    let import = taken.json();
    let path = format!("{PATH}/{}", import["id"].as_str().unwrap());
    assert_eq!(taken.header("location"), path);
    assert_eq!(
        (&import["state"], &import["rows"], &import["name"]),
        (&json!("running"), &json!(0), &json!("wages.csv"))
    );
    assert_eq!((world.balance().await.as_str(), world.files()), ("100.00", 1));
    world.work().await;
    let import = world.get(&path).await;
    let counts = [&import["rows"], &import["applied"], &import["refused"]];
    assert_eq!((&import["state"], counts), (&json!("done"), [&json!(10), &json!(3), &json!(7)]), "{import}");
    assert_eq!(import["position"], import["size"]);
    assert_eq!((world.balance().await.as_str(), world.files()), ("112.00", 0));
    let refused = world.get(&format!("{path}/refused")).await;
    let told: Vec<_> = refused["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["line"].as_u64().unwrap(), row["code"].as_str().unwrap()))
        .collect();
    let invalid = "validation_error";
    let expected = [
        (3, "insufficient_funds"),
        (6, "wallet_not_found"),
        (7, invalid),
        (8, invalid),
        (9, invalid),
        (10, invalid),
        (11, invalid),
    ];
    assert_eq!(told, expected, "{refused}");
    assert_eq!(refused["items"][2]["detail"], "amount: more than 2 decimal places.");
    assert!(refused["next_cursor"].is_null());
    world.work().await;
    assert_eq!(world.balance().await, "112.00", "what is done is done once");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_rows_go_in_chunks_and_many_refusals_in_pages() {
    let world = world().await;
    let line = |n: u32| match n % 5 {
        0 => format!("{{\"type\":\"DEPOSIT\",\"wallet\":\"{}\"}}\n", world.wallet),
        _ => format!("{{\"type\":\"DEPOSIT\",\"wallet\":\"{}\",\"amount\":0.01}}\n\n", world.wallet),
    };
    let file: String = (1..=2500).map(line).collect();
    let taken = world.send(&world.root, "", "application/jsonl", file, "").await.json();
    world.work().await;
    let path = format!("{PATH}/{}", taken["id"].as_str().unwrap());
    let import = world.get(&path).await;
    assert_eq!((&import["state"], &import["applied"], &import["refused"]), (&json!("done"), &json!(2000), &json!(500)));
    assert_eq!(world.balance().await, "120.00");
    let (mut lines, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = world.get(&format!("{path}/refused{cursor}")).await;
        pages += 1;
        lines.extend(page["items"].as_array().unwrap().iter().map(|row| row["line"].as_u64().unwrap()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("?cursor={next}"),
            None => break,
        }
    }
    // Four of five rows have an empty line behind them.
    assert_eq!((pages, lines), (3, (1..=500).map(|n| 9 * n).collect::<Vec<u64>>()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_file_is_taken_once_unless_more_is_meant() {
    let world = world().await;
    let file = format!("type,wallet,amount\nDEPOSIT,{},1\n", world.wallet);
    let send = async |query: &str, key: &str| world.send(&world.root, query, "text/csv", file.clone(), key).await;
    let first = send("", "k").await;
    world.work().await;
    let again = send("", "k").await;
    assert_eq!((again.status, again.header("idempotency-replayed")), (StatusCode::ACCEPTED, "true"));
    assert_eq!((&again.json()["id"], &again.json()["state"]), (&first.json()["id"], &json!("done")));
    assert_eq!(code(&send("", "").await), (StatusCode::CONFLICT, "imported_before".to_owned()));
    assert_eq!(code(&send("", "other").await), (StatusCode::CONFLICT, "imported_before".to_owned()));
    let other = world.send(&world.root, "", "text/csv", format!("{file}\n"), "k").await;
    assert_eq!(code(&other), (StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused".to_owned()));
    assert_eq!(send("?again=true", "other").await.status, StatusCode::ACCEPTED, "a refused key stays free");
    world.work().await;
    assert_eq!((world.balance().await.as_str(), world.files()), ("102.00", 0));
    let list = world.get(&format!("{PATH}?limit=1")).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    let rest = world.get(&format!("{PATH}?cursor={}", list["next_cursor"].as_str().unwrap())).await;
    assert_eq!((&rest["items"][0]["id"], &rest["next_cursor"]), (&first.json()["id"], &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_file_of_rows_is_refused_and_nothing_stays() {
    let world = world().await;
    let bad = |said: &str| (StatusCode::BAD_REQUEST, said.to_owned());
    for (kind, file, expected) in [
        ("text/csv", b"".to_vec(), bad("bad_file")),
        ("application/jsonl", b"".to_vec(), bad("bad_file")),
        ("text/csv", b"a,b\n1,2\n".to_vec(), bad("bad_file")),
        ("text/csv", b"type,\xff\n".to_vec(), bad("bad_file")),
        ("application/json", b"{}".to_vec(), (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type".to_owned())),
        ("text/csv", vec![b'x'; 2 << 20], (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large".to_owned())),
    ] {
        let answer = world.send(&world.root, "", kind, file, "").await;
        assert_eq!(code(&answer), expected, "{}", answer.json());
    }
    let answer = world.send(&world.root, "?again=perhaps", "text/csv", "x", "").await;
    assert_eq!(code(&answer), bad("validation_error"));
    assert_eq!(world.files(), 0);
    assert_eq!(world.get(PATH).await["items"], json!([]));
    for tail in ["", "/refused"] {
        let answer = world.service.call("GET", &format!("{PATH}/{NOWHERE}{tail}"), &world.root, Value::Null).await;
        assert_eq!(code(&answer), (StatusCode::NOT_FOUND, "import_not_found".to_owned()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_staff_import_and_only_as_long_as_they_are_staff() {
    let world = world().await;
    let file = format!("type,wallet,amount\nDEPOSIT,{},1\n", world.wallet);
    let answer = world.send(&world.alice, "", "text/csv", file.clone(), "").await;
    assert_eq!(code(&answer), (StatusCode::FORBIDDEN, "permission_denied".to_owned()));
    assert_eq!(world.files(), 0);
    let other = world.service.superuser("other").await;
    let taken = world.send(&other, "", "text/csv", file, "").await.json();
    let number = world.service.caller(&other).user_number;
    let path = format!("/api/v1/admin/users/{number}");
    world.service.call("PATCH", &path, &world.root, json!({"is_active": false})).await;
    world.work().await;
    let import = world.get(&format!("{PATH}/{}", taken["id"].as_str().unwrap())).await;
    assert_eq!((&import["state"], &import["applied"]), (&json!("failed"), &json!(0)), "{import}");
    assert_eq!(import["failure"], "The user who asked for it may no longer import.");
    assert_eq!((world.balance().await.as_str(), world.files()), ("100.00", 0));
}

/// Its rows are no wallets that are not there: they are not decided at all.
#[tokio::test(flavor = "multi_thread")]
async fn an_import_ends_where_its_user_loses_the_right() {
    let world = world().await;
    let other = world.service.superuser("other").await;
    let file = format!("type,wallet,amount\nDEPOSIT,{0},1\nDEPOSIT,{0},2\n", world.wallet);
    let taken = world.send(&other, "", "text/csv", file, "").await.json();
    let id = Uuid::parse_str(taken["id"].as_str().unwrap()).unwrap();
    let (service, caller) = (&world.service, Caller { session_id: Uuid::nil(), ..world.service.caller(&other) });
    let disable = |_: &Import| {
        florin_store::write(&*service.engine, |tx| user::set_active(tx, caller.user_id, false, 1)).unwrap();
        service.clock.advance_us(1_000_000);
    };
    let import = service.app.get_import(&service.caller(&world.root), id).await.unwrap();
    let path = world.folder.path.join(id.to_string());
    let work = Work { path: &path, rights: BatchRights::Caller(caller), chunk_rows: 1 };
    let stopped = service.app.work_on_import(import, work, disable).await;
    assert!(matches!(stopped, Err(ImportError::Forbidden)), "{stopped:?}");
    world.work().await;
    let import = world.get(&format!("{PATH}/{id}")).await;
    let progress = (&import["state"], &import["applied"], &import["refused"]);
    assert_eq!(progress, (&json!("failed"), &json!(1), &json!(0)), "{import}");
    assert_eq!((world.balance().await.as_str(), world.files()), ("101.00", 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_has_gone_ends_its_import() {
    let world = world().await;
    let file = format!("type,wallet,amount\nDEPOSIT,{},1\n", world.wallet);
    let taken = world.send(&world.root, "", "text/csv", file, "").await.json();
    world.service.app.sweep_imports(&world.folder).unwrap();
    assert_eq!(world.files(), 1, "a running import keeps its file");
    let id = taken["id"].as_str().unwrap();
    std::fs::remove_file(world.folder.path.join(id)).unwrap();
    world.work().await;
    assert_eq!(world.get(&format!("{PATH}/{id}")).await["failure"], "The file is not on this node any more.");
}

/// Lines and reasons of the refused rows.
async fn refused(world: &World, path: &str) -> Vec<(u64, String)> {
    let page = world.get(&format!("{path}/refused")).await;
    let told = |row: &Value| (row["line"].as_u64().unwrap(), row["detail"].as_str().unwrap().to_owned());
    page["items"].as_array().unwrap().iter().map(told).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_behind_an_open_quote_are_not_applied_as_its_reason() {
    let world = world().await;
    let wallet = &world.wallet;
    let file = format!(
        "type,wallet,amount,reason\nDEPOSIT,{wallet},4,\nDEPOSIT,{wallet},5,\"oops\n\
         DEPOSIT,{wallet},6,\nDEPOSIT,{wallet},7,\n"
    );
    let taken = world.send(&world.root, "", "text/csv", file, "").await.json();
    world.work().await;
    let path = format!("{PATH}/{}", taken["id"].as_str().unwrap());
    let import = world.get(&path).await;
    assert_eq!((&import["state"], &import["applied"], &import["refused"]), (&json!("done"), &json!(1), &json!(1)));
    assert_eq!(world.balance().await, "104.00");
    let said = "A quote opened on line 3 is never closed; nothing behind it was read.".to_owned();
    assert_eq!(refused(&world, &path).await, [(3, said)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_at_the_end_of_a_chunk_and_an_open_quote_behind_it_are_two() {
    let world = world().await;
    let good: String = (1..=999).map(|_| format!("DEPOSIT,{},0.01,\n", world.wallet)).collect();
    let file = format!("type,wallet,amount,reason\n{good}DEPOSIT,x,1,\nDEPOSIT,y,1,\"abc\n");
    let taken = world.send(&world.root, "", "text/csv", file, "").await.json();
    world.work().await;
    let path = format!("{PATH}/{}", taken["id"].as_str().unwrap());
    let import = world.get(&path).await;
    assert_eq!((&import["state"], &import["applied"], &import["refused"]), (&json!("done"), &json!(999), &json!(2)));
    let page = world.get(&format!("{path}/refused")).await;
    assert_eq!(page["items"][0]["line"], 1001);
    let next = format!("{path}/refused?cursor={}", page["next_cursor"].as_str().unwrap());
    assert_eq!(world.get(&next).await["items"][0]["line"], 1002);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_cannot_go_on_ends_and_keeps_no_other_waiting() {
    let world = world().await;
    let file = |amount: u32| format!("type,wallet,amount\nDEPOSIT,x,1\nDEPOSIT,{},{amount}\n", world.wallet);
    let send = async |amount| world.send(&world.root, "", "text/csv", file(amount), "").await.json();
    let (first, second) = (send(5).await, send(7).await);
    let id = |import: &Value| Uuid::parse_str(import["id"].as_str().unwrap()).unwrap();
    // A page of refused rows in the place of the one that is to come.
    let engine = &*world.service.engine;
    florin_store::write(engine, |tx| import::count_rows(tx, id(&first), 2, (0, 0), "[]")).unwrap();
    world.work().await;
    let ended = async |import| world.get(&format!("{PATH}/{}", id(import))).await;
    let (first, second) = (ended(&first).await, ended(&second).await);
    assert_eq!((&first["state"], &first["applied"]), (&json!("failed"), &json!(0)), "{first}");
    let why = first["failure"].as_str().unwrap();
    assert!(why.starts_with("An internal failure stopped it at line 1; the log of node 0 tells which."), "{why}");
    assert_eq!((&second["state"], &second["applied"]), (&json!("done"), &json!(1)), "{second}");
    assert_eq!((world.balance().await.as_str(), world.files()), ("107.00", 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_refused_rows_is_bounded_however_large_the_chunk() {
    let world = world().await;
    let path = world.folder.path.with_file_name("local.jsonl");
    let wrong = format!("{{\"{}\":1}}\n", "x".repeat(60_000));
    let none = "{}\n".repeat(2499);
    let good = format!("{{\"type\":\"DEPOSIT\",\"wallet\":\"{}\",\"amount\":1}}\n", world.wallet);
    std::fs::write(&path, format!("{wrong}{none}{good}")).unwrap();
    let app = &world.service.app;
    let new = NewImport { format: ImportFormat::Jsonl, name: String::new(), again: false, key: None };
    let file = LocalFile::read(&path, ImportFormat::Jsonl).unwrap();
    let import = app.enter_local_import(&file, &new).unwrap();
    let work = Work { path: &path, rights: BatchRights::Operator(Uuid::nil()), chunk_rows: 5_000 };
    let import = app.work_on_import(import, work, |_| ()).await.unwrap();
    assert_eq!((import.state, import.progress.applied, import.progress.refused), ("done", 1, 2500));
    let (mut pages, mut cursor) = (Vec::new(), String::new());
    while pages.len() < 9 {
        let page = world.get(&format!("{PATH}/{}/refused{cursor}", import.id)).await;
        pages.push(page["items"].as_array().unwrap().clone());
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("?cursor={next}");
    }
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [1000, 1000, 500]);
    let lines = pages.iter().flatten().map(|row| row["line"].as_u64().unwrap());
    assert!(lines.eq(1..=2500));
    let detail = pages[0][0]["detail"].as_str().unwrap();
    assert!(detail.starts_with("unknown field `xxx") && detail.chars().count() == 201, "{detail}");
}

/// An amount means in a file what it means in a batch.
#[tokio::test(flavor = "multi_thread")]
async fn amounts_are_read_as_in_a_batch() {
    let world = world().await;
    let amounts = [
        "1",
        "1.0000",
        "\"1.0000\"",
        "1.25",
        "1.255",
        "\"1.25\"",
        "1e2",
        "1E+2",
        "10.0e1",
        "1.50e-1",
        "100e-2",
        "0",
        "0.00",
        "-1",
        "999999999999999999",
        "1000000000000000000",
        "1e18",
        "\"0000000000000000000000000000001\"",
        "1000000000000000000000000",
        "\"\"",
        "\".5\"",
        "\"5.\"",
        "\"+5\"",
        "\" 5\"",
        "\"1_0\"",
        "\"NaN\"",
        "\"\\ud800\"",
        "\"\\u0031\"",
        "true",
        "[]",
        "{}",
        "null",
        "1.0000000000000000000000000000000000000000",
        "0.000000000000000000001",
    ];
    for amount in amounts {
        let wallets =
            [world.service.wallet(&world.alice, "0.00").await, world.service.wallet(&world.alice, "0.00").await];
        let [in_batch, in_file] = wallets
            .each_ref()
            .map(|wallet| format!("{{\"type\":\"DEPOSIT\",\"wallet\":\"{wallet}\",\"amount\":{amount}}}"));
        let request = Request::builder()
            .method("POST")
            .uri("/api/v1/batches")
            .header(header::AUTHORIZATION, format!("Bearer {}", world.root))
            .header(header::CONTENT_TYPE, "application/json");
        let body = Body::from(format!("{{\"commands\":[{in_batch}]}}"));
        let answer = world.service.send(request.body(body).unwrap()).await.json();
        let taken = world.send(&world.root, "", "application/jsonl", in_file, "").await.json();
        world.work().await;
        let import = world.get(&format!("{PATH}/{}", taken["id"].as_str().unwrap())).await;
        let mut balances = Vec::new();
        for wallet in wallets {
            balances.push(world.get(&format!("/api/v1/wallets/{wallet}")).await["balance"].clone());
        }
        assert_eq!(balances[0], balances[1], "{amount}: {answer} {import}");
        assert_eq!(answer["applied"].as_i64().unwrap_or(0), import["applied"].as_i64().unwrap(), "{amount}: {answer}");
    }
}
