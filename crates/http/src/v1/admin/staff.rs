//! The door to staff routes.

use axum::http::request::Parts;
use florin_app::Caller;

use crate::{problem::Problem, state::Http};

impl Http {
    /// The caller, if the token says staff. The use case asks whether that is still so.
    pub(in crate::v1) fn staff(&self, parts: &Parts) -> Result<Caller, Problem> {
        let caller = self.counted_caller(&parts.method, &parts.headers)?;
        if caller.is_staff { Ok(caller) } else { Err(Problem::forbidden()) }
    }
}
