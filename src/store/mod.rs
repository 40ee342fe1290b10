//! The database: what was requested, which worker may act on it, and what was reported.
//!
//! Invariants:
//! - An audit entry is committed together with what it describes.
//! - A job's row, its app's row, its idempotency record and its first event are one commit.
//! - Every write of a worker names its lease's token and changes nothing once the lease is lost.
//! - A row that cannot be read as a domain value is an error that names table, column and row.
//! - A method that returns `Ok` has committed durably, on either database.
//! - Order is that of the rows' `seq`, which the database assigns. Ids are made by clocks, which can be apart.
//! - One SQL text serves both databases; what differs is in `sqlite`, `postgres` and `sql`.

mod accounts;
mod actors;
mod approvals;
mod apps;
mod audit;
mod chat_links;
mod chat_requests;
mod connection;
mod credentials;
mod database;
mod deliveries;
mod delivery_log;
mod drift;
mod error;
mod events;
mod history;
mod hook_deliveries;
mod hook_delivery_log;
mod idempotency;
mod jobs;
mod key_notices;
mod lease;
mod outbox;
mod overview;
mod passwords;
mod postgres;
mod progress;
mod progress_queue;
mod refusal;
mod rotations;
mod rows;
pub mod schema;
mod scope;
mod sessions;
mod setups;
mod signals;
mod sql;
mod sqlite;
mod tokens;
mod totals;
mod trust_rules;
mod webhooks;
mod writer;

pub use accounts::AccountCheckResult;
pub use approvals::{ApprovalFilter, NewApproval, PlanToApprove};
pub use apps::AppFilter;
pub use audit::{AuditCursor, AuditFilter};
pub use chat_links::ChatCode;
pub use chat_requests::{ChatRequest, ChatRequestState, NewChatRequest};
pub use credentials::{ClaimAnswer, CredentialRow, NewCredential};
pub use database::Store;
pub use deliveries::{
    AttemptOutcome, DeliveryAttempt, PassEnd, PendingDelivery, Sender, WebhookLease,
};
pub use delivery_log::{Delivery, DeliveryFilter, Replay};
pub use error::StoreError;
pub use history::backup;
pub use hook_deliveries::{HookDelivery, HookOutcome, NewHookDelivery};
pub use hook_delivery_log::{ReceivedDelivery, ReceivedFilter};
pub use idempotency::{IDEMPOTENCY_AGE, IdempotencyKey, fingerprint};
pub use jobs::approve::{Decision, Verdict};
pub use jobs::claim::{Claimed, MAX_CLAIM_BATCH};
pub use jobs::enqueue::{Accepted, AppChange, JobRequest, NewApp};
pub use jobs::finish::{AttemptResult, Reopened};
pub use jobs::query::JobFilter;
pub use key_notices::KeyToCheck;
pub use lease::Lease;
pub use overview::NotedKey;
pub use progress_queue::StepRecord;
pub use refusal::Refusal;
pub use rotations::{DueRotation, RotationChange};
pub use sessions::NewSession;
pub use signals::Signal;
pub use tokens::{NewTokenRow, TokenRow};
pub use totals::{JobTotal, KEY_AGES, KeyTotals};
pub use trust_rules::{Exchange, ExchangeAnswer};
pub use webhooks::{MAX_WEBHOOKS, SealedWebhookSecret};
