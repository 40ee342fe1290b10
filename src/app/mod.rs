//! The use cases, one file each. The API, the command line and the background tasks call them.
//!
//! A use case parses nothing of HTTP and returns nothing of it: it takes domain types or a JSON document.

pub mod accounts;
pub mod approvals;
pub mod background;
pub mod chat;
pub mod check_permissions;
pub mod claim;
pub mod credentials;
pub mod device_sign_in;
pub mod drift;
pub mod error;
pub mod export;
pub mod find;
pub mod hooks;
pub mod identity_provider;
pub mod in_progress;
pub mod inspect;
pub mod job_graph;
pub mod onboard;
pub mod overview;
pub mod permission_check;
pub mod plan;
pub mod preview;
pub mod remove;
pub mod repair;
pub mod restore;
pub mod rotate;
pub mod scope;
pub mod service;
pub mod sessions;
pub mod set_key_status;
pub mod setup;
pub mod sign_in;
pub mod simulate_lifecycle;
pub mod token_exchange;
pub mod tokens;
pub mod trust_rules;
pub mod update;
pub mod verify_key;
pub mod webhook_payload;
pub mod webhooks;
