//! A PostgreSQL database of a test's own, on the server that `cargo xtask test` starts.

use std::sync::{
    LazyLock,
    atomic::{AtomicU32, Ordering},
};

use florin_store_postgres::{PostgresEngine, PostgresOptions, Process};
use tokio::time::Instant;
use tokio_postgres::NoTls;

/// The server's URL; without it tests on PostgreSQL are skipped, and say so.
pub const SERVER_VARIABLE: &str = "FLORIN_TEST_POSTGRES_URL";

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A new, empty database; dropped with this value.
pub struct FreshDatabase {
    server: String,
    name: String,
    url: String,
}

impl FreshDatabase {
    /// Its URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Ends the sessions that wait for a lock, as soon as there is one.
    pub fn end_waiting_sessions(&self) {
        let text = format!(
            "DO $$ BEGIN FOR i IN 1..30000 LOOP \
             PERFORM pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = '{}' AND wait_event_type = 'Lock'; \
             EXIT WHEN FOUND; PERFORM pg_stat_clear_snapshot(), pg_sleep(0.001); END LOOP; END $$",
            self.name
        );
        execute(&self.server, &text);
    }

    /// Comes back when a session waits for a lock in a statement with this in its text.
    ///
    /// # Panics
    /// None does within half a minute: a test cannot go on.
    pub fn wait_for_waiting(&self, text: &str) {
        let text = format!(
            "DO $$ BEGIN FOR i IN 1..30000 LOOP \
             PERFORM 1 FROM pg_stat_activity \
             WHERE datname = '{}' AND wait_event_type = 'Lock' AND query LIKE '%{text}%'; \
             IF FOUND THEN RETURN; END IF; PERFORM pg_stat_clear_snapshot(), pg_sleep(0.001); END LOOP; \
             RAISE 'nobody waits'; END $$",
            self.name
        );
        execute(&self.server, &text);
    }

    /// One more engine on it, with connections and a memory of its own, that asks for each balance.
    ///
    /// # Panics
    /// The URL cannot be read: a test cannot go on.
    #[must_use]
    #[expect(clippy::unwrap_used, reason = "a test without its database cannot go on")]
    pub fn connect(&self) -> PostgresEngine {
        PostgresEngine::connect(self.url(), PostgresOptions::default()).unwrap()
    }
}

impl Drop for FreshDatabase {
    fn drop(&mut self) {
        execute(&self.server, &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
    }
}

/// How a server uses a database: by this name, and with what it remembers believed while it is alone.
#[must_use]
pub fn options_of(name: u32) -> PostgresOptions {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let process = Process { name, uptime: || START.elapsed() };
    PostgresOptions { process: Some(process), ..PostgresOptions::default() }
}

/// A new database, or `None` where no server is given.
///
/// # Panics
/// The server does not answer, or refuses: a test cannot go on.
#[must_use]
pub fn fresh_database() -> Option<FreshDatabase> {
    let Ok(server) = std::env::var(SERVER_VARIABLE) else {
        eprintln!("skipped: no PostgreSQL ({SERVER_VARIABLE} is not set; `cargo xtask test` sets it)");
        return None;
    };
    let name = format!("florin_test_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::SeqCst));
    execute(&server, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
    execute(&server, &format!("CREATE DATABASE {name} TEMPLATE template0"));
    let url = server.rsplit_once('/').map_or_else(|| format!("{server}/{name}"), |(base, _)| format!("{base}/{name}"));
    Some(FreshDatabase { server, name, url })
}

/// An engine on a new, empty database; as [`fresh_database`].
#[must_use]
pub fn fresh_engine() -> Option<(PostgresEngine, FreshDatabase)> {
    let database = fresh_database()?;
    Some((database.connect(), database))
}

#[expect(clippy::unwrap_used, reason = "a test without its database cannot go on")]
fn execute(server: &str, sql: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(server, NoTls).await.unwrap();
        let connection = tokio::spawn(connection);
        client.batch_execute(sql).await.unwrap();
        drop(client);
        let _ = connection.await;
    });
}
