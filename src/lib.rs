//! Slipway gives an app its place in an AWS account in one call.
//!
//! Three rules carry everything:
//!
//! 1. The database holds what was asked, who may work on it, and what people are told. AWS holds what is.
//! 2. One path, observe → plan → apply, serves onboarding, repair, retry, crash recovery, adoption and plans.
//! 3. Removal is a plan towards absence, not a second implementation.
//!
//! The map: [`http`] parses requests into [`domain`] types and commits them to the [`store`] with a job;
//! a [`worker`] claims the job and lets the [`engine`] walk the graph of [`resources`], which call [`aws`].
//! An [`export`] says what is there in the terms of other tools.

pub mod aws;
pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod engine;
pub mod export;
pub mod http;
pub mod resources;
pub mod service;
pub mod shutdown;
pub mod store;
pub mod telemetry;
pub mod vault;
pub mod worker;
