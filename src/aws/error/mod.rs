//! Classifies the error codes of AWS in one table.
//!
//! Invariants:
//! - An error is classified by (service, operation, code). The first matching row decides.
//! - Whether a failed call may have taken effect is known: a response with a 4xx status means that it did not.
//!
//! Sources: the services' API references ("Common Errors" and each operation's "Errors").

use std::fmt;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use strum::{Display, EnumCount, EnumIter, EnumString};

use crate::domain::job::AwsRefusal;
use crate::domain::names::RoleArn;

/// An AWS service that Slipway calls.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Display,
    EnumCount,
    EnumIter,
    EnumString,
    strum::IntoStaticStr,
)]
#[strum(serialize_all = "lowercase")]
pub enum Service {
    /// Identity and Access Management, a global service.
    Iam,
    /// Simple Storage Service.
    S3,
    /// Elastic Container Registry.
    Ecr,
    /// Security Token Service.
    Sts,
}

/// The classification of a failed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Display)]
pub enum ErrorKind {
    /// The resource does not exist, or is not visible yet.
    NotFound,
    /// A resource with this name exists.
    AlreadyExists,
    /// Another account owns a bucket with this name.
    Taken,
    /// AWS is still busy with an earlier change. The call can succeed soon.
    Settling,
    /// AWS throttles the calls of this account to this service.
    Throttled,
    /// AWS failed, could not be reached, or did not respond in time.
    Transient,
    /// The role does not have the permission.
    Denied,
    /// AWS rejects the credentials of the service.
    BadCredentials,
    /// The role of a registered account cannot be assumed.
    AccountRefused,
    /// Other resources depend on the resource to delete.
    InUse,
    /// A quota is exceeded.
    Quota,
    /// The request can never succeed.
    Rejected,
    /// The lease of the job has expired: the call was not made, or its response was not awaited.
    LeaseOver,
}

const ANY: &str = "*";

type Row = (
    Option<Service>,
    &'static str,
    &'static [&'static str],
    ErrorKind,
);

/// (service or any, operation or any, codes, kind): the first matching row decides.
const MEANINGS: &[Row] = &[
    (
        Some(Service::Iam),
        ANY,
        &["NoSuchEntity"],
        ErrorKind::NotFound,
    ),
    (
        Some(Service::Iam),
        ANY,
        &["EntityAlreadyExists"],
        ErrorKind::AlreadyExists,
    ),
    (
        Some(Service::Iam),
        ANY,
        &["EntityTemporarilyUnmodifiable", "ConcurrentModification"],
        ErrorKind::Settling,
    ),
    (
        Some(Service::Iam),
        ANY,
        &["DeleteConflict"],
        ErrorKind::InUse,
    ),
    (
        Some(Service::S3),
        "DeleteBucket",
        &["BucketNotEmpty"],
        ErrorKind::InUse,
    ),
    (
        Some(Service::Ecr),
        "DeleteRepository",
        &["RepositoryNotEmptyException"],
        ErrorKind::InUse,
    ),
    (
        Some(Service::Iam),
        ANY,
        &["LimitExceeded"],
        ErrorKind::Quota,
    ),
    (
        Some(Service::S3),
        ANY,
        &[
            "NoSuchBucket",
            "NotFound",
            "NoSuchTagSet",
            "NoSuchCORSConfiguration",
            "NoSuchPublicAccessBlockConfiguration",
            "OwnershipControlsNotFoundError",
        ],
        ErrorKind::NotFound,
    ),
    (
        Some(Service::S3),
        "CreateBucket",
        &["BucketAlreadyOwnedByYou"],
        ErrorKind::AlreadyExists,
    ),
    (
        Some(Service::S3),
        "CreateBucket",
        &["BucketAlreadyExists"],
        ErrorKind::Taken,
    ),
    (
        Some(Service::S3),
        ANY,
        &["OperationAborted"],
        ErrorKind::Settling,
    ),
    (
        Some(Service::S3),
        ANY,
        &["TooManyBuckets"],
        ErrorKind::Quota,
    ),
    // A HEAD is throttled without a body, so without a code.
    (Some(Service::S3), ANY, &["503"], ErrorKind::Throttled),
    (
        Some(Service::Ecr),
        ANY,
        &[
            "RepositoryNotFoundException",
            "LifecyclePolicyNotFoundException",
        ],
        ErrorKind::NotFound,
    ),
    (
        Some(Service::Ecr),
        ANY,
        &["RepositoryAlreadyExistsException"],
        ErrorKind::AlreadyExists,
    ),
    // The SDK takes this one for throttling; it is a quota (Amazon ECR API Reference, CreateRepository).
    (
        Some(Service::Ecr),
        ANY,
        &["LimitExceededException"],
        ErrorKind::Quota,
    ),
    // IAM has no typed throttling error; S3 answers SlowDown or 503 with other words.
    (
        None,
        ANY,
        &[
            "Throttling",
            "ThrottlingException",
            "ThrottledException",
            "RequestThrottled",
            "RequestThrottledException",
            "RequestLimitExceeded",
            "TooManyRequestsException",
            "SlowDown",
            "BandwidthLimitExceeded",
            "PriorRequestNotComplete",
        ],
        ErrorKind::Throttled,
    ),
    (
        None,
        ANY,
        &[
            "ExpiredToken",
            "ExpiredTokenException",
            "RequestExpired",
            "RequestTimeout",
            "RequestTimeTooSkewed",
            "InternalError",
            "InternalFailure",
            "ServerException",
            "ServiceUnavailable",
            "ServiceUnavailableException",
            "ServiceFailure",
        ],
        ErrorKind::Transient,
    ),
    (
        None,
        ANY,
        &[
            "AccessDenied",
            "AccessDeniedException",
            "UnauthorizedOperation",
            "UnauthorizedAccess",
            "AllAccessDisabled",
            "403",
        ],
        ErrorKind::Denied,
    ),
    (
        None,
        ANY,
        &[
            "InvalidClientTokenId",
            "UnrecognizedClientException",
            "InvalidAccessKeyId",
            "SignatureDoesNotMatch",
            "InvalidSignatureException",
            "IncompleteSignature",
            "AuthFailure",
            "MissingAuthenticationToken",
            "MissingAuthenticationTokenException",
            "OptInRequired",
            "NotSignedUp",
        ],
        ErrorKind::BadCredentials,
    ),
];

