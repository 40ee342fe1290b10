//! The way to AWS: clients per account and region, the caller's identity, what refusals mean, and pace.
//!
//! Invariants:
//! - Every call goes through [`Account::call`], which keeps the account's pace, counts, logs and
//!   classifies; no client is built elsewhere.
//! - No call of a job begins or goes on after the job's [`Fence`].
//! - Every client has time-outs and an attempt limit; the SDK sets none for an operation by itself.

pub mod account;
mod fence;
pub mod identity;
pub mod pace;
pub mod refusal;
mod retries;
mod throttles;

pub use account::Account;
pub use fence::Fence;
pub use identity::Identity;
pub use refusal::{AwsError, Meaning, Service, meaning};
