//! An example of every request and response in the OpenAPI document.
//!
//! Requests and successes are real: `tests/examples.py` records them into `docs/api/examples.json`. Problems are those
//! that the code sends.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use ulid::Ulid;
use utoipa::openapi::path::Operation;
use utoipa::openapi::{Content, OpenApi as Document, RefOr};

use crate::api::health::{Check, Readiness};
use crate::api::problem::{ApiError, Limit};
use crate::app::error::UseCaseError;
use crate::app::permission_check::PermissionReport;
use crate::aws::error::{AwsError, ErrorKind, Service};
use crate::clock::Timestamp;
use crate::domain::names::{AccountName, AppName};
use crate::domain::role::Role;
use crate::domain::validation::FieldError;
use crate::store::Refusal;

const RECORDED: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/docs/api/examples.json"
));
const PROBLEM: &str = "application/problem+json";

/// What one call was sent and what it returned, by status and media type.
#[derive(Default, Deserialize)]
struct Recorded {
    request: Option<Value>,
    #[serde(default)]
    responses: BTreeMap<String, Value>,
}

/// Gives every request and response its example.
pub fn add(api: &mut Document) {
    // A test finds what has no example, so nothing is lost silently.
    let recorded: BTreeMap<String, Recorded> = serde_json::from_str(RECORDED).unwrap_or_default();
    for (path, item) in &mut api.paths.paths {
        let calls = [
            ("GET", &mut item.get),
            ("POST", &mut item.post),
            ("PUT", &mut item.put),
            ("DELETE", &mut item.delete),
        ];
        for (method, call) in calls {
            let recorded = recorded.get(&format!("{method} {path}"));
            if let Some(call) = call {
                add_to(call, path, recorded.unwrap_or(&Recorded::default()));
            }
        }
    }
}

fn add_to(call: &mut Operation, path: &str, recorded: &Recorded) {
    let takes_body = call.request_body.is_some();
    if let Some(RefOr::T(body)) = &mut call.request_body {
        for content in body.content.values_mut() {
            set(content, recorded.request.clone());
        }
    }
    for (status, response) in &mut call.responses.responses {
        let RefOr::T(response) = response else {
            continue;
        };
        for (kind, content) in &mut response.content {
            let example = match kind.as_str() {
                PROBLEM => problem(status, path, takes_body),
                _ if path == "/readyz" && status == "503" => not_ready(),
                _ => recorded.responses.get(&format!("{status} {kind}")).cloned(),
            };
            set(content, example);
        }
    }
}

fn set(content: &mut RefOr<Content>, example: Option<Value>) {
    if let (RefOr::T(content), Some(example)) = (content, example) {
        content.example = Some(example);
    }
}

/// A problem of this status, as the code sends it.
fn problem(status: &str, path: &str, takes_body: bool) -> Option<Value> {
    let instance = path
        .replace("{app}", "acme-shop")
        .replace("{account}", "acme")
        .replace("{access_key_id}", "AKIAIOSFODNN7EXAMPLE")
        .replace("{id}", &Ulid::nil().to_string());
    let mut problem = error(status, path, takes_body)?.problem();
    problem.instance = instance;
    serde_json::to_value(problem).ok()
}

fn error(status: &str, path: &str, takes_body: bool) -> Option<ApiError> {
    Some(match status {
        "400" => ApiError::Parameters(vec![FieldError::new(
            "Idempotency-Key",
            "must be 1 to 255 visible ASCII characters",
        )]),
        "401" => ApiError::Unauthorized,
        "403" => ApiError::Forbidden {
            needed: if ["/tokens", "/audit", "/accounts", "/trust-rules"]
                .iter()
                .any(|of_admin| path.contains(of_admin))
            {
                Role::Admin
            } else {
                Role::Operator
            },
            has: Role::Viewer,
        },
        "404" if path.contains("/jobs/") => ApiError::NoSuch("job"),
        "404" if path.contains("/accounts/") => ApiError::NoSuch("account"),
        "404" if path.contains("/tokens/") => ApiError::NoSuch("token"),
        "404" if path.contains("/ecr/") => ApiError::NoSuch("repository"),
        "404" => ApiError::NoSuch("app"),
        "408" => ApiError::BodyTooSlow,
        "409" if path == "/v1/apps" => Refusal::AppExists(AppName::parse("acme-shop").ok()?).into(),
        "409" if path == "/v1/accounts" => {
            Refusal::AccountExists(AccountName::parse("acme").ok()?).into()
        }
        "409" if path.contains("/accounts/") => {
            Refusal::AccountInUse(AccountName::parse("acme").ok()?).into()
        }
        "409" => Refusal::Active(Ulid::nil()).into(),
        "410" => UseCaseError::AlreadyClaimed.into(),
        "412" => Refusal::Changed.into(),
        "413" => ApiError::TooLarge,
        "415" => ApiError::UnsupportedMediaType,
        "422" if takes_body => ApiError::Fields(vec![FieldError::new(
            "/region",
            "must be an AWS region's code, such as us-west-2",
        )]),
        "422" => Refusal::KeyReused.into(),
        "429" => ApiError::TooManyRequests(1),
        "500" => ApiError::Defect,
        "502" => UseCaseError::from(denied()).into(),
        "503" => ApiError::Overloaded(Limit::Requests),
        _ => return None,
    })
}

fn not_ready() -> Option<Value> {
    let ready = || Check {
        ready: true,
        reason: None,
    };
    let error = AwsError {
        service: Service::Sts,
        operation: "GetCallerIdentity",
        code: "ExpiredToken".into(),
        message: "The security token included in the request is expired".into(),
        kind: ErrorKind::BadCredentials,
        ..denied()
    };
    let readiness = Readiness {
        ready: false,
        database: ready(),
        aws: Check {
            ready: false,
            reason: Some(error.to_string()),
        },
        workers: ready(),
        permissions: PermissionReport {
            missing_actions: Some(Vec::new()),
            checked_at: Some(Timestamp::from_millis(0)),
            reason: None,
        },
    };
    serde_json::to_value(readiness).ok()
}

fn denied() -> AwsError {
    AwsError {
        service: Service::Iam,
        operation: "ListAccessKeys",
        code: "AccessDenied".into(),
        message: "not authorized to perform: iam:ListAccessKeys".into(),
        request_id: Some("b7a9f1d2-3c4e-4f5a-8b6c-7d8e9f0a1b2c".into()),
        status: Some(403),
        kind: ErrorKind::Denied,
        in_doubt: false,
        access: crate::provision::permissions::required_access(Service::Iam, "ListAccessKeys"),
    }
}
