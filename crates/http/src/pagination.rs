//! Query strings and opaque cursors of lists.

use axum::{extract::Query, http::request::Parts};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use florin_app::user::FieldErrors;

use crate::{django::NUL_CHARACTER, problem::Problem};

const LIMIT_DEFAULT: u16 = 50;
const LIMIT_MAX: u16 = 200;

/// The query's members, each known and given once.
pub(crate) struct ListQuery {
    values: Vec<(&'static str, String)>,
    errors: FieldErrors,
}

impl ListQuery {
    /// Takes the query apart; a name that is not in `known` is refused.
    pub(crate) fn read(parts: &Parts, known: &[&'static str]) -> Result<Self, Problem> {
        let Ok(Query(pairs)) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri) else {
            return Err(Problem::invalid_field("query", "The query string cannot be read."));
        };
        let mut query = Self { values: Vec::new(), errors: FieldErrors::default() };
        for (name, value) in pairs {
            match known.iter().find(|known| **known == name) {
                None => query.refuse("query", format!("Unknown parameter \"{name}\".")),
                Some(known) if query.find(known).is_some() => query.refuse(known, "Given more than once.".to_owned()),
                // No text of a database holds one.
                Some(known) if value.contains('\0') => query.refuse(known, NUL_CHARACTER.to_owned()),
                Some(known) => query.values.push((known, value)),
            }
        }
        Ok(query)
    }

    pub(crate) fn find(&self, name: &str) -> Option<&str> {
        self.values.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn refuse(&mut self, name: &'static str, message: String) {
        self.errors.0.push((name, vec![message]));
    }

    /// A value in the reader's form; a wrong one is noted with `message`.
    pub(crate) fn value<T>(
        &mut self,
        name: &'static str,
        message: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.find(name)?;
        let value = read(text);
        if value.is_none() {
            self.refuse(name, message.to_owned());
        }
        value
    }

    /// How many items a page has.
    pub(crate) fn limit(&mut self) -> u16 {
        let read = |text: &str| text.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
        self.value("limit", "A whole number from 1 to 200 is required.", read).unwrap_or(LIMIT_DEFAULT)
    }

    /// Where the page starts, as a former page's `next_cursor` says.
    pub(crate) fn cursor<T>(&mut self, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        self.value("cursor", "Not a cursor of this list.", |text| {
            let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
            let place = std::str::from_utf8(&bytes).ok()?.strip_prefix(CURSOR_MARK)?;
            if place.contains('\0') { None } else { read(place) }
        })
    }

    /// Ends the checks.
    pub(crate) fn finish(&mut self) -> Result<(), Problem> {
        if self.errors.0.is_empty() { Ok(()) } else { Err(Problem::invalid(std::mem::take(&mut self.errors))) }
    }
}

const CURSOR_MARK: &str = "1:";

/// The cursor of a page's end.
pub(crate) fn cursor_text(next: Option<String>) -> Option<String> {
    next.map(|place| URL_SAFE_NO_PAD.encode(format!("{CURSOR_MARK}{place}")))
}
