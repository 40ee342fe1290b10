//! The whole service against emulators. `make test` starts them and runs this.

mod e2e;
mod support;
