//! Problem documents (RFC 9457): every answer that is not a success.
//!
//! Invariants:
//! - One match, without a wildcard, makes an error into a status and a document.
//! - What a client sees says what to do next; internal text stays in the log.

use axum::Json;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::error::UseCaseError;
use crate::aws::{AwsError, ErrorKind};
use crate::domain::job::AwsRefusal;
use crate::domain::names::AppName;
use crate::domain::role::Role;
use crate::domain::validation::FieldError;
use crate::provision::export::Unseen;
use crate::provision::fault::Fault;
use crate::store::{Refusal, StoreError};
use crate::vault::VaultError;

/// Seconds after which to try again, where nothing better is known.
const RETRY_AFTER: u32 = 5;
/// The same when there is too much: not all at once.
const OVERLOADED: std::ops::RangeInclusive<u32> = 1..=5;

/// What to do about a secret that cannot be had any more.
const ROTATE: &str =
    "Rotate the app's credentials (POST /v1/apps/{app}/credentials/rotate): that makes a new key.";

/// A problem document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// A URI reference that tells the kind of problem apart.
    #[serde(rename = "type")]
    #[schema(example = "/problems#app_exists")]
    pub kind: String,
    /// The kind, in words.
    #[schema(example = "Conflict")]
    pub title: String,
    /// The HTTP status.
    #[schema(example = 409)]
    pub status: u16,
    /// What happened this time.
    pub detail: String,
    /// The request's path.
    pub instance: String,
    /// The kind, for programs.
    #[schema(example = "app_exists")]
    pub code: String,
    /// Every field's error.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// Whether the same request can work later without anybody doing anything.
    pub retryable: bool,
    /// The AWS call that was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aws: Option<AwsRefusal>,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// What stands in the way: the app or the job.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "/v1/apps/acme-shop")]
    pub url: Option<String>,
    /// For the header, where it is not the usual.
    #[serde(skip)]
    retry_after: Option<u32>,
}

/// A limit on what the service handles at once. The text is the label of the metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Limit {
    /// Open connections.
    Connections,
    /// Requests being handled.
    Requests,
    /// Long polls and event streams.
    #[strum(serialize = "waiting")]
    LongPolls,
    /// Health, readiness and metrics requests.
    Operations,
}

impl Limit {
    fn noun(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Requests => "requests at work",
            Self::LongPolls => "requests and streams that wait",
            Self::Operations => "calls of health, readiness and metrics",
        }
    }
}

