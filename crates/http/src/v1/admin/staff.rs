//! The door to staff routes.

use axum::http::request::Parts;
use florin_app::Caller;

use crate::{problem::Problem, state::Http};

impl Http {
    /// The caller, if staff: by the token, and by the database within the last second.
    pub(in crate::v1) async fn staff(&self, parts: &Parts) -> Result<Caller, Problem> {
        let caller = self.counted_caller(&parts.method, &parts.headers)?;
        let caller = self.app.with_current_rights(&caller).await?;
        if caller.is_staff { Ok(caller) } else { Err(Problem::forbidden()) }
    }
}
