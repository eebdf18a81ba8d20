//! Who moves the bytes while a thread waits for PostgreSQL.

use std::{future::Future, sync::Arc};

use deadpool_postgres::Pool;
use florin_store::StoreError;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::{connect, engine::PostgresOptions, ledger::cache::LedgerCache};

/// What drives a connection.
#[derive(Clone, Copy)]
pub(crate) enum Driver<'d> {
    /// Threads that drive all connections of the pool.
    Shared(&'d Handle),
    /// The thread that waits: no other has to be woken, neither to send nor to receive.
    Own(&'d Runtime),
}

impl Driver<'_> {
    pub(crate) fn block_on<T>(self, work: impl Future<Output = T>) -> T {
        match self {
            Self::Shared(handle) => handle.block_on(work),
            Self::Own(runtime) => runtime.block_on(async {
                // Nobody looked after the connection since it was used last. Whether it was closed is seen when the
                // event loop has asked the system, and the connection's task has had its turn after that.
                tokio::task::yield_now().await;
                tokio::task::yield_now().await;
                work.await
            }),
        }
    }
}

/// One connection that is driven by the thread that uses it.
pub(crate) struct OwnLane {
    /// None only while it is dropped.
    runtime: Option<Runtime>,
    pool: Pool,
}

impl OwnLane {
    pub(crate) fn new(url: &str, options: &PostgresOptions, cache: &Arc<LedgerCache>) -> Result<Self, StoreError> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| StoreError::Unavailable(format!("no event loop for PostgreSQL: {error}")))?;
        let pool = connect::pool(url, 1, options, cache)?;
        Ok(Self { runtime: Some(runtime), pool })
    }

    pub(crate) fn parts(&self) -> Option<(Driver<'_>, &Pool)> {
        self.runtime.as_ref().map(|runtime| (Driver::Own(runtime), &self.pool))
    }

    /// Closes the connection, if it is in the pool.
    pub(crate) fn close(&self) {
        drop(self.pool.retain(|_, _| false));
        // Nobody else tells the server of the end.
        if let Some((driver, _)) = self.parts() {
            driver.block_on(async {});
        }
    }
}

impl Drop for OwnLane {
    fn drop(&mut self) {
        self.pool.close();
        if let Some(runtime) = self.runtime.take() {
            // An engine may be dropped on an async thread, which must not wait.
            runtime.shutdown_background();
        }
    }
}
