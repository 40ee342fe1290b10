//! Why requests fail, and the problem document of each error.

use axum::response::{IntoResponse, Response};

use super::code::Code;
use super::document::Problem;
use super::use_case::of_use_case;
use crate::app::error::UseCaseError;
use crate::domain::role::Role;
use crate::domain::validation::FieldError;
use crate::store::{Refusal, StoreError};

/// Retry-After of an overloaded service, in seconds: a range, so that clients do not all return at once.
const RETRY_AFTER_OVERLOAD: std::ops::RangeInclusive<u32> = 1..=5;

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
            Self::Defect => Problem::internal(),
        }
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
