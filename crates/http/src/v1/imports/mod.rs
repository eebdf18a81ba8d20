//! `/api/v1/imports`: files of movements, for staff.

mod body;
pub(crate) mod create;
pub(crate) mod get;
pub(crate) mod list;
pub(crate) mod refused;

pub(crate) use body::{ImportBody, problem_of};

use uuid::Uuid;

use super::{IdInPath, parse_uuid};
use crate::problem::Problem;

/// Files that may be on their way in at once; the next one is told to come again.
pub(crate) const AT_ONCE: usize = 4;

/// The import's id in a path.
fn import_id(path: &IdInPath) -> Result<Uuid, Problem> {
    path.as_ref().ok().and_then(|id| parse_uuid(id.as_str())).ok_or_else(not_found)
}

fn not_found() -> Problem {
    Problem::not_found("import_not_found", "Import not found")
}
