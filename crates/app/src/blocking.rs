//! Work that blocks (databases, password hashes) on its own threads: so many at once, no more waiting than that.

use std::sync::Arc;

use florin_store::{StoreError, Tx};
use tokio::sync::Semaphore;

use crate::{App, Failure};

/// Pieces of storage work at once.
pub(crate) const STORAGE_AT_ONCE: usize = 64;
/// Pieces of storage work that may wait.
pub(crate) const STORAGE_WAITING: usize = 4096;

/// A bound on blocking work: what does not fit is refused at once, never queued without end.
pub(crate) struct BoundedPool {
    name: &'static str,
    places: Arc<Semaphore>,
    turns: Arc<Semaphore>,
}

impl BoundedPool {
    pub(crate) fn new(name: &'static str, at_once: usize, waiting: usize) -> Self {
        let at_once = at_once.max(1);
        let places = at_once.saturating_add(waiting).min(Semaphore::MAX_PERMITS);
        Self { name, places: Arc::new(Semaphore::new(places)), turns: Arc::new(Semaphore::new(at_once)) }
    }

    /// Runs `work` on a thread that may block. A caller that goes away does not stop it.
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
        let place = self.places.clone().try_acquire_owned().map_err(|_| {
            metrics::counter!("florin_pool_refused_total", "pool" => self.name).increment(1);
            Failure::Unavailable(format!("too much waits for {}", self.name))
        })?;
        let stopping = || Failure::Unavailable("the server is stopping".to_owned());
        let turn = self.turns.clone().acquire_owned().await.map_err(|_| stopping())?;
        // The permits go with the work: a request that was dropped still takes a thread until its work is done.
        let run = tokio::task::spawn_blocking(move || {
            let result = work();
            drop((turn, place));
            result
        });
        run.await.map_err(|error| if error.is_panic() { Failure::Internal(error.to_string()) } else { stopping() })
    }
}

impl App {
    /// Runs storage work off the async threads.
    ///
    /// # Errors
    /// [`Failure::Unavailable`] when too much waits already; then `work` did not run.
    pub async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
        self.storage.run(work).await
    }

    /// Reads one consistent snapshot.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnMut(&mut dyn Tx) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Failure> {
        let engine = self.engine.clone();
        Ok(self.blocking(move || florin_store::read(&*engine, work)).await??)
    }

    /// Runs one database transaction; `work` may run more than once. A taken key is the caller's to explain.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        work: impl FnMut(&mut dyn Tx) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<Result<T, Taken>, Failure> {
        let engine = self.engine.clone();
        match self.blocking(move || florin_store::write(&*engine, work)).await? {
            Ok(value) => Ok(Ok(value)),
            Err(StoreError::Duplicate(_)) => Ok(Err(Taken)),
            Err(error) => Err(error.into()),
        }
    }

    /// As [`App::write`], where no key can be taken.
    pub(crate) async fn write_own<T: Send + 'static>(
        &self,
        work: impl FnMut(&mut dyn Tx) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Failure> {
        self.write(work).await?.map_err(|Taken| Failure::Internal("an id was given out twice".to_owned()))
    }
}

/// A unique name belongs to somebody else; nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken;

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn what_does_not_fit_is_refused_at_once_and_fits_again_later() {
        let pool = Arc::new(BoundedPool::new("test", 1, 1));
        let (release, blocked) = mpsc::channel::<()>();
        let (started, running) = tokio::sync::oneshot::channel();
        let first = tokio::spawn({
            let pool = pool.clone();
            async move {
                pool.run(move || {
                    started.send(()).unwrap();
                    blocked.recv().unwrap();
                    1
                })
                .await
            }
        });
        running.await.unwrap();
        let mut second = Box::pin(pool.run(|| 2));
        let waits = std::future::poll_fn(|context| std::task::Poll::Ready(second.as_mut().poll(context).is_pending()));
        assert!(waits.await);
        assert!(matches!(pool.run(|| 3).await, Err(Failure::Unavailable(_))));
        release.send(()).unwrap();
        assert_eq!(first.await.unwrap().unwrap(), 1);
        assert_eq!(second.await.unwrap(), 2);
        assert_eq!(pool.run(|| 4).await.unwrap(), 4);
    }
}