/// The kind of a code. If the table has no row, the HTTP status decides. A missing status means no response, as does
/// a success that cannot be parsed.
pub fn error_kind(service: Service, operation: &str, code: &str, status: Option<u16>) -> ErrorKind {
    match (meaning_of_code(service, operation, code), status) {
        (Some(kind), _) => kind,
        (None, None | Some(..300 | 500..)) => ErrorKind::Transient,
        (None, Some(404)) => ErrorKind::NotFound,
        (None, Some(403)) => ErrorKind::Denied,
        (None, Some(429)) => ErrorKind::Throttled,
        // A refusal whose code cannot be read may be any; only the answer to a HEAD has none.
        (None, Some(status)) if code == status.to_string() && !operation.starts_with("Head") => {
            ErrorKind::Transient
        }
        (None, Some(_)) => ErrorKind::Rejected,
    }
}

/// The row of the table for a code.
fn meaning_of_code(service: Service, operation: &str, code: &str) -> Option<ErrorKind> {
    let fits = |row: &&Row| {
        row.0.is_none_or(|s| s == service)
            && (row.1 == ANY || row.1 == operation)
            && row.2.contains(&code)
    };
    MEANINGS.iter().find(fits).map(|row| row.3)
}

/// The code of a call whose response cannot be parsed.
const UNREADABLE: &str = "UnreadableAnswer";

/// A failed AWS call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct AwsError {
    /// The service that was called.
    pub service: Service,
    /// The API operation.
    pub operation: &'static str,
    /// The AWS error code, or the kind of transport error.
    pub code: String,
    /// The message from AWS.
    pub message: String,
    /// The AWS request ID, if there was a response.
    pub request_id: Option<String>,
    /// The HTTP status of the response, if there was one.
    pub status: Option<u16>,
    /// The classification.
    pub kind: ErrorKind,
    /// Whether an earlier attempt of the call, whose response was lost, may have taken effect.
    pub in_doubt: bool,
    /// The permissions that the service's role needs for the operation.
    pub access: RequiredAccess,
}

/// Why the role of a registered account cannot be assumed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot assume {role_arn}: {error}")]
pub struct AssumeRoleError {
    pub role_arn: RoleArn,
    pub error: AwsError,
}

/// The permissions that the service's role needs for an operation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequiredAccess {
    /// The IAM actions. Empty if no kind declares the operation.
    pub actions: &'static [&'static str],
    /// Whether the role's policy limits them by the path or tags of the resource.
    pub depends_on_resource: bool,
    pub effect: Effect,
}

/// What an operation does to AWS. One that nobody declared counts as a change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Effect {
    Read,
    #[default]
    Change,
}

impl fmt::Display for AwsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_answered = self
            .status
            .is_some_and(|status| status >= 300 || self.code != UNREADABLE);
        let verb = if is_answered {
            "failed with"
        } else {
            "received no response:"
        };
        write!(
            f,
            "{}:{} {verb} {}",
            self.service, self.operation, self.code
        )?;
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        Ok(())
    }
}

