//! The codes of problems.
//!
//! Invariants:
//! - Every code has one status and one title, and no two codes have the same title.
//! - docs/http-status-codes.md describes every code.

use axum::http::StatusCode;

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
        let page = include_str!("../../../docs/http-status-codes.md");
        for code in Code::iter() {
            assert!(page.contains(&format!("`{code}`")), "{code}");
        }
    }
}
