//! What a server does beside requests: learning what other nodes ended, and deleting what is dead.

use std::{sync::Arc, time::Duration};

use florin_app::{App, Failure};
use tokio::{
    runtime::Runtime,
    time::{MissedTickBehavior, interval, sleep},
};

/// How often sessions ended on other nodes are looked up.
const POLL: Duration = Duration::from_secs(1);
/// How often dead rows are looked for.
const CLEAN_UP: Duration = Duration::from_secs(60);
/// Between two steps of a larger clean-up, so that requests come first.
const PAUSE: Duration = Duration::from_millis(50);

/// Starts everything; it ends with the runtime.
pub fn start(runtime: &Runtime, app: &Arc<App>, is_embedded: bool) {
    if !is_embedded {
        runtime.spawn(poll_ended_sessions(Arc::clone(app)));
    }
    runtime.spawn(clean_up(Arc::clone(app)));
}

async fn poll_ended_sessions(app: Arc<App>) {
    let mut warning = Warning::new("sessions ended on other nodes are not known for now");
    let mut ticks = ticks(POLL);
    loop {
        ticks.tick().await;
        warning.about(app.refresh_ended_sessions().await.err());
    }
}

async fn clean_up(app: Arc<App>) {
    let mut warning = Warning::new("dead sessions and tokens are not deleted for now");
    let mut ticks = ticks(CLEAN_UP);
    loop {
        ticks.tick().await;
        loop {
            match app.clean_up().await {
                Ok(cleaned) if cleaned.has_more() => sleep(PAUSE).await,
                other => {
                    warning.about(other.err());
                    break;
                }
            }
        }
    }
}

fn ticks(every: Duration) -> tokio::time::Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Says once that something fails, not with every try.
struct Warning {
    what: &'static str,
    is_failing: bool,
}

impl Warning {
    const fn new(what: &'static str) -> Self {
        Self { what, is_failing: false }
    }

    fn about(&mut self, error: Option<Failure>) {
        if let Some(error) = &error
            && !self.is_failing
        {
            tracing::warn!(%error, "{}", self.what);
        }
        self.is_failing = error.is_some();
    }
}
