//! What Slipway talks about: names, specs, jobs, events, faults. No I/O.
//!
//! Invariants:
//! - A value of a type here is valid: text becomes one of them by parsing, once, at the edge.
//! - Nothing here knows HTTP, SQL or the AWS SDK.

pub mod access_key;
pub mod account;
pub mod account_setup;
pub mod app;
pub mod approval;
pub mod audit;
pub mod background_task;
pub mod caller;
pub mod chat;
pub mod chat_signature;
pub mod chat_text;
pub mod console_password;
pub mod drift;
pub mod ecr_lifecycle;
pub mod event;
pub mod hooks;
pub mod iam_policy;
pub mod identity;
pub mod identity_policy;
pub mod job;
pub mod job_kind;
pub mod manifest;
pub mod names;
pub mod on_existing;
pub mod plan;
pub mod public_url;
pub mod regions;
pub mod removal;
pub mod resource_id;
pub mod retained;
pub mod role;
pub mod rotation;
pub mod scope;
pub mod service_url;
pub mod session;
pub mod shared_secret;
pub mod sign_in;
pub mod spec;
pub mod task;
pub mod trust_policy;
pub mod trust_rule;
pub mod validation;
pub mod webhook;
pub mod webhook_signature;
