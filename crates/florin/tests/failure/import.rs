//! Kill −9 in the middle of an import, again and again: every row is applied once, and the books prove clean.

use std::{fs, path::Path, process::Stdio, time::Duration};

use florin_store::{Engine, import};
use florin_store_sqlite::{SqliteEngine, SqliteOptions};
use serde_json::{Value, json};
use ureq::Agent;

use crate::server::{Database, Server, prove};

/// Rows of the file; every hundredth is refused.
const ROWS: u32 = 200_000;
const REFUSED: u32 = ROWS / 100;
/// Kills before it may end.
const KILLS: usize = 4;
const PASSWORD: &str = "Analytical-Engine-1843";

struct Staff {
    agent: Agent,
    token: String,
}

impl Staff {
    /// Signs in as the superuser.
    fn at(base: &str) -> Self {
        let config =
            Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(60))).build();
        let mut staff = Self { agent: config.into(), token: String::new() };
        let pair = staff.post(&format!("{base}/api/auth/token/"), &json!({"username": "root", "password": PASSWORD}));
        pair["access"].as_str().unwrap().clone_into(&mut staff.token);
        staff
    }

    fn post(&self, url: &str, body: &Value) -> Value {
        let mut request = self.agent.post(url);
        if !self.token.is_empty() {
            request = request.header("Authorization", format!("Bearer {}", self.token));
        }
        request.send_json(body).unwrap().body_mut().read_json().unwrap()
    }

    fn get(&self, url: &str) -> Value {
        let request = self.agent.get(url).header("Authorization", format!("Bearer {}", self.token));
        request.call().unwrap().body_mut().read_json().unwrap()
    }

    fn wallet(&self, base: &str) -> String {
        self.post(&format!("{base}/api/v1/wallets"), &json!({}))["id"].as_str().unwrap().to_owned()
    }

    fn balance(&self, base: &str, wallet: &str) -> String {
        self.get(&format!("{base}/api/v1/wallets/{wallet}"))["balance"].as_str().unwrap().to_owned()
    }
}

fn make_superuser(database: &Database) {
    let arguments = ["createsuperuser", "--username", "root", "--email", "root@example.org"];
    let made = database.command(&arguments).env("FLORIN_SUPERUSER_PASSWORD", PASSWORD).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// Deposits of 0.01; every hundredth row names no wallet.
fn file_for(wallet: &str) -> String {
    let row = |n: u32| match n % 100 {
        0 => format!("DEPOSIT,,0.01,row {n}\n"),
        _ => format!("DEPOSIT,{wallet},0.01,row {n}\n"),
    };
    format!("type,wallet,amount,reason\n{}", (1..=ROWS).map(row).collect::<String>())
}

fn expected_balance() -> String {
    let cents = ROWS - REFUSED;
    format!("{}.{:02}", cents / 100, cents % 100)
}

fn an_import_survives_kills(database: &Database) {
    make_superuser(database);
    let mut server = Server::start(database, 0);
    let mut staff = Staff::at(&server.base);
    let wallet = staff.wallet(&server.base);
    let sent = staff
        .agent
        .post(format!("{}/api/v1/imports", server.base))
        .header("Authorization", format!("Bearer {}", staff.token))
        .header("Content-Type", "text/csv")
        .send(file_for(&wallet));
    let import: Value = sent.unwrap().body_mut().read_json().unwrap();
    let path = format!("/api/v1/imports/{}", import["id"].as_str().unwrap_or_else(|| panic!("{import}")));
    let (mut rows, mut kills) = (0, 0);
    let end = loop {
        let import = staff.get(&format!("{}{path}", server.base));
        if import["state"] != "running" {
            break import;
        }
        let now = import["rows"].as_i64().unwrap();
        assert!(now >= rows, "{now} after {rows}");
        if now > rows && kills < KILLS {
            server.kill();
            server = Server::start(database, 0);
            staff = Staff::at(&server.base);
            (rows, kills) = (now, kills + 1);
        }
    };
    assert_eq!((&end["state"], &end["applied"]), (&json!("done"), &json!(ROWS - REFUSED)), "{end}");
    assert_eq!(end["refused"], json!(REFUSED));
    assert_eq!(kills, KILLS, "the file was too short to be broken off so often");
    assert_eq!(staff.balance(&server.base, &wallet), expected_balance());
    let refused = staff.get(&format!("{}{path}/refused", server.base));
    assert_eq!((&refused["items"][0]["line"], &refused["items"][0]["code"]), (&json!(101), &json!("validation_error")));
    server.stop();
    prove(database);
}

#[test]
fn an_import_survives_kills_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    an_import_survives_kills(&Database::Sqlite(folder.path().to_owned()));
}

#[test]
fn an_import_survives_kills_on_postgres() {
    let Some(database) = florin_testkit::postgres::fresh_database() else { return };
    let folder = tempfile::tempdir().unwrap();
    an_import_survives_kills(&Database::Postgres(database.url().to_owned(), folder.path().to_owned()));
}

/// How many rows the only import has behind it, looked up beside the process that works on it.
fn rows_in(folder: &Path) -> i64 {
    let options = SqliteOptions { exclusive: false, read_connections: 1, ..SqliteOptions::default() };
    let Ok(engine) = SqliteEngine::open(&folder.join("florin-data/florin.db"), options) else { return 0 };
    let imports = florin_store::read(&engine as &dyn Engine, |tx| import::list_imports(tx, None, 1));
    imports.unwrap_or_default().first().map_or(0, |import| import.progress.applied + import.progress.refused)
}

#[test]
fn the_same_file_goes_on_where_the_command_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::Sqlite(folder.path().to_owned());
    make_superuser(&database);
    let mut server = Server::start(&database, 0);
    let wallet = Staff::at(&server.base).wallet(&server.base);
    let file = folder.path().join("wages.csv");
    fs::write(&file, file_for(&wallet)).unwrap();
    let busy = database.command(&["import", "wages.csv"]).output().unwrap();
    assert_eq!(busy.status.code(), Some(1), "a server uses the database");
    server.stop();

    for _ in 0..3 {
        let before = rows_in(folder.path());
        let mut command = database.command(&["import", "wages.csv"]);
        let mut running = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while rows_in(folder.path()) == before && running.try_wait().unwrap().is_none() {}
        running.kill().unwrap();
        running.wait().unwrap();
    }
    let broken_off = rows_in(folder.path());
    assert!(broken_off > 0 && broken_off < i64::from(ROWS), "{broken_off} rows before the last run");
    let last = database.command(&["import", "wages.csv"]).output().unwrap();
    let said = String::from_utf8_lossy(&last.stdout).into_owned();
    assert_eq!(last.status.code(), Some(3), "{said}{}", String::from_utf8_lossy(&last.stderr));
    assert!(said.contains("goes on behind line"), "{said}");
    assert!(said.contains(&format!("{} rows applied, {REFUSED} refused", ROWS - REFUSED)), "{said}");
    let report = fs::read_to_string(folder.path().join("wages.csv.refused.csv")).unwrap();
    let mut lines = report.lines();
    assert_eq!(lines.next(), Some("line,code,detail"));
    assert_eq!(lines.next(), Some("101,validation_error,wallet is missing."));
    assert_eq!(lines.count(), usize::try_from(REFUSED).unwrap() - 1);
    let again = database.command(&["import", "wages.csv"]).output().unwrap();
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(again.status.code() == Some(1) && said.contains("--again"), "{said}");
    prove(&database);
    let mut server = Server::start(&database, 0);
    assert_eq!(Staff::at(&server.base).balance(&server.base, &wallet), expected_balance());
    server.stop();
}
