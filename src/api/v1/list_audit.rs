//! `GET /v1/audit`

use std::sync::Arc;

use axum::extract::{OriginalUri, State};
use axum::http::HeaderMap;
use axum::response::Response;

use crate::api::audit_page::{AuditQuery, response};
use crate::api::auth::Admin;
use crate::api::page::Page;
use crate::api::params::Params;
use crate::api::path::Id;
use crate::api::problem::ApiError;
use crate::app::service::Service;
use crate::clock::Timestamp;
use crate::domain::audit::{Action, AuditEntry};
use crate::domain::names::AppName;
use crate::store::AuditFilter;

const MAX_TEXT_LENGTH: usize = 256;

/// List audit entries.
///
/// Returns who did what across all apps and tokens. The newest entry comes first. With
/// `Accept: application/x-ndjson`, returns one JSON entry per line, and the next page in `Link`.
#[utoipa::path(
    get, path = "/v1/audit", tag = "history", operation_id = "listAudit",
    params(
        ("app" = Option<AppName>, Query, description = "Return entries about this app only."),
        ("actor" = Option<String>, Query, description = "Return entries of the token with this name only.", min_length = 1, max_length = 256, pattern = "^[^\\x00]*$", example = "deploy-bot"),
        ("action" = Option<Action>, Query, description = "Return entries with this action only."),
        ("job" = Option<Id>, Query, description = "Return entries of this job only."),
        ("resource" = Option<String>, Query, description = "Return only entries about resources whose id starts with this text.", min_length = 1, max_length = 256, pattern = "^[^\\x00]*$", example = "iam:user/"),
        ("service" = Option<String>, Query, description = "Return only entries of calls to this AWS service.", pattern = "^(iam|s3|ecr|sts)$", example = "iam"),
        ("operation" = Option<String>, Query, description = "Return only entries of calls to this AWS operation.", pattern = "^[A-Za-z][A-Za-z0-9]{0,127}$", example = "CreateAccessKey"),
        ("since" = Option<Timestamp>, Query, description = "Return entries at or after this time only."),
        ("until" = Option<Timestamp>, Query, description = "Return entries before this time only."),
        ("limit" = Option<u32>, Query, description = "The maximum number of items.", minimum = 1, maximum = 200),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the previous page.", pattern = "^(0|[1-9][0-9]{0,17})-(0|[1-9][0-9]{0,17})$"),
    ),
    responses(
        (status = 200, description = "A page of audit entries.", content((Page<AuditEntry> = "application/json"), (String = "application/x-ndjson"), (String = "application/jsonl")), headers(("Link" = Option<String>, description = "For JSON lines: the next page, with `rel=\"next\"`. Absent on the last page."))),
        (status = 403, description = "The role `admin` is required."),
    )
)]
pub async fn list_audit(
    State(service): State<Arc<Service>>,
    Admin(caller): Admin,
    OriginalUri(uri): OriginalUri,
    mut params: Params,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let query = AuditQuery::of(&mut params);
    let filter = AuditFilter {
        scope: caller.scope,
        app: params.take("app", AppName::parse),
        actor: params.take("actor", parse_text),
        resource: params.take("resource", parse_text),
        service: params.take("service", parse_service),
        operation: params.take("operation", parse_operation),
        since: params.take("since", parse_time),
        until: params.take("until", parse_time),
        ..query.filter
    };
    params.finish()?;
    let found = service.store.audit(&filter).await?;
    Ok(response(query.cursor, found, &uri, &headers))
}

fn parse_text(text: &str) -> Result<String, String> {
    let fits = (1..=MAX_TEXT_LENGTH).contains(&text.chars().count());
    if fits {
        Ok(text.to_owned())
    } else {
        Err(format!("must be 1 to {MAX_TEXT_LENGTH} characters"))
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
    // The plus sign of an offset arrives as a space if the client did not percent-encode it.
    text.replace(' ', "+")
        .parse()
        .map_err(|_| "must be an RFC 3339 time such as 2025-01-31T00:00:00Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_may_have_an_offset_that_is_not_percent_encoded() {
        assert_eq!(
            parse_time("2025-01-31T01:00:00 01:00"),
            parse_time("2025-01-31T00:00:00Z")
        );
        assert!(parse_time("yesterday").is_err());
    }
}
