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
mod background;
mod change;
mod chat;
mod cli;
mod conformance;
mod console;
mod documents;
mod drift;
mod e2e;
mod encryption_keys;
mod export;
mod history;
mod hooks;
mod identity;
mod integrations;
mod keys;
mod layers;
mod least_privilege;
mod lifecycle;
mod openapi;
mod overload;
mod pipelines;
mod process;
mod promises;
mod properties;
mod removal;
mod replay;
mod replicas;
mod scripted;
mod sign_in;
mod simulation;
mod store;
mod stories;
mod support;
mod traces;
mod trouble;
mod webhooks;
