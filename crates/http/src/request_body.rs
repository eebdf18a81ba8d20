//! Reading a request's body, bounded, as JSON.

use std::{borrow::Cow, fmt, marker::PhantomData};

use axum::{
    body::{Body, Bytes, HttpBody as _},
    http::{HeaderMap, StatusCode, header},
};
use http_body_util::BodyExt as _;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::{Map, Value, value::RawValue};
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
pub(crate) async fn read_body(mut body: Body, limit: usize) -> Result<Bytes, BodyRefusal> {
    refuse_declared(&body, limit)?;
    let mut pieces = Pieces::default();
    while let Some(piece) = next_piece(&mut body).await? {
        pieces.add(piece, limit)?;
    }
    Ok(pieces.whole())
}

/// Refuses a body that is too large by its own account before anything of it is read. A client that asked whether to
/// send it is so told not to.
pub(crate) fn refuse_declared(body: &Body, limit: usize) -> Result<(), BodyRefusal> {
    let is_larger = usize::try_from(body.size_hint().lower()).map_or(true, |bytes| bytes > limit);
    if is_larger { Err(BodyRefusal::TooLarge(limit)) } else { Ok(()) }
}

/// The next piece of a body, or `None` after its last one.
pub(crate) async fn next_piece(body: &mut Body) -> Result<Option<Bytes>, BodyRefusal> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| BodyRefusal::Parse("the body was cut off".to_owned()))?;
        // Trailers say nothing here.
        if let Ok(piece) = frame.into_data() {
            return Ok(Some(piece));
        }
    }
    Ok(None)
}

/// The pieces of a body. Nearly every body is one, which is taken as it is.
#[derive(Default)]
pub(crate) struct Pieces {
    first: Bytes,
    joined: Vec<u8>,
}

impl Pieces {
    /// Adds one; all of them have at most `limit` bytes.
    pub(crate) fn add(&mut self, piece: Bytes, limit: usize) -> Result<(), BodyRefusal> {
        let length = self.first.len().max(self.joined.len());
        if piece.len() > limit.saturating_sub(length) {
            return Err(BodyRefusal::TooLarge(limit));
        }
        if length == 0 {
            self.first = piece;
            return Ok(());
        }
        if self.joined.is_empty() {
            self.joined.extend_from_slice(&self.first);
        }
        self.joined.extend_from_slice(&piece);
        Ok(())
    }

    /// All of them.
    pub(crate) fn whole(self) -> Bytes {
        if self.joined.is_empty() { self.first } else { self.joined.into() }
    }
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

/// What a derived reader reads, from objects alone: by itself it takes a list of the members' values as well, and of
/// anything else it says its own name.
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(members)).map(Object)
    }
}

/// The text of a JSON string: a slice of the body, unless it has escapes. None where it is no text.
pub(crate) fn text_of(raw: &RawValue) -> Option<Cow<'_, str>> {
    let text = raw.get();
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') { serde_json::from_str(text).ok().map(Cow::Owned) } else { Some(Cow::Borrowed(inner)) }
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

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    async fn read(pieces: &[&str], limit: usize) -> Result<String, BodyRefusal> {
        let pieces: Vec<_> = pieces.iter().map(|piece| Ok::<_, std::io::Error>((*piece).to_owned())).collect();
        let whole = read_body(Body::from_stream(stream::iter(pieces)), limit).await?;
        Ok(String::from_utf8(whole.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn pieces_are_joined_within_the_limit() {
        for pieces in [&[][..], &[""], &["a"], &["", "a"], &["ab", "", "c"], &["a", "b", "c", "defg"]] {
            let whole = pieces.concat();
            assert_eq!(read(pieces, whole.len()).await.unwrap(), whole);
            if !whole.is_empty() {
                let refused = read(pieces, whole.len() - 1).await;
                assert!(matches!(refused, Err(BodyRefusal::TooLarge(_))), "{pieces:?}");
            }
        }
        let declared = read_body(Body::from("abc"), 2).await;
        assert!(matches!(declared, Err(BodyRefusal::TooLarge(2))), "{declared:?}");
        let broken: [Result<String, _>; 2] = [Ok("a".to_owned()), Err(std::io::Error::other("gone"))];
        assert!(matches!(read_body(Body::from_stream(stream::iter(broken)), 9).await, Err(BodyRefusal::Parse(_))));
    }
}
