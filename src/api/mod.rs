//! The HTTP API: one file per endpoint under `v1`, and what all endpoints share.
//!
//! Invariants:
//! - Every `/v1` request needs a token or the session of a person who is signed in. The handler's extractor states the role that it needs.
//! - Every error response is a problem document (RFC 9457), also those of the framework.
//! - What the service handles at once is limited. A request that is refused for that is told when to retry.
//! - A handler parses the request, calls one use case of `app`, and formats the response.

pub mod accept;
pub mod audit_page;
pub mod auth;
pub mod body;
pub mod chat;
pub mod credential;
pub mod csrf;
pub mod etag;
pub mod examples;
pub mod form;
pub mod health;
pub mod hooks;
pub mod idempotency;
pub mod job;
pub mod job_watch;
pub mod known_tokens;
pub mod limits;
pub mod links;
pub mod metrics;
pub mod openapi;
pub mod page;
pub mod params;
pub mod path;
pub mod problem;
pub mod request_id;
pub mod response;
pub mod router;
pub mod server;
pub mod sign_in;
pub mod spec_lists;
pub mod v1;
