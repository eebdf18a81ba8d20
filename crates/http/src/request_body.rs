//! Reading a request's body, bounded, as JSON.

use axum::{
    body::{Body, Bytes, to_bytes},
    http::{HeaderMap, StatusCode, header},
};
use serde_json::{Map, Value};
use thiserror::Error;

/// Why a body cannot be read.
#[derive(Debug, Error)]
pub(crate) enum BodyRefusal {
    /// Longer than the limit, bytes.
    #[error("The request body must not be larger than {0} bytes.")]
    TooLarge(usize),
    /// Not JSON by its own account.
    #[error("Unsupported media type \"{0}\" in request.")]
    Unsupported(String),
    /// Not JSON.
    #[error("JSON parse error - {0}")]
    Parse(String),
    /// JSON, but not an object.
    #[error("{0}")]
    Shape(String),
}

impl BodyRefusal {
    pub(crate) const fn status(&self) -> StatusCode {
        match self {
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unsupported(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Parse(_) | Self::Shape(_) => StatusCode::BAD_REQUEST,
        }
    }
}

/// The whole body, at most `limit` bytes.
pub(crate) async fn read_body(body: Body, limit: usize) -> Result<Bytes, BodyRefusal> {
    to_bytes(body, limit).await.map_err(|error| {
        use std::error::Error as _;
        let too_large = error.source().is_some_and(|source| source.is::<http_body_util::LengthLimitError>());
        if too_large { BodyRefusal::TooLarge(limit) } else { BodyRefusal::Parse("the body was cut off".to_owned()) }
    })
}

/// The body as JSON text, or `None` for an empty body, whatever its type.
pub(crate) fn json_text<'a>(headers: &HeaderMap, body: &'a Bytes) -> Result<Option<&'a str>, BodyRefusal> {
    if body.is_empty() {
        return Ok(None);
    }
    let sent = headers.get(header::CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    let essence = sent.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    if !essence.eq_ignore_ascii_case(b"application/json") {
        return Err(BodyRefusal::Unsupported(String::from_utf8_lossy(sent).into_owned()));
    }
    let text = std::str::from_utf8(body).map_err(|error| BodyRefusal::Parse(error.to_string()))?;
    Ok(Some(text))
}

/// Whether the text's first sign opens an object; if not, the refusal that its value earns.
pub(crate) fn expect_object(text: &str) -> Result<(), BodyRefusal> {
    if text.trim_ascii_start().starts_with('{') {
        return Ok(());
    }
    let value: Value = serde_json::from_str(text).map_err(|error| BodyRefusal::Parse(error.to_string()))?;
    Err(BodyRefusal::Shape(match kind_of(&value) {
        Some(kind) => format!("Invalid data. Expected a dictionary, but got {kind}."),
        None => "No data provided".to_owned(),
    }))
}

fn kind_of(value: &Value) -> Option<&'static str> {
    match value {
        Value::Null => None,
        Value::Bool(_) => Some("bool"),
        Value::Number(number) => Some(if number.as_str().contains(['.', 'e', 'E']) { "float" } else { "int" }),
        Value::String(_) => Some("str"),
        Value::Array(_) => Some("list"),
        Value::Object(_) => Some("dict"),
    }
}

/// The body as an object; an empty body is an empty object, of a repeated key the last counts.
pub(crate) fn json_object(headers: &HeaderMap, body: &Bytes) -> Result<Map<String, Value>, BodyRefusal> {
    let Some(text) = json_text(headers, body)? else { return Ok(Map::new()) };
    expect_object(text)?;
    serde_json::from_str(text).map_err(|error| BodyRefusal::Parse(error.to_string()))
}
