//! Chat: what the users of chat platforms can ask for.
//!
//! Invariants:
//! - A chat user is a [`Caller`](crate::domain::caller::Caller) as the holder of a token is, and calls the same use cases.
//! - Role and scope are checked here as the API's extractors check them.
//! - No text for a chat platform holds a secret.

pub mod authorize;
pub mod commands;
pub mod job_message;
pub mod links;
pub mod replies;
