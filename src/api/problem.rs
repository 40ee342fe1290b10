//! Problem documents (RFC 9457): the body of every error response.
//!
//! Invariants:
//! - Every error has one code, and every code one status and one title.
//! - The client sees what is wrong and what to do next. Internal details stay in the log.

use axum::Json;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::error::{GrantError, UseCaseError};
use crate::aws::{AwsError, ErrorKind};
use crate::domain::approval::PlanDifference;
use crate::domain::job::AwsRefusal;
use crate::domain::role::Role;
use crate::domain::validation::FieldError;
use crate::provision::export::Unseen;
use crate::provision::fault::Fault;
use crate::store::{Refusal, StoreError};
use crate::telemetry::TraceParent;
use crate::vault::VaultError;

/// The default of Retry-After, in seconds.
const RETRY_AFTER: u32 = 5;
/// Retry-After of an overloaded service, in seconds: a range, so that clients do not all return at once.
const RETRY_AFTER_OVERLOAD: std::ops::RangeInclusive<u32> = 1..=5;

const NEW_PASSWORD: &str = "To create another one, delete the person's console password in AWS (aws iam delete-login-profile), then repair the set-up.";
const ROTATE: &str = "To create a new access key, rotate the app's credentials (POST /v1/apps/{app}/credentials/rotate).";
/// The endpoints of OAuth 2.0.
const OAUTH_PATHS: [&str; 2] = ["/v1/oauth/token", "/v1/oauth/device_authorization"];
const SHOW_ROTATION: &str = "GET /v1/apps/{app}/credentials shows the stage of the rotation.";

/// Every problem code. The text is the `code` of the problem document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumIter, strum::Display)]
#[strum(serialize_all = "snake_case")]
#[expect(missing_docs, reason = "`title` describes each code")]
pub enum Code {
    Unauthorized,
    Forbidden,
    CrossOrigin,
    SignInAgain,
    OutOfScope,
    NotFound,
    MethodNotAllowed,
    InvalidJson,
    UnreadableBody,
    UnsupportedMediaType,
    TooLarge,
    InvalidParameters,
    InvalidFields,
    InvalidGrant,
    UnsupportedGrantType,
    AuthorizationPending,
    SlowDown,
    ExpiredToken,
    AccessDenied,
    IdempotencyKeyReused,
    AppExists,
    AppRemoved,
    BeingRemoved,
    NotBeingRemoved,
    RemovalBegun,
    Protected,
    ConfirmationRequired,
    PreconditionFailed,
    JobActive,
    JobState,
    JobSuperseded,
    NoReport,
    NoKeySlot,
    KeyInUse,
    AlreadyClaimed,
    ClaimExpired,
    KeyGone,
    CannotOpen,
    PlanChanged,
    SelfApproval,
    NotAwaitingApproval,
    NotApproved,
    RotationActive,
    NoRotation,
    RotationStage,
    AccountExists,
    AccountInUse,
    AccountNotReady,
    WebhookDisabled,
    IssuerUnavailable,
    AwsThrottled,
    AwsRefused,
    DatabaseUnavailable,
    Overloaded,
    TooManyRequests,
    BodyTooSlow,
    TimedOut,
    Internal,
}

