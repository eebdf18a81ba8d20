//! Logs and measurements: set up once, at the start of `serve`.

use std::{io::IsTerminal as _, time::Duration};

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::{
    config::{Config, LogFormat},
    output::Problem,
};

/// Seconds, from a cached read to a client's patience.
const SECONDS: [f64; 16] =
    [0.0001, 0.000_25, 0.0005, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Commands in a batch.
const SIZES: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

/// How often samples are folded into their histograms: until then each takes memory, some hundred thousand a second
/// under load.
const UPKEEP: Duration = Duration::from_secs(1);

/// Sends log lines to standard error.
///
/// # Errors
/// The filter is not one, or logging was set up before.
pub fn start_logs(config: &Config) -> Result<(), Problem> {
    let filter = EnvFilter::builder().parse(&config.log).map_err(|error| Problem::Usage(format!("log: {error}")))?;
    let is_terminal = std::io::stderr().is_terminal();
    // A line that cannot be written, on a full disk, is lost: telling so would end the thread that wrote it.
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    let is_pretty = match config.log_format {
        LogFormat::Auto => is_terminal,
        LogFormat::Pretty => true,
        LogFormat::Json => false,
    };
    let started = if is_pretty {
        builder.with_ansi(is_terminal).with_target(false).try_init()
    } else {
        builder.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init()
    };
    started.map_err(|error| Problem::failed(format!("logs cannot start: {error}")))
}

/// Installs the recorder of measurements and keeps it tidy; gives what renders them.
///
/// # Errors
/// A recorder was installed before.
pub fn start_metrics(runtime: &tokio::runtime::Handle) -> Result<PrometheusHandle, Problem> {
    let failed = |error| Problem::failed(format!("metrics cannot start: {error}"));
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .and_then(|builder| builder.set_buckets_for_metric(Matcher::Suffix("_commands".to_owned()), &SIZES))
        .map_err(failed)?
        .install_recorder()
        .map_err(failed)?;
    describe();
    let kept = handle.clone();
    runtime.spawn(async move {
        let mut ticks = tokio::time::interval(UPKEEP);
        loop {
            ticks.tick().await;
            kept.run_upkeep();
        }
    });
    Ok(handle)
}

/// What the series of the use cases mean; `http` describes its own.
fn describe() {
    describe_gauge!("florin_queue_depth", "Operations waiting for the ledger");
    describe_histogram!("florin_queue_wait_seconds", Unit::Seconds, "Time that operations waited for the ledger");
    describe_histogram!("florin_commit_seconds", Unit::Seconds, "Time that batches took, commit included");
    describe_histogram!("florin_batch_commands", Unit::Count, "Operations committed together");
    describe_counter!("florin_queue_full_total", "Operations refused because the queue was full");
    describe_counter!("florin_rejections_total", "Operations refused by the ledger, by code");
    describe_counter!("florin_refresh_reuse_total", "Used refresh tokens that came back");
    describe_counter!("florin_pool_refused_total", "Work refused because a pool of threads was full, by pool");
}
