//! A full disk and a database that goes away: writes are refused with 503, nothing is lost, and it recovers by itself.

use std::process::Command;

use crate::{
    client::Client,
    cluster::{self, Cluster, Place},
    proxy::Proxied,
    server::{Database, Server, prove},
};

/// Requests that are tried before a state must have been reached.
const TRIES: u32 = 3000;

/// Deposits until the answer is `wanted`; gives the number of deposits that were applied meanwhile.
fn deposit_until(client: &Client, wanted: u16) -> i64 {
    let mut applied = 0;
    for _ in 0..TRIES {
        let (status, retry_after) = client.deposit();
        assert!(status == 200 || status == 503, "{status}");
        assert_eq!(status == 503, retry_after.is_some(), "a 503 says when to come back");
        applied += i64::from(status == 200);
        if status == wanted {
            return applied;
        }
    }
    panic!("no {wanted} in {TRIES} requests");
}

#[test]
fn a_full_disk_refuses_writes_and_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::Sqlite(folder.path().to_owned());
    // A first start makes the database, so that the limit meets deposits and not the schema.
    Server::start(&database, 0).stop();
    // The limit on the size of a file stands for the disk: writes past it fail. Its signal is ignored, as a full disk
    // sends none. The log is on that disk too: a line that cannot be written must cost nobody anything.
    let inner = database.command(&["serve"]);
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "trap '' XFSZ; head -c 2000000 /dev/zero > log; ulimit -S -f 1024; exec \"$0\" serve 2>> log"])
        .arg(inner.get_program());
    limited.current_dir(folder.path()).env_clear();
    limited.envs(inner.get_envs().filter_map(|(name, value)| value.map(|value| (name, value))));
    limited.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let mut server = Server::spawn(limited);
    let client = Client::with_wallet(&server.base);
    let mut applied = deposit_until(&client, 503);
    assert_eq!(client.balance_minor(), applied * 100, "reads go on, and show what was acknowledged");
    let id = server.id().to_string();
    let raised = Command::new("prlimit").args(["--pid", &id, "--fsize=unlimited"]).status().unwrap();
    assert!(raised.success());
    applied += deposit_until(&client, 200);
    assert_eq!(client.balance_minor(), applied * 100);
    server.stop();
    prove(&database);
}

#[test]
fn a_database_that_goes_away_is_awaited() {
    let Some(proxied) = Proxied::start() else { return };
    let (server, proxy) = (&proxied.server, &proxied.proxy);
    let client = Client::with_wallet(&server.base);
    let mut applied = deposit_until(&client, 200);
    for _ in 0..3 {
        proxy.cut();
        applied += deposit_until(&client, 503);
        proxy.mend();
        applied += deposit_until(&client, 200);
    }
    assert_eq!(client.balance_minor(), applied * 100, "what was acknowledged is there, what was refused is not");
    proxied.stop();
}

#[test]
fn a_postgresql_that_stops_and_starts_is_awaited() {
    let Some(programs) = cluster::programs() else { return };
    let mut postgres = Cluster::start(&programs, Place::local(), &[]);
    postgres.sql("CREATE DATABASE florin");
    let url = format!("postgres://postgres@127.0.0.1:{}/florin", postgres.place.port);
    let folder = tempfile::tempdir().unwrap();
    let database = Database::Postgres(url, folder.path().to_owned());
    let mut server = Server::start(&database, 0);
    let mut client = Client::with_wallet(&server.base);
    let mut applied = deposit_until(&client, 200);
    // In order, as for an update of PostgreSQL, and then by force: the first start after that recovers from its log.
    for end in [Cluster::stop, Cluster::kill] {
        end(&mut postgres);
        applied += deposit_until(&client, 503);
        let (status, retry_after) = client.deposit();
        assert_eq!((status, retry_after.is_some()), (503, true), "nothing is applied without a database");
        let (ready, retry_after) = client.readiness();
        assert_eq!((ready, retry_after.is_some()), (503, true));
        postgres.run(&[]);
        applied += deposit_until(&client, 200);
        assert_eq!(client.readiness().0, 200);
        assert_eq!(client.balance_minor(), applied * 100, "what was acknowledged is there, what was refused is not");
    }
    // Sessions go on, and new ones begin.
    assert_eq!(client.refresh(), 200);
    client.sign_in();
    server.stop();
    prove(&database);
}
