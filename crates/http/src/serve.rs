//! Accepting connections: bounded, with a time limit for slow heads, drained at the end.

use std::{convert::Infallible, future::Future, io, pin::pin, sync::Arc, time::Duration};

use axum::body::Body;
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{net::TcpListener, sync::Semaphore};

use crate::{Site, client_address::note_peer};

/// How long the accept loop rests when the system has no descriptors left.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// Bounds of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Open at once; further clients wait in the listener's backlog.
    pub max_connections: usize,
    /// Longest time to send a request's head; also how long an idle connection is kept.
    pub header_read_timeout: Duration,
    /// How long requests under way may take after the shutdown began.
    pub drain: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self { max_connections: 10_000, header_read_timeout: Duration::from_secs(30), drain: Duration::from_secs(20) }
    }
}

/// Serves until `shutdown` ends; then takes no connection more, finishes the requests under way for at most
/// `limits.drain`, and returns.
///
/// # Errors
/// None today: errors of single connections end these alone. The signature leaves room for a listener that dies.
pub async fn serve(
    listener: TcpListener,
    site: Site,
    limits: ConnectionLimits,
    shutdown: impl Future,
) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(limits.max_connections));
    let graceful = GracefulShutdown::new();
    let mut shutdown = pin!(shutdown);
    let mut builder = http1::Builder::new();
    // Not `pipeline_flush`: it holds answers back while there is more to read, so also the one to what cannot be read.
    // Head and body of an answer are one write, which `writev` would not make cheaper.
    builder.timer(TokioTimer::new()).header_read_timeout(limits.header_read_timeout).writev(false);
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            _ = &mut shutdown => break,
            next = next => next,
        };
        let (Ok(place), Ok((stream, peer))) = (place, accepted) else {
            tokio::time::sleep(ACCEPT_REST).await;
            continue;
        };
        // Answers are one write each; waiting to fill a segment only delays them.
        let _ = stream.set_nodelay(true);
        let site = site.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let site = site.clone();
            let mut request = request.map(Body::new);
            note_peer(&mut request, peer);
            async move { Ok::<_, Infallible>(site.answer(request).await) }
        });
        let connection = graceful.watch(builder.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            // A client that goes away in the middle is its own business.
            let _ = connection.await;
            drop(place);
        });
    }
    drop(listener);
    if tokio::time::timeout(limits.drain, graceful.shutdown()).await.is_err() {
        tracing::warn!(drain_s = limits.drain.as_secs(), "requests were still under way when the drain ended");
    }
    Ok(())
}
