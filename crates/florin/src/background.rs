//! What a server does beside requests: learning what other nodes ended, replacing signing keys, and deleting
//! what is dead.

use std::{path::PathBuf, sync::Arc, time::Duration};

use florin_app::{App, Failure, session::KeyWish};
use tokio::{
    runtime::Runtime,
    time::{MissedTickBehavior, interval, sleep},
};

use crate::{
    config::{Config, Database},
    key_request::{self, KeyRequest},
};

/// How often sessions ended on other nodes and changed keys are looked up.
const POLL: Duration = Duration::from_secs(1);
/// How often dead rows are looked for.
const CLEAN_UP: Duration = Duration::from_secs(60);
/// Between two steps of a larger clean-up, so that requests come first.
const PAUSE: Duration = Duration::from_millis(50);

/// Starts everything; it ends with the runtime.
pub fn start(runtime: &Runtime, app: &Arc<App>, config: &Config) {
    let is_embedded = matches!(config.database, Database::Sqlite(_));
    if !is_embedded {
        runtime.spawn(poll_ended_sessions(Arc::clone(app)));
    }
    // Where nodes share a database, a command changes it itself.
    let requests = is_embedded.then(|| config.data_dir.clone());
    runtime.spawn(keep_keys(Arc::clone(app), requests));
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

async fn keep_keys(app: Arc<App>, requests: Option<PathBuf>) {
    let mut warning = Warning::new("signing keys stay as they are for now");
    let mut ticks = ticks(POLL);
    loop {
        ticks.tick().await;
        let request = requests.as_deref().and_then(key_request::find);
        let is_asked = request.is_some();
        let kept = match request {
            None => app.keep_keys(KeyWish::Nothing).await,
            Some(KeyRequest::Rotate(wish)) => app.keep_keys(wish).await,
            Some(KeyRequest::Revoke(id)) => app.revoke_key(&id).await.map(drop),
        };
        if let (true, true, Some(folder)) = (is_asked, kept.is_ok(), &requests) {
            key_request::done(folder);
        }
        warning.about(kept.err());
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
