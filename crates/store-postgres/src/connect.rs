//! Connections: address, TLS, session settings, and the pool that keeps them.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use deadpool::managed::QueueMode;
use deadpool_postgres::{Connect, Hook, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use florin_store::StoreError;
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs, pki_types::CertificateDer, pki_types::pem::PemObject};
use tokio::task::JoinHandle;
use tokio_postgres::{
    Client, Config, Error,
    config::{SslMode, TargetSessionAttrs},
};
use tokio_postgres_rustls::MakeRustlsConnect;
use tracing::warn;

use crate::{engine::PostgresOptions, lease::LOCK_CLASS, ledger::cache::LedgerCache};

/// A pool that opens up to `size` connections when they are needed, and forgets those that died.
pub(crate) fn pool(
    url: &str,
    size: usize,
    options: &PostgresOptions,
    cache: &Arc<LedgerCache>,
) -> Result<Pool, StoreError> {
    let connect_timeout = Duration::from_millis(options.connect_timeout_ms);
    let config = config(url, connect_timeout)?;
    let hosts = u32::try_from(config.get_hosts().len()).unwrap_or(u32::MAX);
    let connector = Connector {
        tls: MakeRustlsConnect::new(tls_config(options)?),
        settings: session_settings(options),
        cache: Arc::clone(cache),
    };
    let manager = Manager::from_connect(config, connector, ManagerConfig { recycling_method: RecyclingMethod::Fast });
    let cache = Arc::clone(cache);
    Pool::builder(manager)
        .max_size(size)
        // It may lead to another server, or to one that was restored: what is remembered of the one before tells
        // nothing.
        .post_create(Hook::sync_fn(move |_, _| {
            cache.clear();
            Ok(())
        }))
        // The server keeps a process for each connection: the one that was last at work is the fastest.
        .queue_mode(QueueMode::Lifo)
        .wait_timeout(Some(Duration::from_millis(options.acquire_timeout_ms)))
        // All hosts but the last may have to be given up first.
        .create_timeout(Some(connect_timeout.saturating_mul(hosts.saturating_add(1))))
        .recycle_timeout(Some(connect_timeout))
        .runtime(Runtime::Tokio1)
        .build()
        .map_err(|error| StoreError::Internal(error.to_string()))
}

fn config(url: &str, connect_timeout: Duration) -> Result<Config, StoreError> {
    let mut config = parse(url)?;
    if config.get_application_name().is_none() {
        config.application_name("florin");
    }
    config.connect_timeout(connect_timeout);
    // Of several servers only one takes writes; which one it is may change.
    if config.get_hosts().len() > 1 && config.get_target_session_attrs() == TargetSessionAttrs::Any {
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    }
    // A peer that vanished without a word is noticed by the data that it does not acknowledge, and while an answer is
    // awaited by the probes that it does not answer.
    config.tcp_user_timeout(Duration::from_secs(10));
    config.keepalives_idle(Duration::from_secs(5));
    config.keepalives_interval(Duration::from_secs(2));
    config.keepalives_retries(3);
    Ok(config)
}

/// Never repeats the URL in an error: it holds a password.
fn parse(url: &str) -> Result<Config, StoreError> {
    // With `require` the certificate and its name are always checked here, so libpq's stricter modes mean the same.
    let url = url.replace("sslmode=verify-full", "sslmode=require").replace("sslmode=verify-ca", "sslmode=require");
    url.parse().map_err(|_| {
        StoreError::Internal(
            "the PostgreSQL URL cannot be read; write postgres://user:password@host:5432/database?sslmode=require"
                .to_owned(),
        )
    })
}

fn tls_config(options: &PostgresOptions) -> Result<ClientConfig, StoreError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    for certificate in CertificateDer::pem_slice_iter(options.ca_certificates_pem.as_bytes()) {
        certificate
            .map_err(|error| error.to_string())
            .and_then(|certificate| roots.add(certificate).map_err(|error| error.to_string()))
            .map_err(|error| StoreError::Internal(format!("a CA certificate cannot be read: {error}")))?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| StoreError::Internal(format!("no TLS: {error}")))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// `synchronous_commit` stays as the server has it. A statement that is a transaction by itself is one as ours are that
/// begin in words. Without hash and merge joins and without sequential scans a lookup of many keys goes through the
/// index from the first row on, before the tables have statistics, and rows are locked and changed in the order of that
/// index by every node. So there is one good plan for each statement, and no reason to make it anew for each batch.
///
/// A transaction of a process that was stopped, or whose machine is gone, stands still with its locks, and the server
/// would wait for it: it may do so for as long as a statement may run.
fn session_settings(options: &PostgresOptions) -> String {
    format!(
        "SET default_transaction_isolation = 'read committed'; SET default_transaction_read_only = off; \
         SET jit = off; SET plan_cache_mode = force_generic_plan; SET enable_hashjoin = off; \
         SET enable_mergejoin = off; SET enable_seqscan = off; SET enable_bitmapscan = off; \
         SET statement_timeout = {0}; SET idle_in_transaction_session_timeout = {0}; SET lock_timeout = {1}",
        options.statement_timeout_ms, options.lock_timeout_ms
    )
}

struct Connector {
    tls: MakeRustlsConnect,
    settings: String,
    cache: Arc<LedgerCache>,
}

impl Connector {
    /// The settings, and the lock that tells others of this process.
    fn greeting(&self) -> String {
        let name = self.cache.lease().name().cast_signed();
        format!("{}; SELECT pg_advisory_lock_shared({LOCK_CLASS}, {name})", self.settings)
    }
}

type Connected = Result<(Client, JoinHandle<()>), Error>;

impl Connect for Connector {
    fn connect(&self, config: &Config) -> Pin<Box<dyn Future<Output = Connected> + Send + '_>> {
        let config = config.clone();
        Box::pin(async move {
            let (client, task) = match open(&config, self.tls.clone()).await {
                // `prefer` promises no safety, so a certificate that is not trusted is no reason to stay away.
                Err(error) if config.get_ssl_mode() == SslMode::Prefer && is_handshake(&error) => {
                    warn!(%error, "no TLS to PostgreSQL: its certificate is not accepted and sslmode is prefer");
                    let mut plain = config.clone();
                    plain.ssl_mode(SslMode::Disable);
                    open(&plain, self.tls.clone()).await?
                }
                other => other?,
            };
            client.batch_execute(&self.greeting()).await?;
            Ok((client, task))
        })
    }
}

async fn open(config: &Config, tls: MakeRustlsConnect) -> Connected {
    let (client, connection) = config.connect(tls).await?;
    let task = tokio::spawn(async move {
        if let Err(error) = connection.await {
            warn!(%error, "a connection to PostgreSQL ended");
        }
    });
    Ok((client, task))
}

fn is_handshake(error: &Error) -> bool {
    error.to_string().starts_with("error performing TLS handshake")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_hosts_the_one_that_takes_writes_is_meant() {
        let attrs = |url: &str| {
            let config = config(url, Duration::from_secs(1)).unwrap();
            (config.get_hosts().len(), config.get_target_session_attrs())
        };
        assert_eq!(attrs("postgres://florin@db1/florin"), (1, TargetSessionAttrs::Any));
        assert_eq!(attrs("postgres://florin@db1:5432,db2:5433/florin"), (2, TargetSessionAttrs::ReadWrite));
        let only = "postgres://florin@db1,db2/florin?target_session_attrs=read-only";
        assert_eq!(attrs(only), (2, TargetSessionAttrs::ReadOnly));
    }
}
