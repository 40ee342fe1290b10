//! Incoming webhooks: what happened to a repository, and which rule says what follows.

pub mod delivery;
pub mod event;
pub mod payload;
pub mod rule;
pub mod signature;
