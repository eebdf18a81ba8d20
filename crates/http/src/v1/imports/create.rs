//! `POST /api/v1/imports`: a file, streamed to disk.

use std::sync::Arc;

use axum::{
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use florin_app::{
    Caller,
    import::{ImportError, ImportFolder, ImportFormat, NewImport, Receiver},
};
use http_body_util::BodyExt as _;
use tokio::sync::mpsc;

use super::{ImportBody, problem_of};
use crate::{
    django::json,
    idempotency_key::{mark_replayed, request_key},
    pagination::ListQuery,
    problem::{Problem, ProblemBody},
    request_body::BodyRefusal,
    state::Http,
};

const NAME_MAX_CHARS: usize = 200;
/// Pieces of a body between the network and the disk.
const PIECES_AHEAD: usize = 8;

/// Import a file of movements: it is taken whole, then worked on behind.
///
/// The columns of CSV, and the members of a JSONL object, are `type`, `wallet` (of a transfer `from` and `to`),
/// `amount`, `direction` (of an adjustment) and `reason`, as in a batch.
#[utoipa::path(post, path = "/api/v1/imports", tag = "admin", security(("bearer" = [])),
    request_body(description = "The file's bytes, UTF-8", content((String = "text/csv", example = "type,wallet,amount,\
        reason\nDEPOSIT,0197b9a2-7c31-7d52-9d5e-7f0f2f6f3a11,100.00,wages\n"), (String = "application/jsonl"))),
    params(("name" = Option<String>, Query, description = "What you call the file; at most 200 characters"),
        ("again" = Option<bool>, Query, description = "Take a file that was imported before once more"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable ASCII characters: the same file \
        with the same key is entered once")),
    responses((status = 202, description = "Taken; `Location` tells how far it is", body = ImportBody<'_>),
    (status = 400, description = "`bad_file`: empty, or its first line does not name the columns; \
        `validation_error`, `invalid_idempotency_key`. Nothing was taken", body = ProblemBody<'_>),
    (status = 403, description = "`permission_denied`: not staff", body = ProblemBody<'_>),
    (status = 404, description = "`imports_off`: this server has no folder for imports", body = ProblemBody<'_>),
    (status = 409, description = "`imported_before`: the same bytes were imported before", body = ProblemBody<'_>),
    (status = 413, description = "`body_too_large`: larger than `import_max_size`", body = ProblemBody<'_>),
    (status = 415, description = "`unsupported_media_type`: neither `text/csv` nor `application/jsonl`",
        body = ProblemBody<'_>),
    (status = 422, description = "`idempotency_key_reused`", body = ProblemBody<'_>)))]
pub(crate) async fn create_import(State(http): State<Http>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let caller = http.staff(&parts).await?;
    let format = format_of(&parts.headers)?;
    let mut query = ListQuery::read(&parts, &["name", "again"])?;
    let again = query.value("again", "Must be true or false.", |text| text.parse().ok()).unwrap_or(false);
    let short = |text: &str| (text.chars().count() <= NAME_MAX_CHARS && !text.contains('\0')).then(|| text.to_owned());
    let name = query.value("name", "At most 200 characters.", short).unwrap_or_default();
    query.finish()?;
    let key = request_key(&parts.headers, &[])?;
    let Some(folder) = http.options.imports.clone() else {
        return Err(Problem::not_found("imports_off", "Imports are off"));
    };
    let place = Arc::clone(&http.imports).try_acquire_owned().map_err(|_| Problem::busy())?;
    let new = NewImport { format, name, again, key };
    let (import, replayed) = receive(&http, caller, folder, body, new).await?;
    drop(place);
    let mut response = json(StatusCode::ACCEPTED, &ImportBody::from(&import));
    if let Ok(location) = HeaderValue::from_str(&format!("/api/v1/imports/{}", import.id)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    mark_replayed(&mut response, replayed);
    Ok(response)
}

fn format_of(headers: &HeaderMap) -> Result<ImportFormat, Problem> {
    let sent = headers.get(header::CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    let essence = sent.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
    match &essence[..] {
        b"text/csv" => Ok(ImportFormat::Csv),
        b"application/jsonl" | b"application/x-ndjson" | b"application/x-jsonlines" => Ok(ImportFormat::Jsonl),
        _ => Err(BodyRefusal::Unsupported(String::from_utf8_lossy(sent).into_owned()).into()),
    }
}

/// Brings the body to the disk: pieces go from the network to a thread that may block.
async fn receive(
    http: &Http,
    caller: Caller,
    folder: ImportFolder,
    mut body: Body,
    new: NewImport,
) -> Result<(florin_app::import::Import, bool), Problem> {
    let (sender, mut pieces) = mpsc::channel::<Bytes>(PIECES_AHEAD);
    let app = Arc::clone(&http.app);
    let writing = http.app.blocking(move || -> Result<Receiver, ImportError> {
        let mut receiver = app.receive_import(&caller, &folder)?;
        while let Some(piece) = pieces.blocking_recv() {
            receiver.write(&piece)?;
        }
        Ok(receiver)
    });
    let sending = async move {
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| BodyRefusal::Parse("the body was cut off".to_owned()))?;
            // A writer that has gone tells why by itself.
            if let Ok(piece) = frame.into_data()
                && sender.send(piece).await.is_err()
            {
                break;
            }
        }
        Ok::<_, Problem>(())
    };
    let (written, sent) = tokio::join!(writing, sending);
    let receiver = written.map_err(|failure| Problem::failure(&failure))?.map_err(problem_of)?;
    // What was received of a body that was cut off is deleted with its receiver.
    sent?;
    let app = Arc::clone(&http.app);
    let entered = http.app.blocking(move || app.enter_import(&caller, receiver, new)).await;
    entered.map_err(|failure| Problem::failure(&failure))?.map_err(problem_of)
}
