//! The whole service against emulators. `make test` starts them and runs this.
#![expect(
    clippy::unwrap_used,
    reason = "a test that meets the unexpected fails there"
)]

mod answers;
mod api;
mod authorization;
#[path = "../aws/mod.rs"]
mod aws;
mod change;
mod conformance;
mod documents;
mod drift;
mod e2e;
mod export;
mod history;
mod identity;
mod keys;
mod least_privilege;
mod lifecycle;
mod openapi;
mod overload;
mod process;
mod properties;
mod removal;
mod replay;
mod replicas;
mod scripted;
mod seal_keys;
mod simulation;
mod store;
mod stories;
mod support;
mod trouble;