impl Code {
    /// The HTTP status of a problem with this code.
    pub fn status(self) -> StatusCode {
        match self {
            Self::InvalidJson
            | Self::UnreadableBody
            | Self::InvalidParameters
            | Self::InvalidGrant
            | Self::UnsupportedGrantType
            | Self::AuthorizationPending
            | Self::SlowDown
            | Self::ExpiredToken
            | Self::AccessDenied => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden
            | Self::CrossOrigin
            | Self::SignInAgain
            | Self::OutOfScope
            | Self::SelfApproval => StatusCode::FORBIDDEN,
            Self::NotFound | Self::AppRemoved | Self::NoReport => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::AppExists
            | Self::BeingRemoved
            | Self::NotBeingRemoved
            | Self::RemovalBegun
            | Self::Protected
            | Self::ConfirmationRequired
            | Self::JobActive
            | Self::JobState
            | Self::JobSuperseded
            | Self::NoKeySlot
            | Self::KeyInUse
            | Self::PlanChanged
            | Self::NotAwaitingApproval
            | Self::NotApproved
            | Self::RotationActive
            | Self::NoRotation
            | Self::RotationStage
            | Self::AccountExists
            | Self::AccountInUse
            | Self::AccountNotReady
            | Self::WebhookDisabled => StatusCode::CONFLICT,
            Self::AlreadyClaimed | Self::ClaimExpired | Self::KeyGone => StatusCode::GONE,
            Self::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::InvalidFields | Self::IdempotencyKeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::CannotOpen | Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::AwsRefused => StatusCode::BAD_GATEWAY,
            Self::IssuerUnavailable
            | Self::AwsThrottled
            | Self::DatabaseUnavailable
            | Self::Overloaded
            | Self::TimedOut => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The title of a problem with this code.
    pub fn title(self) -> &'static str {
        match self {
            Self::Unauthorized => "Missing or invalid token",
            Self::Forbidden => "Insufficient role",
            Self::CrossOrigin => "Cross-origin request",
            Self::SignInAgain => "Sign in again",
            Self::OutOfScope => "Outside the caller's scope",
            Self::NotFound => "Not found",
            Self::MethodNotAllowed => "Method not allowed",
            Self::InvalidJson => "Invalid JSON",
            Self::UnreadableBody => "Unreadable request body",
            Self::UnsupportedMediaType => "Unsupported media type",
            Self::TooLarge => "Request body too large",
            Self::InvalidParameters => "Invalid parameters",
            Self::InvalidFields => "Invalid fields",
            Self::InvalidGrant => "ID token not accepted",
            Self::UnsupportedGrantType => "Unsupported grant type",
            Self::AuthorizationPending => "Sign-in not complete",
            Self::SlowDown => "Asked too often",
            Self::ExpiredToken => "Device code expired",
            Self::AccessDenied => "Sign-in denied",
            Self::IssuerUnavailable => "Issuer unavailable",
            Self::IdempotencyKeyReused => "Idempotency key reused",
            Self::AppExists => "App already exists",
            Self::AppRemoved => "App was removed",
            Self::BeingRemoved => "App is being removed",
            Self::NotBeingRemoved => "App is not being removed",
            Self::RemovalBegun => "Removal cannot be undone",
            Self::Protected => "App is protected",
            Self::ConfirmationRequired => "Confirmation required",
            Self::PreconditionFailed => "Precondition failed",
            Self::JobActive => "Another job is running",
            Self::JobState => "Not allowed in this job state",
            Self::JobSuperseded => "Job superseded",
            Self::NoReport => "No drift report",
            Self::NoKeySlot => "Access key limit reached",
            Self::KeyInUse => "Access key in use",
            Self::AlreadyClaimed => "Secret already claimed",
            Self::ClaimExpired => "Secret expired",
            Self::KeyGone => "Access key deleted",
            Self::CannotOpen => "Secret cannot be decrypted",
            Self::PlanChanged => "Plan changed",
            Self::SelfApproval => "Own request",
            Self::NotAwaitingApproval => "Job does not await approval",
            Self::NotApproved => "Job was not approved",
            Self::RotationActive => "Rotation in progress",
            Self::NoRotation => "No rotation",
            Self::RotationStage => "Not allowed in this rotation stage",
            Self::AccountExists => "Account already registered",
            Self::AccountInUse => "Account has apps",
            Self::AccountNotReady => "Account not ready",
            Self::WebhookDisabled => "Webhook is disabled",
            Self::AwsThrottled => "AWS is throttling",
            Self::AwsRefused => "AWS request failed",
            Self::DatabaseUnavailable => "Database unavailable",
            Self::Overloaded => "Service overloaded",
            Self::TooManyRequests => "Rate limit exceeded",
            Self::BodyTooSlow => "Request body timeout",
            Self::TimedOut => "Request timeout",
            Self::Internal => "Internal server error",
        }
    }
}

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
    /// Deliveries of incoming webhooks whose signature is not verified yet.
    Deliveries,
}

