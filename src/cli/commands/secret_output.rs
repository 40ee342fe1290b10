//! Where a secret goes: to a new file that only its owner can read, to a pipe, or, if asked, to the terminal.
//!
//! Invariant: the place is known to be good before the service gives the secret away.

use std::fs::{self, File};
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use clap::Args;

use crate::cli::client::ClientError;

/// Where a secret goes.
#[derive(Debug, Args)]
pub struct SecretArgs {
    /// Write to a new file that only you can read.
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    /// Show the secret on the terminal.
    #[arg(long, conflicts_with = "to")]
    show: bool,
}

/// An open place for a secret. A file without one is removed.
pub struct SecretOutput {
    file: Option<(PathBuf, File)>,
}

impl SecretArgs {
    /// Opens the place.
    pub fn open(&self) -> Result<SecretOutput, ClientError> {
        let Some(path) = &self.to else {
            if io::stdout().is_terminal() && !self.show {
                return Err(ClientError::Usage(
                    "a secret is not shown on a terminal unasked. Use `--to FILE`, a pipe, or `--show`".into(),
                ));
            }
            return Ok(SecretOutput { file: None });
        };
        let file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => ClientError::Usage(format!(
                    "{} exists and is not overwritten. Choose another file",
                    path.display()
                )),
                _ => ClientError::file(path)(error),
            })?;
        Ok(SecretOutput {
            file: Some((path.clone(), file)),
        })
    }
}

impl SecretOutput {
    /// Writes the secret; the file that has it now.
    pub fn write(mut self, text: &str) -> Result<Option<PathBuf>, ClientError> {
        match &mut self.file {
            Some((path, file)) => {
                let written = file
                    .write_all(text.as_bytes())
                    .and_then(|()| file.sync_all());
                written.map_err(ClientError::file(path.clone()))?;
            }
            None => {
                let mut stdout = io::stdout().lock();
                let written = stdout
                    .write_all(text.as_bytes())
                    .and_then(|()| stdout.flush());
                written.map_err(|error| {
                    ClientError::Failed(format!("the secret could not be written: {error}"))
                })?;
            }
        }
        Ok(self.file.take().map(|(path, _)| path))
    }
}

impl Drop for SecretOutput {
    fn drop(&mut self) {
        if let Some((path, _)) = self.file.take() {
            let _ = fs::remove_file(path);
        }
    }
}
