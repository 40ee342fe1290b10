//! The problem document, and the response that carries it.
//!
//! Invariant: a response has a Retry-After header if, and only if, its document says that it is retryable.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::code::Code;
use crate::domain::approval::PlanDifference;
use crate::domain::job::AwsRefusal;
use crate::domain::validation::FieldError;

/// The default of Retry-After, in seconds.
const RETRY_AFTER: u32 = 5;

/// The endpoints of OAuth 2.0.
const OAUTH_PATHS: [&str; 2] = ["/v1/oauth/token", "/v1/oauth/device_authorization"];

/// A problem document (RFC 9457).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// The URI reference of the problem's description.
    #[serde(rename = "type")]
    #[schema(example = "/problems#app_exists")]
    pub kind: String,
    /// A short description of `code`. The same for every problem with this code.
    #[schema(example = "App already exists")]
    pub title: String,
    /// The HTTP status code.
    #[schema(example = 409)]
    pub status: u16,
    /// What is wrong with this request.
    #[schema(example = "App acme-shop already exists.")]
    pub detail: String,
    /// The path of the request.
    #[schema(example = "/v1/apps")]
    pub instance: String,
    /// A stable code for programs.
    #[schema(example = "app_exists")]
    pub code: String,
    /// Every invalid field or parameter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// Whether the same request can succeed later. If so, the response has a Retry-After header.
    pub retryable: bool,
    /// The AWS call that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aws: Option<AwsRefusal>,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(
        example = "Update the app (PUT /v1/apps/acme-shop), repair it, or choose another name."
    )]
    pub remedy: Option<String>,
    /// The app or job that the problem is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "/v1/apps/acme-shop")]
    pub url: Option<String>,
    /// The error code of OAuth 2.0 (RFC 6749), where the endpoint is one of OAuth's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "invalid_grant")]
    pub error: Option<String>,
    /// The same as `detail`, where the endpoint is one of OAuth's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_description: Option<String>,
    /// The trace of the request, in OpenTelemetry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "0af7651916cd43dd8448eb211c80319c")]
    pub trace_id: Option<String>,
    /// How the plan differs from the one that was approved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<PlanDifference>,
    /// Seconds for the Retry-After header, if not the default.
    #[serde(skip)]
    pub(super) retry_after: Option<u32>,
}

impl Problem {
    pub(super) fn new(code: Code, detail: String) -> Self {
        Self {
            kind: format!("/problems#{code}"),
            title: code.title().into(),
            status: code.status().as_u16(),
            detail,
            instance: String::new(),
            code: code.to_string(),
            errors: Vec::new(),
            retryable: false,
            aws: None,
            remedy: None,
            url: None,
            error: None,
            error_description: None,
            trace_id: None,
            difference: None,
            retry_after: None,
        }
    }

    /// A defect in Slipway.
    pub(super) fn internal() -> Self {
        Self::new(Code::Internal, "Internal server error.".into())
            .remedy("This is a defect in Slipway. Report it with the X-Request-Id of the response.")
    }

    /// The problem of a request to this path. OAuth's clients read `error` and `error_description`.
    pub(super) fn for_endpoint(mut self, path: String) -> Self {
        if OAUTH_PATHS.contains(&path.as_str()) {
            let error = match self.code.as_str() {
                "invalid_grant"
                | "unsupported_grant_type"
                | "authorization_pending"
                | "slow_down"
                | "expired_token"
                | "access_denied" => self.code.as_str(),
                _ if self.retryable => "temporarily_unavailable",
                _ => "invalid_request",
            };
            self.error = Some(error.to_owned());
            self.error_description = Some(self.detail.clone());
        }
        self.instance = path;
        self
    }

    pub(super) fn remedy(mut self, remedy: &str) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    pub(super) fn errors(mut self, errors: &[FieldError]) -> Self {
        self.errors = errors.to_vec();
        self
    }

    pub(super) fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }

    pub(super) fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self.retryable()
    }

    pub(super) fn url(mut self, url: String) -> Self {
        self.url = Some(url);
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(&self)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.retryable {
            headers.insert(
                header::RETRY_AFTER,
                HeaderValue::from(self.retry_after.unwrap_or(RETRY_AFTER)),
            );
        }
        if let Some(Ok(url)) = self.url.as_ref().map(|url| url.parse()) {
            headers.insert(header::LOCATION, url);
        }
        response.extensions_mut().insert(self);
        response
    }
}
