//! Looking back: the history of an app, and the audit over all.
//!
//! Invariant: both are pages of the same entries, as one JSON document or as JSON lines.

use std::sync::Arc;

use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};

use crate::api::auth::{Admin, Viewer};
use crate::api::body::{AppPath, Id, Params, parse_id};
use crate::api::page::{Cursor, Page};
use crate::api::problem::{ApiError, Problem};
use crate::app::service::Service;
use crate::clock::Timestamp;
use crate::domain::audit::{Action, AuditEntry};
use crate::domain::names::AppName;
use crate::store::{AuditCursor, AuditFilter};

/// The media types of JSON lines: the usual one, and the one that the format's authors proposed.
const LINES: [&str; 2] = ["application/x-ndjson", "application/jsonl"];
/// The longest text that entries are looked for by, in characters.
const LONGEST: usize = 256;

/// List the history of an app
///
/// Shows what was requested of the app and what was changed in AWS for it, newest first. A removed app keeps its history.
/// With `Accept: application/x-ndjson`, a page has one entry per line, and the `Link` header has the next page.
#[utoipa::path(
    get, path = "/v1/apps/{app}/history", tag = "history", operation_id = "getHistory",
    params(
        ("app" = AppName, Path, description = "The app's name"),
        ("job" = Option<Id>, Query, description = "Entries of this job"),
        ("action" = Option<Action>, Query, description = "Entries of this action"),
        ("limit" = Option<u32>, Query, description = "Items at most", minimum = 1, maximum = 200),
        ("cursor" = Option<String>, Query, description = "The next_cursor of the page before", pattern = "^(0|[1-9][0-9]{0,17})-(0|[1-9][0-9]{0,17})$"),
    ),
    responses(
        (status = 200, description = "A page", content((Page<AuditEntry> = "application/json"), (String = "application/x-ndjson"), (String = "application/jsonl")), headers(("Link" = Option<String>, description = "Of JSON lines: the next page, `rel=\"next\"`; absent on the last one"))),
        (status = 400, description = "Wrong parameters", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such app", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn of_app(
    State(service): State<Arc<Service>>,
    _: Viewer,
    AppPath(app): AppPath,
    OriginalUri(uri): OriginalUri,
    mut params: Params,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let asked = Asked::of(&mut params);
    params.finish()?;
    service
        .store
        .app(&app)
        .await?
        .ok_or(ApiError::NoSuch("such app"))?;
    let filter = AuditFilter {
        app: Some(app),
        ..asked.filter
    };
    let found = service.store.audit(&filter).await?;
    Ok(answer(
        asked.cursor.page(found, AuditCursor::of, |entry| entry),
        &uri,
        &headers,
    ))
}

/// List the audit
///
/// Shows who did what, over all apps and tokens, newest first. With `Accept: application/x-ndjson`, a page has one entry
/// per line, and the `Link` header has the next page.
#[utoipa::path(
    get, path = "/v1/audit", tag = "history", operation_id = "listAudit",
    params(
        ("app" = Option<AppName>, Query, description = "Entries of this app"),
        ("actor" = Option<String>, Query, description = "Entries of the token of this name", min_length = 1, max_length = 256, pattern = "^[^\\x00]*$"),
        ("action" = Option<Action>, Query, description = "Entries of this action"),
        ("job" = Option<Id>, Query, description = "Entries of this job"),
        ("resource" = Option<String>, Query, description = "Entries of resources whose ids begin with this", min_length = 1, max_length = 256, pattern = "^[^\\x00]*$", example = "iam:user/"),
        ("service" = Option<String>, Query, description = "Entries of calls to this AWS service", pattern = "^(iam|s3|ecr|sts)$"),
        ("operation" = Option<String>, Query, description = "Entries of calls of this AWS operation", pattern = "^[A-Za-z][A-Za-z0-9]{0,127}$", example = "CreateAccessKey"),
        ("since" = Option<Timestamp>, Query, description = "Entries not before this"),
        ("until" = Option<Timestamp>, Query, description = "Entries before this"),
        ("limit" = Option<u32>, Query, description = "Items at most", minimum = 1, maximum = 200),
        ("cursor" = Option<String>, Query, description = "The next_cursor of the page before", pattern = "^(0|[1-9][0-9]{0,17})-(0|[1-9][0-9]{0,17})$"),
    ),
    responses(
        (status = 200, description = "A page", content((Page<AuditEntry> = "application/json"), (String = "application/x-ndjson"), (String = "application/jsonl")), headers(("Link" = Option<String>, description = "Of JSON lines: the next page, `rel=\"next\"`; absent on the last one"))),
        (status = 400, description = "Wrong parameters", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "Takes the role admin", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn audit(
    State(service): State<Arc<Service>>,
    _: Admin,
    OriginalUri(uri): OriginalUri,
    mut params: Params,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let asked = Asked::of(&mut params);
    let filter = AuditFilter {
        app: params.take("app", AppName::parse),
        actor: params.take("actor", parse_text),
        resource: params.take("resource", parse_text),
        service: params.take("service", parse_service),
        operation: params.take("operation", parse_operation),
        since: params.take("since", parse_time),
        until: params.take("until", parse_time),
        ..asked.filter
    };
    params.finish()?;
    let found = service.store.audit(&filter).await?;
    Ok(answer(
        asked.cursor.page(found, AuditCursor::of, |entry| entry),
        &uri,
        &headers,
    ))
}

/// What both calls can be asked.
struct Asked {
    cursor: Cursor<AuditCursor>,
    filter: AuditFilter,
}

impl Asked {
    fn of(params: &mut Params) -> Self {
        let cursor = Cursor::parsed(params, |text| text.parse().ok());
        let job = params.take("job", |text| parse_id(text).ok_or("is not the id of a job"));
        let action = params.take("action", |text| {
            text.parse::<Action>()
                .map_err(|_| "is not an action of the audit")
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

fn parse_text(text: &str) -> Result<String, String> {
    let fits = (1..=LONGEST).contains(&text.chars().count());
    if fits {
        Ok(text.to_owned())
    } else {
        Err(format!("must be 1 to {LONGEST} characters"))
    }
}

fn parse_service(text: &str) -> Result<String, &'static str> {
    let service = text
        .parse::<crate::aws::Service>()
        .map_err(|_| "must be iam, s3, ecr or sts")?;
    Ok(service.to_string())
}

fn parse_operation(text: &str) -> Result<String, &'static str> {
    let fits = text.len() <= 128
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric());
    if fits {
        Ok(text.to_owned())
    } else {
        Err("must be the name of an AWS operation such as CreateUser")
    }
}

fn parse_time(text: &str) -> Result<Timestamp, &'static str> {
    // A plus sign of an offset that was not percent-encoded has come as a space.
    text.replace(' ', "+")
        .parse()
        .map_err(|_| "must be a time by RFC 3339 such as 2025-01-31T00:00:00Z")
}

/// The page, as JSON or as JSON lines.
fn answer(page: Page<AuditEntry>, uri: &Uri, headers: &HeaderMap) -> Response {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let Some(kind) = LINES.into_iter().find(|kind| accept.contains(kind)) else {
        return Json(page).into_response();
    };
    // Entries always serialize.
    let lines: String = page
        .items
        .iter()
        .filter_map(|entry| serde_json::to_string(entry).ok())
        .map(|line| line + "\n")
        .collect();
    let mut response = (
        [(header::CONTENT_TYPE, HeaderValue::from_static(kind))],
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

/// The address with this cursor in the place of the one it has.
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
