//! What Slipway talks about: names, specs, jobs, events, faults. No I/O.
//!
//! Invariants:
//! - A value of a type here is valid: text becomes one of them by parsing, once, at the edge.
//! - Nothing here knows HTTP, SQL or the AWS SDK.

pub mod app;
pub mod audit;
pub mod credential;
pub mod drift;
pub mod event;
pub mod fields;
pub mod job;
pub mod lifecycle;
pub mod names;
pub mod plan;
pub mod policy;
pub mod protected_tag;
pub mod regions;
pub mod role;
pub mod rotation;
pub mod simulation;
pub mod spec;
pub mod task;
