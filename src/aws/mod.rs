//! Access to AWS: clients per account and region, the service's identity, error classification and rate limits.
//!
//! Invariants:
//! - Every call goes through [`Account::call`], which rate-limits, counts, logs and classifies it. No client is
//!   built elsewhere.
//! - No call of a job begins or goes on after the job's [`Fence`].
//! - Every client has time-outs and an attempt limit; the SDK sets none for an operation by itself.

pub mod account;
pub mod assumed_role;
pub mod error;
mod fence;
pub mod identity;
pub mod rate_limiter;
mod retries;
mod throttle_interceptor;

pub use account::{Account, CacheKey};
pub use error::{AwsError, Effect, ErrorKind, RequiredAccess, Service, error_kind};
pub use fence::Fence;
pub use identity::{Identity, repository_uri};
pub use retries::MAX_THROTTLE_WAIT;
