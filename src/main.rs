//! The `slipway` command.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    slipway::cli::run().await
}
