//! Looking at imports.

use florin_store::import;
use uuid::Uuid;

use super::{Import, ImportError};
use crate::{App, Caller, wallet::Page};

/// Refused rows, as JSON text: a list of objects with `line`, `code` and `detail`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusals {
    /// The text.
    pub json: String,
    /// Where the next ones start; none at the end.
    pub next: Option<String>,
}

impl App {
    /// A page of imports, newest first. Staff only.
    ///
    /// # Errors
    /// [`ImportError::Forbidden`] and [`ImportError::Failure`].
    pub async fn list_imports(
        &self,
        caller: &Caller,
        before: Option<(i64, Uuid)>,
        limit: u16,
    ) -> Result<Page<Import>, ImportError> {
        staff(caller)?;
        let mut rows = self.read(move |tx| import::list_imports(tx, before, limit + 1)).await?;
        let is_more = rows.len() > usize::from(limit);
        rows.truncate(usize::from(limit));
        let next = rows.last().filter(|_| is_more).map(|last| format!("{}:{}", last.created_at_us, last.id));
        Ok(Page { items: rows.into_iter().map(Import::from).collect(), next })
    }

    /// One import. Staff only.
    ///
    /// # Errors
    /// [`ImportError::NotFound`], [`ImportError::Forbidden`] and [`ImportError::Failure`].
    pub async fn get_import(&self, caller: &Caller, id: Uuid) -> Result<Import, ImportError> {
        staff(caller)?;
        Ok(self.read(move |tx| import::find_import(tx, id)).await?.ok_or(ImportError::NotFound)?.into())
    }

    /// Refused rows of an import, those of one chunk at a time, from the chunk after `after_line`. Staff only.
    ///
    /// # Errors
    /// As [`App::get_import`].
    pub async fn list_refusals(&self, caller: &Caller, id: Uuid, after_line: i64) -> Result<Refusals, ImportError> {
        staff(caller)?;
        let found = self.read(move |tx| {
            if import::find_import(tx, id)?.is_none() {
                return Ok(None);
            }
            let Some((line, json)) = import::find_refusals(tx, id, after_line)? else { return Ok(Some(None)) };
            let is_more = import::find_refusals(tx, id, line)?.is_some();
            Ok(Some(Some((line, json, is_more))))
        });
        Ok(match found.await?.ok_or(ImportError::NotFound)? {
            None => Refusals { json: "[]".to_owned(), next: None },
            Some((line, json, is_more)) => Refusals { json, next: is_more.then(|| line.to_string()) },
        })
    }
}

fn staff(caller: &Caller) -> Result<(), ImportError> {
    if caller.is_staff { Ok(()) } else { Err(ImportError::Forbidden) }
}
