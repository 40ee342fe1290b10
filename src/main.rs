//! The `slipway` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    slipway::cli::run()
}
