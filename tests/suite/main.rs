//! The whole service against emulators. `make test` starts them and runs this.

mod api;
mod e2e;
mod least_privilege;
mod replay;
mod scripted;
mod openapi;
mod store;
mod process;
mod identity;
mod support;
