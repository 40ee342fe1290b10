//! Slipway gives an app its place in an AWS account in one call.
//!
//! Three rules carry everything:
//!
//! 1. The database holds what was asked, who may work on it, and what people are told. AWS holds what is.
//! 2. One path, observe → plan → apply, serves onboarding, repair, retry, crash recovery, adoption and plans.
//! 3. Removal is a plan towards absence, not a second implementation.
//!
//! The layers, from the top: [`cli`] and [`background`], [`console`], [`api`], [`app`], [`provision`] and [`store`], [`aws`] and [`oidc`], [`domain`], [`outbound`].
//! A file imports from its own layer and those below it; a test fails on any other import and on any cycle.

pub mod api;
pub mod app;
pub mod aws;
pub mod background;
pub mod cli;
pub mod clock;
pub mod config;
pub mod console;
pub mod domain;
pub mod oidc;
pub mod outbound;
pub mod provision;
pub mod shutdown;
pub mod store;
pub mod telemetry;
pub mod vault;
