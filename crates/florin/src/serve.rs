//! `florin serve`: everything in the order in which it can fail, then requests until a signal, then an orderly end.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::Args;
use florin_app::import::ImportFolder;
use florin_http::{ConnectionLimits, HttpOptions, Throttle, router};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

use crate::{
    background,
    config::{Config, Database},
    output::{Problem, say},
    telemetry, wiring,
};

/// How long requests under way may take after the signal.
const DRAIN: Duration = Duration::from_secs(30);

/// Descriptors that are not for clients.
const KEPT_DESCRIPTORS: usize = 128;

/// How long background work may take to end, after the last request.
const LAST_WORK: Duration = Duration::from_secs(1);

const EXAMPLES: &str = "\
Examples:
  florin serve
  florin serve --listen 127.0.0.1:9000 --data-dir /var/lib/florin
  FLORIN_DATABASE_URL=postgres://florin@db/florin florin serve --migrate-on-start true

SIGTERM and SIGINT end it: no request that was accepted is lost. A second signal ends it at once.";

/// What `florin serve` takes: nothing but the settings.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// What kept the server from starting.
pub fn run(config: &Config) -> Result<ExitCode, Problem> {
    telemetry::start_logs(config)?;
    wiring::prepare_data_dir(config)?;
    let runtime = wiring::start_runtime(config)?;
    let metrics = telemetry::start_metrics(runtime.handle())?;
    let listener = runtime
        .block_on(TcpListener::bind(config.listen))
        .map_err(|error| Problem::failed(format!("cannot listen on {}: {error}", config.listen)))?;
    let address = listener.local_addr().map_err(Problem::failed)?;
    let stop = runtime.block_on(async { stop_signal() })?;
    let engine = wiring::open_engine(config)?;
    wiring::prepare_schema(config, engine.as_ref(), config.migrate_on_start)?;
    let app = wiring::start_app(config, engine)?;
    background::start(&runtime, &app, config);
    app.sweep_imports(&import_folder(config)).map_err(Problem::failed)?;
    runtime.spawn(Arc::clone(&app).work_on_imports(import_folder(config)));
    let router = router(Arc::clone(&app), http_options(config, metrics));
    let limits = ConnectionLimits {
        max_connections: connections(config),
        header_read_timeout: config.limits.header_timeout,
        drain: DRAIN,
    };
    say(&banner(config, address));
    if !address.ip().is_loopback() {
        tracing::warn!(%address, "other machines can connect, over HTTP without TLS");
    }
    tracing::info!(%address, database = %config.database_shown, "serving");
    let served = runtime.block_on(florin_http::serve(listener, router, limits, stop));
    tracing::info!("no more requests; writing what is queued");
    // Background tasks hold the use cases too: they go first, then the last handle flushes the commit queue.
    runtime.shutdown_timeout(LAST_WORK);
    drop(app);
    served.map_err(|error| Problem::failed(format!("the server ended: {error}")))?;
    Ok(ExitCode::SUCCESS)
}

fn http_options(config: &Config, metrics: PrometheusHandle) -> HttpOptions {
    let limits = &config.limits;
    let bound = |limit: Option<u32>| limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let throttle = (limits.reads_per_hour.is_some() || limits.writes_per_hour.is_some()).then(|| Throttle {
        reads_per_hour: bound(limits.reads_per_hour),
        writes_per_hour: bound(limits.writes_per_hour),
    });
    HttpOptions {
        body_limit: limits.body_bytes,
        request_timeout: limits.request_timeout,
        cors_origins: config.cors_origins.clone(),
        throttle,
        trusted_proxies: config.trusted_proxies.clone(),
        sign_in_failures_per_address: limits.sign_in_failures_per_address,
        imports: Some(import_folder(config)),
        metrics: Some(metrics),
    }
}

/// Where files of imports lie while they are worked on.
fn import_folder(config: &Config) -> ImportFolder {
    let file_bytes_max = u64::try_from(config.limits.import_bytes).unwrap_or(u64::MAX);
    ImportFolder { path: config.data_dir.join("imports"), file_bytes_max }
}

/// As many connections as configured, but no more than leave room for the database's files and sockets: a process
/// without descriptors could not even reconnect.
fn connections(config: &Config) -> usize {
    let wanted = config.limits.max_connections;
    let room = descriptor_limit().map_or(usize::MAX, |limit| limit.saturating_sub(KEPT_DESCRIPTORS).max(16));
    if room < wanted {
        tracing::warn!(max_connections = room, wanted, "fewer connections: the limit of open files (ulimit -n) is low");
    }
    wanted.min(room)
}

/// The soft limit of open files, where the system tells it.
fn descriptor_limit() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Ends with the first SIGTERM or SIGINT; the second ends the process.
fn stop_signal() -> Result<impl Future<Output = ()>, Problem> {
    let refused = |error| Problem::failed(format!("signals cannot be watched: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(refused)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(refused)?;
    let (sender, receiver) = oneshot::channel::<()>();
    tokio::spawn(async move {
        let mut sender = Some(sender);
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            match sender.take() {
                Some(sender) => {
                    tracing::info!(drain_s = DRAIN.as_secs(), "stopping: no new connections, finishing requests");
                    let _ = sender.send(());
                }
                None => std::process::exit(1),
            }
        }
    });
    Ok(async move {
        let _ = receiver.await;
    })
}

fn banner(config: &Config, address: SocketAddr) -> String {
    // "Every address" is nothing that a client could call.
    let callable = match address.ip() {
        ip if !ip.is_unspecified() => address,
        IpAddr::V4(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, address.port())),
        IpAddr::V6(_) => SocketAddr::from((Ipv6Addr::LOCALHOST, address.port())),
    };
    let base = format!("http://{callable}");
    let data = config.data_dir.canonicalize().unwrap_or_else(|_| config.data_dir.clone());
    let mut lines = vec![
        format!("Florin {} listens on http://{address}", env!("CARGO_PKG_VERSION")),
        format!("  data      {}", data.display()),
        format!("  database  {}", config.database_shown),
        format!("  docs      {base}/api/docs/"),
        String::new(),
    ];
    lines.extend(notes(config, address));
    lines.push(String::new());
    lines.push("Make a user to begin with:".to_owned());
    lines.push(format!("  curl -i {base}/api/auth/users/ -H 'Content-Type: application/json' \\"));
    lines.push(
        r#"    -d '{"username":"ada","email":"ada@example.org","password":"Analytical-Engine-1843"}'"#.to_owned(),
    );
    lines.join("\n")
}

fn notes(config: &Config, address: SocketAddr) -> Vec<String> {
    let mut notes = Vec::new();
    if address.ip().is_loopback() {
        notes.push("Development settings:".to_owned());
        notes.push("  only this machine can connect (listen), over HTTP without TLS".to_owned());
    } else {
        notes.push("WARNING: other machines can connect".to_owned());
        notes.push("  HTTP without TLS: put a proxy that speaks HTTPS in front of it".to_owned());
    }
    if config.settings.self_deposit {
        notes.push("  users may deposit to their own wallets: money from nothing (self_deposit)".to_owned());
    }
    if config.master_key.is_none() && matches!(config.database, Database::Postgres(_)) {
        notes.push(
            "  the master key is a file in the data folder: other nodes need the same one (master_key)".to_owned(),
        );
    }
    notes
}
