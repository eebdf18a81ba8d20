//! The rule after a restore: everybody signs in again.

use florin_store::{
    Engine,
    audit::{self, AuditEvent},
    restored::{Ended, RESTORED, end_everything},
};

use crate::{
    Failure,
    port::{Clock, Rng, new_id},
};

/// Ends everything that proves who somebody is, but passwords, and puts that into the audit trail. Nodes that
/// run learn of it when they next look for changed keys, and make new ones. Blocks.
///
/// # Errors
/// Those of storage; then nothing was ended.
pub fn end_everything_after_restore(engine: &dyn Engine, clock: &dyn Clock, rng: &dyn Rng) -> Result<Ended, Failure> {
    let now_us = clock.now_us();
    let event = AuditEvent {
        id: new_id(clock, rng),
        at_us: now_us,
        action: RESTORED,
        actor_id: None,
        subject_id: None,
        outcome: "ok",
        request_id: String::new(),
        detail: None,
    };
    Ok(florin_store::write(engine, |tx| {
        let ended = end_everything(tx, now_us)?;
        audit::insert_event(tx, &event)?;
        Ok(ended)
    })?)
}