/// Everything that can go wrong with a request.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// No token, or one that nobody has.
    #[error("the request carries no valid bearer token")]
    Unauthorized,
    /// The token's role does not do.
    #[error("this takes the role {needed}; the token has {has}")]
    Forbidden {
        /// The role it takes.
        needed: Role,
        /// The role of the token.
        has: Role,
    },
    /// No such route.
    #[error("there is nothing at this address")]
    NotFound,
    /// No such app, job, key or token.
    #[error("there is no {0}")]
    NoSuch(&'static str),
    /// The route does not know the method.
    #[error("this address does not take that method")]
    MethodNotAllowed,
    /// The body is not JSON.
    #[error("the body is not JSON: {0}")]
    InvalidJson(String),
    /// The body cannot be read.
    #[error("the body could not be read")]
    UnreadableBody,
    /// The body is not of a type that is read.
    #[error("the body must be application/json")]
    UnsupportedMediaType,
    /// The body is too large.
    #[error("the body is larger than 64 KiB")]
    TooLarge,
    /// Query parameters or headers that will not do.
    #[error("the request's parameters will not do")]
    Parameters(Vec<FieldError>),
    /// Fields that will not do.
    #[error("the body's fields will not do")]
    Fields(Vec<FieldError>),
    /// The store refuses.
    #[error("refused")]
    Refused(Refusal),
    /// The app's spec forbids its removal.
    #[error("the app {0} is protected")]
    Protected(AppName),
    /// Data would be deleted; what a person should know of it.
    #[error("this deletes data: {}", .0.join(" "))]
    Unconfirmed(Vec<String>),
    /// A user has as many keys as AWS allows, and none was named that makes room.
    #[error("the user has two access keys, the most that AWS allows: {}", .0.join("; "))]
    NoKeySlot(Vec<String>),
    /// A key is in use, and that was not to be overlooked.
    #[error("the access key is in use: {0}")]
    KeyInUse(String),
    /// Nobody has looked for drift yet.
    #[error("nobody has looked at {0} for drift yet")]
    NoReport(AppName),
    /// A secret that was shown before.
    #[error("the secret of this key was claimed before; it is shown once")]
    AlreadyClaimed,
    /// A secret that nobody claimed in time.
    #[error("nobody claimed the secret of this key for seven days, and it is destroyed")]
    ClaimExpired,
    /// A secret of a key that is not there any more.
    #[error("this access key was deleted before anybody claimed its secret, which is destroyed")]
    KeyGone,
    /// AWS refused.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// Something of an app's could not be looked at.
    #[error(transparent)]
    Unseen(#[from] Unseen),
    /// The database is in job_error.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A secret cannot be opened.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// Too much is under way.
    #[error("the service is at its limit of {}", .0.noun())]
    Overloaded(Limit),
    /// The caller asks too often; the seconds until it may ask again.
    #[error("this caller asks too often")]
    TooManyRequests(u32),
    /// The body did not come in time.
    #[error("the body did not arrive in time")]
    BodyTooSlow,
    /// The request took longer than it may.
    #[error("the request took too long and was given up")]
    TimedOut,
    /// A handler panicked.
    #[error("a defect in Slipway")]
    Defect,
}

impl From<UseCaseError> for ApiError {
    fn from(error: UseCaseError) -> Self {
        match error {
            UseCaseError::NoSuch(what) => Self::NoSuch(what),
            UseCaseError::Fields(errors) => Self::Fields(errors),
            UseCaseError::Refused(refusal) => Self::Refused(refusal),
            UseCaseError::Aws(error) => Self::Aws(error),
            UseCaseError::Store(error) => Self::Store(error),
        }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl ApiError {
    /// The status and the document. The one place where an error becomes HTTP.
    pub fn problem(&self) -> Problem {
        let plain = |status, code: &str| Problem::new(status, code, self.to_string());
        match self {
            Self::Unauthorized => plain(StatusCode::UNAUTHORIZED, "unauthorized")
                .remedy("Send `Authorization: Bearer TOKEN`; `slipway token create` makes one."),
            Self::Forbidden { .. } => plain(StatusCode::FORBIDDEN, "forbidden").remedy("Use a token with that role."),
            Self::NotFound => plain(StatusCode::NOT_FOUND, "not_found").remedy("/docs lists the addresses."),
            Self::NoSuch(_) => plain(StatusCode::NOT_FOUND, "not_found"),
            Self::MethodNotAllowed => plain(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed").remedy("/docs lists the methods."),
            Self::InvalidJson(_) => plain(StatusCode::BAD_REQUEST, "invalid_json"),
            Self::UnreadableBody => plain(StatusCode::BAD_REQUEST, "unreadable_body"),
            Self::UnsupportedMediaType => {
                plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type").remedy("Send `Content-Type: application/json`.")
            }
            Self::TooLarge => plain(StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            Self::Parameters(errors) => plain(StatusCode::BAD_REQUEST, "invalid_parameters").errors(errors),
            Self::Fields(errors) => plain(StatusCode::UNPROCESSABLE_ENTITY, "invalid_fields").errors(errors),
            Self::Refused(refusal) => of_refusal(refusal),
            Self::Protected(app) => plain(StatusCode::CONFLICT, "protected")
                .url(format!("/v1/apps/{app}"))
                .remedy("Change its spec to \"protected\": false first (PUT /v1/apps/{app})."),
            Self::Unconfirmed(_) => {
                plain(StatusCode::CONFLICT, "confirmation_required").remedy("To proceed, repeat the request with confirm=<app name>.")
            }
            Self::NoReport(app) => plain(StatusCode::NOT_FOUND, "no_report")
                .remedy(&format!("POST /v1/apps/{app}/drift looks now; by itself the service looks every SLIPWAY_DRIFT_INTERVAL.")),
            Self::NoKeySlot(_) => plain(StatusCode::CONFLICT, "no_key_slot")
                .remedy("Repeat the request with replace= and the id of the key that nobody uses: it is deleted, and the new key takes its place."),
            Self::KeyInUse(_) => plain(StatusCode::CONFLICT, "key_in_use")
                .remedy("Find out who uses it and give them another key first; or ask again with force=true."),
            Self::AlreadyClaimed => plain(StatusCode::GONE, "already_claimed").remedy(ROTATE),
            Self::ClaimExpired => plain(StatusCode::GONE, "claim_expired").remedy(ROTATE),
            Self::KeyGone => plain(StatusCode::GONE, "key_gone")
                .remedy("The list of the app's credentials has the keys that are there; where there is none, a repair of the app makes one."),
            Self::Aws(error) => of_aws(error),
            Self::Unseen(unseen) => of_unseen(unseen),
            Self::Store(_) => plain_internal(StatusCode::SERVICE_UNAVAILABLE, "database_unavailable", "the database does not answer")
                .retryable()
                .remedy("Try again in a while, with the same Idempotency-Key: a request that was accepted after all is not done twice."),
            Self::Vault(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, "cannot_open").remedy(&unopened_remedy(error)),
            Self::Overloaded(_) => plain(StatusCode::SERVICE_UNAVAILABLE, "overloaded")
                .retry_after(fastrand::u32(OVERLOADED))
                .remedy("Try again after Retry-After; nothing was done."),
            Self::TooManyRequests(seconds) => plain(StatusCode::TOO_MANY_REQUESTS, "too_many_requests")
                .retry_after(*seconds)
                .remedy("Send fewer requests; to follow a job use `?wait` or its events. Nothing was done."),
            Self::BodyTooSlow => plain(StatusCode::REQUEST_TIMEOUT, "body_too_slow").retryable().remedy("Send it again; nothing was done."),
            Self::TimedOut => plain(StatusCode::SERVICE_UNAVAILABLE, "timed_out")
                .retryable()
                .remedy("Repeat the request, with the same Idempotency-Key if there was one: it may have been done."),
            Self::Defect => plain_internal(StatusCode::INTERNAL_SERVER_ERROR, "internal", "something that should not happen did")
                .remedy("This is a defect in Slipway: report it with the X-Request-Id."),
        }
    }
}

fn of_refusal(refusal: &Refusal) -> Problem {
    let conflict = |code, detail: String| Problem::new(StatusCode::CONFLICT, code, detail);
    match refusal {
        Refusal::AppExists(app) => conflict("app_exists", format!("there is an app {app}"))
            .url(format!("/v1/apps/{app}"))
            .remedy("Repair it, retry its job, or choose another name."),
        Refusal::NoApp => Problem::new(StatusCode::NOT_FOUND, "not_found", "there is no such app".into()),
        Refusal::Removed(app, at) => {
            Problem::new(StatusCode::NOT_FOUND, "app_removed", format!("the app {app} was removed at {at}; its record is kept"))
                .url(format!("/v1/apps/{app}"))
                .remedy("GET /v1/apps/{app} shows the record. To use the name again, onboard an app by it (POST /v1/apps).")
        }
        Refusal::RemovalBegun(app, job) => {
            conflict("removal_begun", format!("the removal of the app {app} has begun and cannot be undone"))
                .url(format!("/v1/jobs/{job}"))
                .remedy("Wait for the job to end, then onboard the app again (POST /v1/apps).")
        }
        Refusal::NoJob => Problem::new(StatusCode::NOT_FOUND, "not_found", "there is no such job".into()),
        Refusal::Active(job) => conflict("job_active", "a job is at work on this app".into())
            .url(format!("/v1/jobs/{job}"))
            .retryable()
            .remedy("Wait for it to end, or cancel it."),
        Refusal::Superseded(job) => conflict("job_superseded", "a later job of this app has taken this one's place".into())
            .url(format!("/v1/jobs/{job}"))
            .remedy("Retry that one, or ask for a repair of the app."),
        Refusal::State(illegal) => conflict("job_state", illegal.to_string()),
        Refusal::Changed => {
            Problem::new(StatusCode::PRECONDITION_FAILED, "precondition_failed", "the app has changed since the ETag of If-Match".into())
                .remedy("Get the app, look at what has changed, and ask again with its new ETag.")
        }
        Refusal::BeingRemoved(app) => conflict("being_removed", format!("the app {app} is being removed"))
            .url(format!("/v1/apps/{app}"))
            .remedy("Restore it (POST /v1/apps/{app}/restore), or wait until it is gone."),
        Refusal::NotBeingRemoved => conflict("not_being_removed", "the app is not being removed".into()),
        Refusal::RotationActive(_) => conflict("rotation_active", "a rotation of this app's key is under way".into())
            .remedy("The list of the app's credentials shows where it stands; wait for its end, or roll it back."),
        Refusal::NoRotation => conflict("no_rotation", "there is no rotation of this app's key to roll back".into()),
        Refusal::RotationStage(illegal) => conflict("rotation_stage", illegal.to_string())
            .remedy("The list of the app's credentials shows where the rotation stands; rotate again for a new key."),
        Refusal::KeyReused => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "idempotency_key_reused",
            "this Idempotency-Key came with another request before".into(),
        )
        .remedy("Use a new key for a new request."),
    }
}

fn of_aws(error: &AwsError) -> Problem {
    let fault = Fault::from(error.clone());
    let (status, code) = match error.kind {
        ErrorKind::Throttled => (StatusCode::SERVICE_UNAVAILABLE, "aws_throttles"),
        _ => (StatusCode::BAD_GATEWAY, "aws_refused"),
    };
    let mut problem = Problem::new(status, code, error.to_string());
    problem.aws = Some(error.refusal());
    if let Some(job_error) = fault.job_error() {
        problem.remedy.clone_from(&job_error.remedy);
        problem.retryable = job_error.retryable;
    }
    problem
}

fn of_unseen(unseen: &Unseen) -> Problem {
    let mut problem = Problem::new(StatusCode::BAD_GATEWAY, "aws_refused", unseen.to_string());
    match unseen.fault.job_error() {
        Some(job_error) => {
            problem.aws.clone_from(&job_error.aws);
            problem.remedy.clone_from(&job_error.remedy);
            problem.retryable = job_error.retryable;
        }
        None => problem.retryable = true,
    }
    problem
}

fn unopened_remedy(error: &VaultError) -> String {
    match error {
        VaultError::UnknownKey(id) => format!(
            "Start the service with the key {id} in SLIPWAY_PREVIOUS_ENCRYPTION_KEYS, or as SLIPWAY_ENCRYPTION_KEY: the secret is not spent. \
             If that key is lost, rotate the app's credentials."
        ),
        _ => "Restore the row from a backup, or rotate the app's credentials.".into(),
    }
}

fn plain_internal(status: StatusCode, code: &str, detail: &str) -> Problem {
    Problem::new(status, code, detail.into())
}

impl Problem {
    fn new(status: StatusCode, code: &str, detail: String) -> Self {
        Self {
            kind: format!("/problems#{code}"),
            title: status.canonical_reason().unwrap_or("Problem").into(),
            status: status.as_u16(),
            detail,
            instance: String::new(),
            code: code.into(),
            errors: Vec::new(),
            retryable: false,
            aws: None,
            remedy: None,
            url: None,
            retry_after: None,
        }
    }

    fn remedy(mut self, remedy: &str) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    fn errors(mut self, errors: &[FieldError]) -> Self {
        self.errors = errors.to_vec();
        self
    }

    fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }

    fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self.retryable()
    }

    fn url(mut self, url: String) -> Self {
        self.url = Some(url);
        self
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let problem = self.problem();
        // A flood is counted, not written down line by line.
        if problem.status >= 500 && !matches!(self, Self::Overloaded(_)) {
            tracing::error!(code = problem.code, error = %self, "request failed");
        }
        problem.into_response()
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

/// Writes the request's path into problem documents, and makes the framework's own refusals into some.
pub async fn complete(request: Request, next: Next) -> Response {
    let instance = request.uri().path().to_owned();
    let mut response = next.run(request).await;
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        return with_headers_of(
            &response,
            Problem {
                instance,
                ..problem
            },
        );
    }
    let error = match response.status() {
        StatusCode::NOT_FOUND => ApiError::NotFound,
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::TooLarge,
        StatusCode::METHOD_NOT_ALLOWED => ApiError::MethodNotAllowed,
        _ => return response,
    };
    with_headers_of(
        &response,
        Problem {
            instance,
            ..error.problem()
        },
    )
}

fn with_headers_of(earlier: &Response, problem: Problem) -> Response {
    let mut response = problem.into_response();
    response.extensions_mut().remove::<Problem>();
    if let Some(allow) = earlier.headers().get(header::ALLOW) {
        response.headers_mut().insert(header::ALLOW, allow.clone());
    }
    response
}

/// No such route.
pub async fn not_found(_uri: Uri) -> ApiError {
    ApiError::NotFound
}

/// The route does not know the method.
pub async fn method_not_allowed() -> ApiError {
    ApiError::MethodNotAllowed
}

/// A handler panicked: the request fails, the service goes on.
pub fn of_panic(_panic: Box<dyn std::any::Any + Send>) -> Response {
    ApiError::Defect.into_response()
}