impl Limit {
    fn noun(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Requests => "requests being handled",
            Self::LongPolls => "waiting requests and event streams",
            Self::Operations => "health, readiness and metrics requests",
            Self::Deliveries => "deliveries of incoming webhooks",
        }
    }
}

/// Why a request fails.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The request has no token, or an invalid one.
    #[error("The request has no valid bearer token, and no session.")]
    Unauthorized,
    /// A delivery of an incoming webhook is not signed, or too long ago.
    #[error(
        "The signature is missing or wrong, or its time is more than five minutes from that of this server."
    )]
    BadSignature,
    /// A delivery of an incoming webhook is too large.
    #[error("The delivery is larger than 1 MiB.")]
    DeliveryTooLarge,
    /// The token's role is too low.
    #[error("This endpoint requires the role {needed}. The token has the role {has}.")]
    Forbidden {
        /// The lowest role that may make the request.
        needed: Role,
        /// The role of the token.
        has: Role,
    },
    /// The request does not prove that it comes from the platform that it says.
    #[error("The signature or token of this request is missing, wrong or too old.")]
    Signature,
    /// A page of another origin sends the request with the cookie of a session.
    #[error("A page of another origin sent this request with the cookie of your session.")]
    CrossOrigin,
    /// No such route.
    #[error("No such endpoint.")]
    NotFound,
    /// Nobody can sign in.
    #[error("Sign-in is not configured on this server.")]
    NoSignIn,
    /// A chat platform calls that the settings do not know.
    #[error("Chat with {0} is not configured on this server.")]
    NoChat(&'static str),
    /// Something that the path names does not exist.
    #[error("No such {0}.")]
    NoSuch(&'static str),
    /// The route exists for other methods only.
    #[error("This endpoint does not support the method.")]
    MethodNotAllowed,
    /// The body is not JSON.
    #[error("The request body is not valid JSON: {0}.")]
    InvalidJson(String),
    /// The body cannot be read.
    #[error("The request body could not be read.")]
    UnreadableBody,
    /// The body is not JSON by its Content-Type.
    #[error("The request body must be application/json.")]
    UnsupportedMediaType,
    /// The body is not a form by its Content-Type.
    #[error("The request body must be application/x-www-form-urlencoded.")]
    NotAForm,
    /// The body is too large.
    #[error("The request body is larger than 64 KiB.")]
    TooLarge,
    /// Invalid query parameters or headers.
    #[error("One or more parameters are invalid.")]
    Parameters(Vec<FieldError>),
    /// Invalid fields in the body.
    #[error("One or more fields are invalid.")]
    Fields(Vec<FieldError>),
    /// The use case fails.
    #[error(transparent)]
    UseCase(#[from] UseCaseError),
    /// The service is at one of its limits.
    #[error("The service is at its limit of {}.", .0.noun())]
    Overloaded(Limit),
    /// The caller exceeds its rate; the seconds until it may send another request.
    #[error("This caller sends too many requests.")]
    TooManyRequests(u32),
    /// The body did not arrive in time.
    #[error("The request body did not arrive in time.")]
    BodyTooSlow,
    /// The request took too long.
    #[error("The request took too long and was stopped.")]
    TimedOut,
    /// A defect in Slipway.
    #[error("Internal server error.")]
    Defect,
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        Self::UseCase(refusal.into())
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Self::UseCase(error.into())
    }
}

impl ApiError {
    /// The problem document of the error.
    pub fn problem(&self) -> Problem {
        let new = |code| Problem::new(code, self.to_string());
        match self {
            Self::Unauthorized => new(Code::Unauthorized)
                .remedy("Send `Authorization: Bearer <token>`. To create a token, use POST /v1/tokens or `slipway token create`."),
            Self::BadSignature => new(Code::Unauthorized)
                .remedy("Check that both sides have the same secret, and that nothing between them changes the body."),
            Self::DeliveryTooLarge => new(Code::TooLarge),
            Self::Forbidden { .. } => new(Code::Forbidden).remedy("Use a token with that role."),
            Self::Signature => new(Code::Unauthorized).remedy("Check the signing secret or token in the settings, and the clock of this server."),
            Self::CrossOrigin => new(Code::CrossOrigin).remedy("Use the pages of this server, or send a token instead of the cookie."),
            Self::NotFound => new(Code::NotFound).remedy("See /docs for all endpoints."),
            Self::NoSignIn => new(Code::NotFound).remedy("Use a token, or ask the operator to configure [sign_in]."),
            Self::NoChat(_) => new(Code::NotFound).remedy("Ask the operator to configure it. See docs/chat.md."),
            Self::NoSuch(_) => new(Code::NotFound),
            Self::MethodNotAllowed => new(Code::MethodNotAllowed).remedy("See /docs for the methods of each endpoint."),
            Self::InvalidJson(_) => new(Code::InvalidJson),
            Self::UnreadableBody => new(Code::UnreadableBody),
            Self::UnsupportedMediaType => new(Code::UnsupportedMediaType).remedy("Send `Content-Type: application/json`."),
            Self::NotAForm => new(Code::UnsupportedMediaType).remedy("Send `Content-Type: application/x-www-form-urlencoded`."),
            Self::TooLarge => new(Code::TooLarge),
            Self::Parameters(errors) => new(Code::InvalidParameters).errors(errors),
            Self::Fields(errors) => new(Code::InvalidFields).errors(errors),
            Self::UseCase(error) => of_use_case(error),
            Self::Overloaded(_) => new(Code::Overloaded)
                .retry_after(fastrand::u32(RETRY_AFTER_OVERLOAD))
                .remedy("Retry after the time in Retry-After. The request had no effect."),
            Self::TooManyRequests(seconds) => new(Code::TooManyRequests)
                .retry_after(*seconds)
                .remedy("Send fewer requests. To follow a job, use `?wait` or its event stream. The request had no effect."),
            Self::BodyTooSlow => new(Code::BodyTooSlow).retryable().remedy("Send the request again. It had no effect."),
            Self::TimedOut => new(Code::TimedOut)
                .retryable()
                .remedy("Retry with the same Idempotency-Key, if you sent one. The request may have had an effect."),
            Self::Defect => internal(),
        }
    }
}

fn internal() -> Problem {
    Problem::new(Code::Internal, "Internal server error.".into())
        .remedy("This is a defect in Slipway. Report it with the X-Request-Id of the response.")
}

fn of_grant(error: &GrantError, new: impl Fn(Code) -> Problem) -> Problem {
    match error {
        GrantError::Invalid(_) => new(Code::InvalidGrant).remedy(
            "Request a new ID token with the audience of the trust rule, and compare its claims with GET /v1/trust-rules.",
        ),
        GrantError::Unavailable => new(Code::IssuerUnavailable)
            .retry_after(60)
            .remedy("Retry after the time in Retry-After, with a new ID token."),
        GrantError::ProviderUnavailable => new(Code::IssuerUnavailable)
            .retry_after(60)
            .remedy("Retry after the time in Retry-After, or use a token that somebody has created."),
        GrantError::Type => new(Code::UnsupportedGrantType),
        GrantError::Pending => new(Code::AuthorizationPending)
            .remedy("Sign in at verification_uri, and ask again after interval seconds."),
        GrantError::SlowDown => {
            new(Code::SlowDown).remedy("Wait five seconds longer between requests from now on.")
        }
        GrantError::Expired => new(Code::ExpiredToken)
            .remedy("Begin anew with POST /v1/oauth/device_authorization."),
        GrantError::Denied(_) => new(Code::AccessDenied)
            .remedy("Ask the operator which group of the identity provider may use Slipway."),
    }
}

fn of_use_case(error: &UseCaseError) -> Problem {
    let new = |code| Problem::new(code, error.to_string());
    match error {
        UseCaseError::NoSuch(_) => new(Code::NotFound),
        UseCaseError::Grant(refused) => of_grant(refused, new),
        UseCaseError::OutOfScope(_) => {
            new(Code::OutOfScope).remedy("Use a token whose scope includes it, or ask an administrator for one.")
        }
        UseCaseError::SignInAgain => new(Code::SignInAgain)
            .url("/auth/login?fresh=true".into())
            .remedy("Open /auth/login?fresh=true&return_to=<path> in the browser, sign in, and repeat the request within five minutes."),
        UseCaseError::Fields(errors) => new(Code::InvalidFields).errors(errors),
        UseCaseError::Options(errors) => new(Code::InvalidParameters).errors(errors),
        UseCaseError::Refused(refusal) => of_refusal(refusal),
        UseCaseError::Protected(app) => new(Code::Protected)
            .url(format!("/v1/apps/{app}"))
            .remedy("First set \"protected\": false in its spec (PUT /v1/apps/{app})."),
        UseCaseError::ConfirmationRequired(_) => new(Code::ConfirmationRequired)
            .remedy("To proceed, repeat the request with `confirm=<app name>`."),
        UseCaseError::NoDriftReport(app) => new(Code::NoReport).remedy(&format!(
            "To check the app now, use POST /v1/apps/{app}/drift. The service also checks it every SLIPWAY_DRIFT_INTERVAL."
        )),
        UseCaseError::NoSetupReport(account) => new(Code::NoReport).remedy(&format!(
            "To check it now, use POST /v1/accounts/{account}/setup/drift. The service also checks it every SLIPWAY_DRIFT_INTERVAL."
        )),
        UseCaseError::NoKeySlot(_) => new(Code::NoKeySlot).remedy(
            "Repeat the request with `replace=<access key id>`, naming a key that nobody uses. It is deleted and the new key takes its place.",
        ),
        UseCaseError::KeyInUse(_) => new(Code::KeyInUse).remedy(
            "Find out who uses the key and give them another one, or repeat the request with `force=true`.",
        ),
        UseCaseError::AlreadyClaimed => new(Code::AlreadyClaimed).remedy(ROTATE),
        UseCaseError::ClaimExpired => new(Code::ClaimExpired).remedy(ROTATE),
        UseCaseError::PasswordClaimed => new(Code::AlreadyClaimed).remedy(NEW_PASSWORD),
        UseCaseError::PasswordExpired => new(Code::ClaimExpired).remedy(NEW_PASSWORD),
        UseCaseError::KeyDeleted => new(Code::KeyGone).remedy(
            "GET /v1/apps/{app}/credentials lists the app's access keys. If there is none, repair the app to create one.",
        ),
        UseCaseError::WebhookDisabled(_) => new(Code::WebhookDisabled).remedy(
            "Correct the receiver, then enable the webhook again (PATCH /v1/webhooks/{id} with `\"state\": \"active\"`).",
        ),
        UseCaseError::NoPlan(job_error) => Problem {
            aws: job_error.aws.clone(),
            remedy: job_error.remedy.clone(),
            ..new(Code::AwsRefused)
        }
        .retryable(),
        UseCaseError::Aws(error) => of_aws(error),
        UseCaseError::Unseen(unseen) => of_unseen(unseen),
        UseCaseError::Store(_) => Problem::new(
            Code::DatabaseUnavailable,
            "The database is not available.".into(),
        )
        .retryable()
        .remedy("Retry later with the same Idempotency-Key. If the first request was accepted after all, it is not repeated."),
        UseCaseError::Vault(error) => new(Code::CannotOpen).remedy(&remedy_of_vault(error)),
        UseCaseError::Defect => internal(),
    }
}

fn of_refusal(refusal: &Refusal) -> Problem {
    match refusal {
        Refusal::AppExists(app) => Problem::new(Code::AppExists, format!("App {app} already exists."))
            .url(format!("/v1/apps/{app}"))
            .remedy("Update or repair the app, retry its last job, or choose another name."),
        Refusal::NoApp => Problem::new(Code::NotFound, "No such app.".into()),
        Refusal::Removed(app, at) => Problem::new(
            Code::AppRemoved,
            format!("App {app} was removed at {at}. Its record is kept."),
        )
        .url(format!("/v1/apps/{app}"))
        .remedy("To see the record, use GET /v1/apps/{app}. To use the name again, onboard a new app (POST /v1/apps)."),
        Refusal::RemovalBegun(app, job) => Problem::new(
            Code::RemovalBegun,
            format!("The resources of app {app} are being deleted. This cannot be undone."),
        )
        .url(format!("/v1/jobs/{job}"))
        .remedy("Wait for the job to end, then onboard the app again (POST /v1/apps)."),
        Refusal::NoJob => Problem::new(Code::NotFound, "No such job.".into()),
        Refusal::Active(job) => Problem::new(Code::JobActive, "Another job is running for this app.".into())
            .url(format!("/v1/jobs/{job}"))
            .retryable()
            .remedy("Wait for the job to end, or cancel it."),
        Refusal::Superseded(job) => Problem::new(Code::JobSuperseded, "A later job of this app has replaced this job.".into())
            .url(format!("/v1/jobs/{job}"))
            .remedy("Retry the later job, or repair the app."),
        Refusal::State(illegal) => Problem::new(Code::JobState, illegal.to_string()),
        Refusal::Changed => Problem::new(
            Code::PreconditionFailed,
            "The app has changed since the ETag in If-Match.".into(),
        )
        .remedy("Get the app, review what has changed, and repeat the request with its new ETag."),
        Refusal::BeingRemoved(app) => Problem::new(Code::BeingRemoved, format!("App {app} is being removed."))
            .url(format!("/v1/apps/{app}"))
            .remedy("Restore the app (POST /v1/apps/{app}/restore), or wait until it is removed."),
        Refusal::NotBeingRemoved => Problem::new(Code::NotBeingRemoved, "The app is not being removed.".into()),
        Refusal::RotationActive(_) => Problem::new(Code::RotationActive, "A rotation of this app's access key is in progress.".into())
            .remedy(&format!("Wait for it to end, or roll it back. {SHOW_ROTATION}")),
        Refusal::NoApproval => Problem::new(Code::NotFound, "The job needs no approval.".into()),
        Refusal::Decided(state) => Problem::new(
            Code::NotAwaitingApproval,
            format!("The job does not await approval. Its approval is {state}."),
        ),
        Refusal::NotApproved(state) => Problem::new(
            Code::NotApproved,
            format!("The job was not approved, so it cannot be retried. Its approval is {state}."),
        )
        .remedy("Request the change again."),
        Refusal::PlanChanged(job, difference) => Problem {
            difference: Some((**difference).clone()),
            ..Problem::new(Code::PlanChanged, "The plan of the job is not the one with this digest.".into())
        }
        .url(format!("/v1/jobs/{job}/approval"))
        .remedy("Read the plan (GET /v1/jobs/{id}/approval), and approve it by its plan_digest."),
        Refusal::OwnRequest => Problem::new(Code::SelfApproval, "You have requested this job.".into())
            .remedy("Ask another person with the role approver. In an emergency, an admin can approve with `break_glass` and a reason."),
        Refusal::NoRotation => Problem::new(Code::NoRotation, "This app has no rotation to roll back.".into()),
        Refusal::RotationStage(illegal) => Problem::new(Code::RotationStage, illegal.to_string())
            .remedy(&format!("To create a new access key, rotate again. {SHOW_ROTATION}")),
        Refusal::NoAccount => Problem::new(Code::NotFound, "No such account.".into()),
        Refusal::AccountExists(name) => Problem::new(
            Code::AccountExists,
            format!("The account is already registered as {name}."),
        )
        .url(format!("/v1/accounts/{name}"))
        .remedy("Use the registered account, update it (PUT /v1/accounts/{account}), or choose another name for another AWS account."),
        Refusal::AccountInUse(name) => Problem::new(
            Code::AccountInUse,
            format!("Apps live in the account {name}."),
        )
        .url(format!("/v1/apps?account={name}"))
        .remedy("Remove its apps first (DELETE /v1/apps/{app})."),
        Refusal::AccountNotReady(name, state) => Problem::new(
            Code::AccountNotReady,
            format!("The account {name} is {state}."),
        )
        .url(format!("/v1/accounts/{name}"))
        .remedy("Verify the account (POST /v1/accounts/{account}/verify), and correct what it reports."),
        Refusal::KeyReused => Problem::new(
            Code::IdempotencyKeyReused,
            "This Idempotency-Key was used with a different request.".into(),
        )
        .remedy("Use a new key for a new request."),
    }
}

fn of_aws(error: &AwsError) -> Problem {
    let fault = Fault::from(error.clone());
    let code = match error.kind {
        ErrorKind::Throttled => Code::AwsThrottled,
        _ => Code::AwsRefused,
    };
    let mut problem = Problem::new(code, error.to_string());
    problem.aws = Some(error.refusal());
    if let Some(job_error) = fault.job_error() {
        problem.remedy.clone_from(&job_error.remedy);
        problem.retryable = job_error.retryable;
    }
    problem
}

fn of_unseen(unseen: &Unseen) -> Problem {
    let mut problem = Problem::new(Code::AwsRefused, unseen.to_string());
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

fn remedy_of_vault(error: &VaultError) -> String {
    match error {
        VaultError::UnknownKey(id) => format!(
            "Start the service with the key {id} in SLIPWAY_PREVIOUS_ENCRYPTION_KEYS or as SLIPWAY_ENCRYPTION_KEY. \
             The secret can still be claimed. If the key is lost, rotate the app's credentials."
        ),
        _ => "Restore the database from a backup, or rotate the app's credentials.".into(),
    }
}

impl Problem {
    fn new(code: Code, detail: String) -> Self {
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

    /// The problem of a request to this path. OAuth's clients read `error` and `error_description`.
    fn for_endpoint(mut self, path: String) -> Self {
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
        // Overload is counted in a metric: one log line for each request would add to it.
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

/// Sets `instance` in problem documents, and turns the framework's own errors into problem documents.
pub async fn complete(request: Request, next: Next) -> Response {
    let instance = request.uri().path().to_owned();
    let mut response = next.run(request).await;
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let problem = problem.for_endpoint(instance);
        return with_headers_of(&response, problem);
    }
    if is_page(&response) {
        return response;
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

/// A page for people tells them of an error itself.
fn is_page(response: &Response) -> bool {
    let media_type = response.headers().get(header::CONTENT_TYPE);
    media_type.is_some_and(|media_type| media_type.as_bytes().starts_with(b"text/html"))
}

fn with_headers_of(earlier: &Response, mut problem: Problem) -> Response {
    problem.trace_id = TraceParent::current().map(|trace| trace.trace_id().to_string());
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

/// A handler panicked: only its request fails.
pub fn of_panic(_panic: Box<dyn std::any::Any + Send>) -> Response {
    ApiError::Defect.into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use strum::IntoEnumIterator as _;

    /// `cargo test every_code -- --nocapture` prints all codes with their titles.
    #[test]
    fn every_code_is_an_error_with_a_title_of_its_own() {
        let mut titles = std::collections::BTreeSet::new();
        for code in Code::iter() {
            println!("{} {code}: {}", code.status().as_u16(), code.title());
            assert!(code.status().is_client_error() || code.status().is_server_error());
            assert!(titles.insert(code.title()), "{code}");
        }
    }

    #[test]
    fn every_code_is_described_on_the_page_that_its_type_points_to() {
        let page = include_str!("../../docs/http-status-codes.md");
        for code in Code::iter() {
            assert!(page.contains(&format!("`{code}`")), "{code}");
        }
    }
}
