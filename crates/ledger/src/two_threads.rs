//! Work of a large batch that is divided over two threads.

use std::thread;

/// Transactions that two threads hash sooner than one, the second one's start included.
pub(crate) const WORTH_A_THREAD: usize = 512;

/// Does both, the second on a thread of its own; on this one, after the first, if no thread can be had.
pub(crate) fn on_two_threads<A, B: Send>(first: impl FnOnce() -> A, second: impl Fn() -> B + Sync) -> (A, B) {
    thread::scope(|scope| {
        let started = thread::Builder::new().spawn_scoped(scope, &second);
        let first = first();
        let second = started.ok().and_then(|thread| thread.join().ok()).unwrap_or_else(&second);
        (first, second)
    })
}
