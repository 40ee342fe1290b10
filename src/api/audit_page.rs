//! Pages of audit entries, as one JSON document or as JSON lines.

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse as _, Response};

use crate::api::accept::preferred;
use crate::api::page::Cursor;
use crate::api::params::Params;
use crate::api::path::parse_id;
use crate::domain::audit::{Action, AuditEntry};
use crate::store::{AuditCursor, AuditFilter};

/// The media types of a page. There are two for JSON lines: the usual one, and the one that its authors propose.
const MEDIA_TYPES: [&str; 3] = [
    "application/json",
    "application/x-ndjson",
    "application/jsonl",
];

/// The parameters that every list of audit entries has.
pub struct AuditQuery {
    /// Where the page starts.
    pub cursor: Cursor<AuditCursor>,
    /// Which entries it shows.
    pub filter: AuditFilter,
}

impl AuditQuery {
    /// Reads the parameters.
    pub fn of(params: &mut Params) -> Self {
        let cursor = Cursor::parsed(params, |text| text.parse().ok());
        let job = params.take("job", |text| parse_id(text).ok_or("is not a job id"));
        let action = params.take("action", |text| {
            text.parse::<Action>().map_err(|_| "is not an audit action")
        });
        let filter = AuditFilter {
            job,
            action,
            before: cursor.from,
            limit: cursor.probe(),
            ..AuditFilter::default()
        };
        Self { cursor, filter }
    }
}

/// The page of the entries found, in the media type that the client prefers.
pub fn response(
    cursor: Cursor<AuditCursor>,
    found: Vec<AuditEntry>,
    uri: &Uri,
    headers: &HeaderMap,
) -> Response {
    let page = cursor.page(found, AuditCursor::of, |entry| entry);
    let media_type = preferred(headers, &MEDIA_TYPES);
    if media_type == "application/json" {
        return Json(page).into_response();
    }
    // Entries always serialize.
    let lines: String = page
        .items
        .iter()
        .filter_map(|entry| serde_json::to_string(entry).ok())
        .map(|line| line + "\n")
        .collect();
    let mut response = (
        [(header::CONTENT_TYPE, HeaderValue::from_static(media_type))],
        lines,
    )
        .into_response();
    let next = page.next_cursor.and_then(|cursor| {
        HeaderValue::from_str(&format!("<{}>; rel=\"next\"", with_cursor(uri, &cursor))).ok()
    });
    if let Some(next) = next {
        response.headers_mut().insert(header::LINK, next);
    }
    response
}

/// The URL with another cursor.
fn with_cursor(uri: &Uri, cursor: &str) -> String {
    let kept = uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty() && !pair.starts_with("cursor="));
    let cursor = format!("cursor={cursor}");
    let query: Vec<&str> = kept.chain([cursor.as_str()]).collect();
    format!("{}?{}", uri.path(), query.join("&"))
}
