//! What the trail says of a use case.

use florin_store::audit::AuditEvent;
use uuid::Uuid;

use crate::{App, port::new_id};

impl App {
    /// An event at this moment that went well: somebody did something to a user.
    pub(crate) fn event(
        &self,
        action: &'static str,
        actor_id: Option<Uuid>,
        subject_id: Option<Uuid>,
        request_id: &str,
    ) -> AuditEvent {
        AuditEvent {
            id: new_id(&*self.clock, &*self.rng),
            at_us: self.clock.now_us(),
            action,
            actor_id,
            subject_id,
            outcome: "ok",
            request_id: request_id.to_owned(),
            detail: None,
        }
    }
}
