//! Bodies are read as they come: one that was compressed is refused, never misread and never taken for another.

use axum::{
    body::HttpBody as _,
    extract::Request,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};

use crate::problem::Problem;

/// The only coding there is here (RFC 9110, section 8.4.1).
const IDENTITY: &str = "identity";

/// The refusal of a request whose body has a coding (RFC 9110, section 15.5.16).
pub(crate) fn refuse_encoded(request: &Request) -> Option<Response> {
    let coding = coding_of(request.headers())?;
    if request.body().is_end_stream() {
        return None;
    }
    let detail =
        format!("The body has the content encoding \"{coding}\", which is not read here. Send it without one.");
    let title = "Unsupported content encoding";
    let problem = Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_content_encoding", title, detail);
    let mut response = problem.into_response();
    response.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static(IDENTITY));
    Some(response)
}

/// The first coding that is one.
fn coding_of(headers: &HeaderMap) -> Option<String> {
    let lines = headers.get_all(header::CONTENT_ENCODING).into_iter();
    let mut codings = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let coding = codings.find(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(IDENTITY.as_bytes()))?;
    Some(String::from_utf8_lossy(coding).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_alone_is_no_coding() {
        let coding = |lines: &[&'static str]| {
            let lines = lines.iter().map(|line| (header::CONTENT_ENCODING, HeaderValue::from_static(line)));
            coding_of(&lines.collect())
        };
        for plain in [&[][..], &[""], &["identity"], &["Identity, identity", " ,"]] {
            assert_eq!(coding(plain), None, "{plain:?}");
        }
        assert_eq!(coding(&["GZIP"]).as_deref(), Some("GZIP"));
        assert_eq!(coding(&["identity , br"]).as_deref(), Some("br"));
    }
}
