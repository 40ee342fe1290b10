//! The way to AWS: clients per account and region, the caller's identity, what errors mean, and the rate limiter.
//!
//! Invariants:
//! - Every call goes through [`Account::call`], which keeps the account's pace, counts, logs and
//!   classifies; no client is built elsewhere.
//! - No call of a job begins or goes on after the job's [`Fence`].
//! - Every client has time-outs and an attempt limit; the SDK sets none for an operation by itself.

pub mod account;
pub mod error;
mod fence;
pub mod identity;
pub mod rate_limiter;
mod retries;
mod throttle_interceptor;

pub use account::Account;
pub use error::{AwsError, ErrorKind, Service, error_kind};
pub use fence::Fence;
pub use identity::Identity;
