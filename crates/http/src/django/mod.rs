//! The dialect of Django REST framework: refusals, field messages, amounts and times as its clients know them.

mod amount;
mod form;
mod operation_form;
mod refusal;

pub(crate) use amount::{AmountText, read_amount};
pub(crate) use form::{Form, NUL_CHARACTER, TextRule, is_python_space};
pub(crate) use operation_form::OperationForm;
pub(crate) use refusal::{CHALLENGE, DetailBody, RETRY_AFTER, Refusal, UNAVAILABLE, throttled_text};

use axum::{
    Json,
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use jiff::{Timestamp, fmt::temporal::DateTimePrinter};
use serde::Serialize;

/// A time on the wire: `2025-01-19T10:00:00.123456Z`, without a fraction when it is zero.
pub(crate) fn time_text(time_us: i64) -> String {
    const WHOLE: DateTimePrinter = DateTimePrinter::new().precision(Some(0));
    const MICROS: DateTimePrinter = DateTimePrinter::new().precision(Some(6));
    let printer = if time_us % 1_000_000 == 0 { WHOLE } else { MICROS };
    printer.timestamp_to_string(&Timestamp::from_microsecond(time_us).unwrap_or(Timestamp::UNIX_EPOCH))
}

/// Headers of an answer on the busiest routes, with some to spare.
const HEADERS_USUAL: usize = 12;

/// A JSON answer from a typed body.
pub(crate) fn json<T: Serialize>(status: StatusCode, body: &T) -> Response {
    let mut text = Vec::with_capacity(384);
    match serde_json::to_writer(&mut text, body) {
        Ok(()) => {
            let mut response = Response::new(text.into());
            *response.status_mut() = status;
            // Room for the headers that every answer gets.
            *response.headers_mut() = HeaderMap::with_capacity(HEADERS_USUAL);
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
        Err(error) => Refusal::defect(&error.to_string()).into_response(),
    }
}

/// What `OPTIONS` answers: what the route speaks.
pub(crate) async fn metadata(request: Request) -> Response {
    #[derive(Serialize)]
    struct Metadata<'a> {
        name: &'a str,
        description: &'a str,
        renders: [&'a str; 1],
        parses: [&'a str; 1],
    }
    let name = request.uri().path().trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
    let body = Metadata { name: &name, description: "", renders: ["application/json"], parses: ["application/json"] };
    Json(body).into_response()
}

/// The answer to a method that the route does not have.
pub(crate) async fn method_not_allowed(method: Method) -> Response {
    Refusal::Detail(StatusCode::METHOD_NOT_ALLOWED, format!("Method \"{method}\" not allowed.").into()).into_response()
}

/// The answer where no route is.
pub(crate) async fn not_found() -> Response {
    Refusal::not_found().into_response()
}

#[cfg(test)]
mod tests {
    use super::time_text;

    #[test]
    fn times_have_six_places_or_none() {
        assert_eq!(time_text(1_737_280_800_000_000), "2025-01-19T10:00:00Z");
        assert_eq!(time_text(1_737_280_800_123_456), "2025-01-19T10:00:00.123456Z");
        assert_eq!(time_text(1_737_280_800_120_000), "2025-01-19T10:00:00.120000Z");
    }
}
