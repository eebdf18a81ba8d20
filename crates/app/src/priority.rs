//! How much of the processor this thread asks for. On Linux that is a thread's own; elsewhere nothing happens, and
//! where it is refused the thread works on as before.

/// Adds to the niceness of this thread: 3 is half the weight of an ordinary thread on a busy Linux, 10 a tenth.
#[cfg(target_os = "linux")]
pub fn lower_by(niceness: i32) {
    let own = rustix::process::getpriority_process(None);
    let lowered = own.and_then(|own| rustix::process::setpriority_process(None, own + niceness));
    if let Err(error) = lowered {
        tracing::debug!(%error, "a thread works at ordinary priority");
    }
}

/// Nothing: there is no priority of a thread.
#[cfg(not(target_os = "linux"))]
pub fn lower_by(_: i32) {}