impl AwsError {
    /// The error of a failed SDK call.
    pub fn of<E>(
        service: Service,
        operation: &'static str,
        error: &SdkError<E, HttpResponse>,
    ) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        if let Some(refused) = assume_role_error(error) {
            return Self::of_account(service, operation, refused);
        }
        let status = error
            .raw_response()
            .map(|response| response.status().as_u16());
        let transport = match error {
            SdkError::TimeoutError(_) => "TimedOut",
            SdkError::DispatchFailure(_) => "ConnectionFailed",
            SdkError::ResponseError(_) | SdkError::ServiceError(_) => UNREADABLE,
            SdkError::ConstructionFailure(_) => "InvalidRequest",
            _ => "Unknown",
        };
        let code = error
            .code()
            .map_or_else(|| Self::code_of_status(status, transport), str::to_owned);
        let message = match (error.message(), error) {
            (Some(message), _) => message.to_owned(),
            // An answer to a HEAD says nothing more.
            (None, SdkError::ServiceError(_)) => String::new(),
            (None, _) => transport_message(error),
        };
        let kind = match error {
            SdkError::ConstructionFailure(_) => ErrorKind::Rejected,
            _ => error_kind(service, operation, &code, status),
        };
        let request_id = error
            .meta()
            .extra("aws_request_id")
            .or_else(|| error.raw_response().and_then(request_id_in));
        let request_id = request_id.map(str::to_owned);
        Self {
            service,
            operation,
            code,
            message,
            request_id,
            status,
            kind,
            in_doubt: false,
            access: RequiredAccess::default(),
        }
    }

    /// The call was not made, because the role of the account could not be assumed.
    fn of_account(service: Service, operation: &'static str, refused: &AssumeRoleError) -> Self {
        let error = &refused.error;
        let kind = match error.kind {
            kind @ (ErrorKind::Throttled
            | ErrorKind::Transient
            | ErrorKind::LeaseOver
            | ErrorKind::BadCredentials) => kind,
            _ => ErrorKind::AccountRefused,
        };
        Self {
            service,
            operation,
            message: refused.to_string(),
            kind,
            ..error.clone()
        }
    }

    /// The error of one part of a batch call that returned 200. It has a code without a status.
    pub fn of_part(service: Service, operation: &'static str, code: &str, message: String) -> Self {
        let kind = meaning_of_code(service, operation, code).unwrap_or(ErrorKind::Rejected);
        Self {
            service,
            operation,
            code: code.to_owned(),
            message,
            request_id: None,
            status: Some(200),
            kind,
            in_doubt: false,
            access: RequiredAccess::default(),
        }
    }

    /// A success that lacks what it has to hold.
    pub fn unreadable(service: Service, operation: &'static str) -> Self {
        Self {
            kind: ErrorKind::Transient,
            ..Self::of_part(service, operation, UNREADABLE, String::new())
        }
    }

    /// A call that was not made, because AWS throttles the account and too many calls are queued.
    pub fn crowded(service: Service, operation: &'static str, waiting: u32) -> Self {
        let message = format!("AWS throttles this account, and {waiting} calls are already queued");
        Self {
            service,
            operation,
            code: "QueueFull".into(),
            message,
            request_id: None,
            status: None,
            kind: ErrorKind::Throttled,
            in_doubt: false,
            access: RequiredAccess::default(),
        }
    }

    /// A call that was not made, or whose response was not awaited, because another worker may have the job.
    pub fn fenced(service: Service, operation: &'static str) -> Self {
        let message = "the lease of the job has expired".into();
        Self {
            service,
            operation,
            code: "LeaseOver".into(),
            message,
            request_id: None,
            status: None,
            kind: ErrorKind::LeaseOver,
            in_doubt: false,
            access: RequiredAccess::default(),
        }
    }

    /// Responses to HEAD requests have no body and so no code: only the status is known.
    fn code_of_status(status: Option<u16>, transport: &str) -> String {
        status
            .filter(|status| *status >= 300)
            .map_or_else(|| transport.to_owned(), |status| status.to_string())
    }

    /// Whether the call certainly changed nothing, because the service itself rejected it.
    pub fn had_no_effect(&self) -> bool {
        matches!(self.status, Some(400..=499))
    }

    /// The error as shown to people.
    pub fn refusal(&self) -> AwsRefusal {
        AwsRefusal {
            service: self.service.to_string(),
            operation: self.operation.to_owned(),
            code: self.code.clone(),
            request_id: self.request_id.clone(),
        }
    }
}

/// The failed AssumeRole behind a call that has no credentials.
fn assume_role_error<E>(error: &SdkError<E, HttpResponse>) -> Option<&AssumeRoleError>
where
    E: std::error::Error + 'static,
{
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes
        .filter_map(|cause| cause.downcast_ref::<AssumeRoleError>())
        .next()
}

/// The request ID in the response headers. S3 uses another header name than the other services.
pub(super) fn request_id_in(response: &HttpResponse) -> Option<&str> {
    ["x-amzn-requestid", "x-amz-request-id", "x-amzn-request-id"]
        .iter()
        .find_map(|name| response.headers().get(*name))
}

/// The innermost cause of a call without a readable response. Causes name hosts and reasons, never credentials.
fn transport_message(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests;
