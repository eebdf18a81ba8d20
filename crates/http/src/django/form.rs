//! Text fields of a request, checked and worded as Django REST framework does.

use axum::{
    body::Bytes,
    http::{HeaderMap, request::Parts},
};
use florin_app::user::FieldErrors;
use serde_json::{Map, Value};

use crate::request_body::{BodyRefusal, json_object};

const REQUIRED: &str = "This field is required.";
const NULL: &str = "This field may not be null.";
const BLANK: &str = "This field may not be blank.";
const NOT_TEXT: &str = "Not a valid string.";
pub(crate) const NUL_CHARACTER: &str = "Null characters are not allowed.";

/// How a text field is read.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TextRule {
    /// Missing is an error.
    pub(crate) required: bool,
    /// Empty is no error.
    pub(crate) blank_ok: bool,
    /// `null` counts as missing.
    pub(crate) null_ok: bool,
    /// Blanks around it stay.
    pub(crate) keep_blanks: bool,
    /// A later check has its own words for a NUL character.
    pub(crate) nul_checked_later: bool,
    /// Most characters; 0 is no limit.
    pub(crate) max_chars: usize,
}

impl TextRule {
    pub(crate) const REQUIRED: Self = Self {
        required: true,
        blank_ok: false,
        null_ok: false,
        keep_blanks: false,
        nul_checked_later: false,
        max_chars: 0,
    };
}

/// An object that was sent, and what is wrong with it so far.
pub(crate) struct Form {
    members: Map<String, Value>,
    errors: FieldErrors,
}

impl Form {
    pub(crate) fn read(parts: &Parts, body: &Bytes) -> Result<Self, BodyRefusal> {
        Self::from_body(&parts.headers, body)
    }

    fn from_body(headers: &HeaderMap, body: &Bytes) -> Result<Self, BodyRefusal> {
        Ok(Self { members: json_object(headers, body)?, errors: FieldErrors::default() })
    }

    /// The text of a field; `None` if it is missing or wrong.
    pub(crate) fn text(&mut self, name: &'static str, rule: TextRule) -> Option<String> {
        match self.check_text(name, rule) {
            Ok(text) => text,
            Err(message) => {
                self.refuse(name, message);
                None
            }
        }
    }

    fn check_text(&self, name: &str, rule: TextRule) -> Result<Option<String>, String> {
        let text = match self.members.get(name) {
            None if rule.required => return Err(REQUIRED.to_owned()),
            None => return Ok(None),
            Some(Value::Null) if rule.null_ok => return Ok(None),
            Some(Value::Null) => return Err(NULL.to_owned()),
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.as_str().to_owned(),
            Some(_) => return Err(NOT_TEXT.to_owned()),
        };
        let trimmed = text.trim_matches(is_python_space);
        if text.is_empty() || (!rule.keep_blanks && trimmed.is_empty()) {
            return if rule.blank_ok { Ok(Some(String::new())) } else { Err(BLANK.to_owned()) };
        }
        let text = if rule.keep_blanks { text } else { trimmed.to_owned() };
        if !rule.nul_checked_later && text.contains('\0') {
            return Err(NUL_CHARACTER.to_owned());
        }
        if rule.max_chars > 0 && text.chars().count() > rule.max_chars {
            return Err(format!("Ensure this field has no more than {} characters.", rule.max_chars));
        }
        Ok(Some(text))
    }

    /// A field that is true or false.
    pub(crate) fn flag(&mut self, name: &'static str) -> Option<bool> {
        match self.members.get(name) {
            Some(Value::Bool(flag)) => return Some(*flag),
            None => self.refuse(name, REQUIRED.to_owned()),
            Some(Value::Null) => self.refuse(name, NULL.to_owned()),
            Some(_) => self.refuse(name, "Must be a valid boolean.".to_owned()),
        }
        None
    }

    /// The value of a field as it was sent.
    pub(crate) fn member(&self, name: &str) -> Option<&Value> {
        self.members.get(name)
    }

    /// Adds a message.
    pub(crate) fn refuse(&mut self, name: &'static str, message: String) {
        self.refuse_all(name, vec![message]);
    }

    /// Adds messages, if there are any.
    pub(crate) fn refuse_all(&mut self, name: &'static str, messages: Vec<String>) {
        if !messages.is_empty() {
            self.errors.0.push((name, messages));
        }
    }

    /// Ends the checks: the messages, if there are any.
    pub(crate) fn finish(&mut self) -> Result<(), FieldErrors> {
        if self.errors.0.is_empty() { Ok(()) } else { Err(std::mem::take(&mut self.errors)) }
    }
}

/// What Python's `str.strip` takes away.
pub(crate) fn is_python_space(sign: char) -> bool {
    sign.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&sign)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &str, rule: TextRule) -> Result<Option<String>, String> {
        let members = serde_json::from_str(&format!("{{\"f\":{value}}}")).unwrap();
        Form { members, errors: FieldErrors::default() }.check_text("f", rule)
    }

    #[test]
    fn text_fields_speak_djangos_words() {
        let rule = TextRule::REQUIRED;
        assert_eq!(check("\"  a b \"", rule), Ok(Some("a b".to_owned())));
        assert_eq!(check("12.50", rule), Ok(Some("12.50".to_owned())));
        assert_eq!(check("\" \"", rule), Err(BLANK.to_owned()));
        assert_eq!(check("null", rule), Err(NULL.to_owned()));
        for wrong in ["true", "[]", "{}"] {
            assert_eq!(check(wrong, rule), Err(NOT_TEXT.to_owned()));
        }
        assert_eq!(check("\" \"", TextRule { keep_blanks: true, ..rule }), Ok(Some(" ".to_owned())));
        assert_eq!(check("\"abc\"", TextRule { max_chars: 2, ..rule }), {
            Err("Ensure this field has no more than 2 characters.".to_owned())
        });
        assert_eq!(check("\"a\\u0000\"", rule), Err(NUL_CHARACTER.to_owned()));
    }
}
