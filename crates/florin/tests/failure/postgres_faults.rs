//! PostgreSQL killed under load, its backends killed and ended one by one, and transactions that it aborts, at any
//! statement and at the commit itself: everything acknowledged is there, once.
//!
//! `FLORIN_TEST_FAULT_ROUNDS` sets the number of rounds, `FLORIN_TEST_SEED` repeats a run.

use std::process::Command;

use tempfile::TempDir;

use crate::{
    cluster::{Cluster, Place, programs},
    kill::seed,
    load::Load,
    seeded::fault_rounds,
    server::{Database, Server, prove},
};

/// Operations acknowledged, at the most, before something goes wrong and after it.
const STEP: u64 = 120;

/// Two nodes on a PostgreSQL of the test's own.
struct Site {
    servers: [Server; 2],
    load: Load,
    database: Database,
    _folder: TempDir,
    cluster: Cluster,
}

impl Site {
    fn start() -> Option<Self> {
        let programs = programs()?;
        let cluster = Cluster::start(&programs, Place::local(), &[]);
        let folder = tempfile::tempdir().unwrap();
        let url = format!("postgres://postgres@{}:{}/postgres", cluster.place.host, cluster.place.port);
        let database = Database::Postgres(url, folder.path().to_owned());
        let servers = [Server::start(&database, 0), Server::start(&database, 1)];
        let mut load = Load::new(seed());
        load.prepare(&servers[0].base);
        Some(Self { servers, load, database, _folder: folder, cluster })
    }

    /// Lets clients work while something goes wrong, and compares.
    fn round(&mut self, round: u64, go_wrong: impl FnOnce(&Load, &mut Cluster)) {
        let bases = [&*self.servers[0].base, &*self.servers[1].base];
        let (load, cluster) = (&self.load, &mut self.cluster);
        load.run_on(&bases, || {
            load.await_more(STEP);
            go_wrong(load, cluster);
            load.await_more(STEP);
        });
        for base in bases {
            self.load.compare(base, round);
        }
    }

    fn end(mut self) {
        for server in &mut self.servers {
            server.stop();
        }
        prove(&self.database);
        println!("{}", self.load.summary());
    }
}

/// Kill −9 of one of Florin's backends: PostgreSQL ends all its sessions and recovers.
fn kill_a_backend(cluster: &Cluster) {
    let query = "SELECT pid FROM pg_stat_activity WHERE application_name = 'florin' ORDER BY xact_start LIMIT 1";
    let id = cluster.sql(query);
    if !id.is_empty() {
        // It may have gone by itself meanwhile.
        let _ = Command::new("kill").args(["-KILL", &id]).status();
        cluster.wait_until("it is back", |cluster| cluster.answers());
    }
}

#[test]
fn postgres_that_is_killed_under_load_loses_nothing_that_was_acknowledged() {
    let Some(mut site) = Site::start() else { return };
    for round in 0..fault_rounds(4) {
        site.round(round, |load, cluster| match (load.random() + round) % 4 {
            0 => kill_a_backend(cluster),
            1 => {
                let ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                    WHERE application_name = 'florin'";
                cluster.sql(ended);
            }
            _ => {
                cluster.kill();
                cluster.run(&[]);
            }
        });
    }
    site.end();
}

/// Every so many-th batch fails, with each of the errors after which a transaction is tried again, or takes long: once
/// at the statement, once at the commit. A sequence is not rolled back, so the next try is another number.
fn provoke(seed: u64) -> String {
    let salt = seed % 1_000_000;
    let body = |every: u32| {
        format!(
            "DECLARE n bigint := nextval('faults'); BEGIN IF hashint8(n + {salt}) % {every} = 0 THEN \
             IF n % 4 = 3 THEN PERFORM pg_sleep(0.1); ELSE RAISE EXCEPTION 'provoked' \
             USING ERRCODE = (ARRAY['40001', '40P01', '55P03'])[1 + n % 4]; END IF; END IF; RETURN NULL; END"
        )
    };
    format!(
        "CREATE SEQUENCE faults; \
         CREATE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS $$ {} $$; \
         CREATE FUNCTION late_fault() RETURNS trigger LANGUAGE plpgsql AS $$ {} $$; \
         CREATE TRIGGER fault AFTER INSERT ON batches FOR EACH STATEMENT EXECUTE FUNCTION fault(); \
         CREATE CONSTRAINT TRIGGER late_fault AFTER INSERT ON batches DEFERRABLE INITIALLY DEFERRED \
         FOR EACH ROW EXECUTE FUNCTION late_fault()",
        body(5),
        body(5)
    )
}

#[test]
fn postgres_transactions_that_are_aborted_are_tried_again_whole() {
    let Some(mut site) = Site::start() else { return };
    let seed = seed();
    site.cluster.sql(&provoke(seed));
    for round in 0..fault_rounds(4) {
        site.round(round, |load, _| load.await_more(STEP));
    }
    let provoked = site.cluster.log().matches("provoked").count();
    assert!(provoked >= 10, "{provoked} transactions were aborted");
    site.end();
}
