//! The HTTP API: one file per endpoint under `v1`, and what all endpoints share.
//!
//! Invariants:
//! - Every `/v1` call carries a token; who may do what is said by the handler's extractor.
//! - Every response that is not a success is a problem document (RFC 9457), also those of the framework.
//! - What is taken in at once is bounded, and who is refused for that is told when to come back.
//! - A handler parses into domain types and calls a use case; it touches AWS only through those.

pub mod auth;
pub mod bearer;
pub mod body;
pub mod etag;
pub mod examples;
pub mod health;
pub mod job_watch;
pub mod known_tokens;
pub mod limits;
pub mod links;
pub mod openapi;
pub mod page;
pub mod problem;
pub mod request_id;
pub mod response;
pub mod router;
pub mod server;
pub mod v1;
