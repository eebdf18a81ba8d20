//! Looking at imports.

use florin_store::import;
use serde::Deserialize;
use uuid::Uuid;

use super::{Import, ImportError};
use crate::{App, Caller, Failure, wallet::Page};

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

/// A row that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RefusedRow {
    /// The number of the line it begins on, from 1.
    pub line: u64,
    /// Why, for programs.
    pub code: String,
    /// Why, for people.
    pub detail: String,
}

impl App {
    /// Hands every refused row of an import to `row`, in order. Blocks.
    ///
    /// # Errors
    /// [`ImportError::Failure`].
    pub fn for_each_refusal(&self, id: Uuid, mut row: impl FnMut(&RefusedRow)) -> Result<(), ImportError> {
        let mut after = 0;
        loop {
            let found = florin_store::read(&*self.engine, |tx| import::find_refusals(tx, id, after));
            let Some((line, json)) = found.map_err(Failure::from)? else { return Ok(()) };
            let rows: Vec<RefusedRow> = serde_json::from_str(&json)
                .map_err(|error| Failure::Internal(format!("import_refusals.refusals: {error}")))?;
            rows.iter().for_each(&mut row);
            after = line;
        }
    }
}
