//! The file that `slipway login` writes.
//!
//! Invariants:
//! - Only its owner can read it, from the moment that it exists.
//! - Its token is for one service, and is sent to no other.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::json;

use super::error::ClientError;

/// A service, and the token for it.
#[derive(Debug, Deserialize)]
pub struct SavedLogin {
    pub url: String,
    pub token: SecretString,
}

impl SavedLogin {
    /// Where the file is: `$XDG_CONFIG_HOME/slipway/login.json`, by default below `~/.config`.
    pub fn path() -> Result<PathBuf, ClientError> {
        let folder = |name: &str| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let config = folder("XDG_CONFIG_HOME")
            .or_else(|| Some(folder("HOME")?.join(".config")))
            .ok_or_else(|| {
                ClientError::Failed(
                    "HOME is not set, so there is no place for a saved login".to_owned(),
                )
            })?;
        Ok(config.join("slipway").join("login.json"))
    }

    /// The saved login, if there is one.
    pub fn read() -> Result<Option<Self>, ClientError> {
        let Ok(path) = Self::path() else {
            return Ok(None);
        };
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(ClientError::file(path)(error)),
        };
        check_mode(&path)?;
        let saved = serde_json::from_str(&text).map_err(|_| {
            ClientError::Failed(format!(
                "{} is not a saved login. Run `slipway login` again",
                path.display()
            ))
        })?;
        Ok(Some(saved))
    }

    /// Writes the file in the place of an earlier one.
    pub fn write(&self) -> Result<PathBuf, ClientError> {
        let path = Self::path()?;
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(ClientError::file(folder))?;
        let new = path.with_extension(format!("new-{}", std::process::id()));
        let text = json!({"url": self.url, "token": self.token.expose_secret()}).to_string();
        let written = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)
            .and_then(|mut file| {
                file.write_all(text.as_bytes())?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&new, &path));
        written.map_err(|error| {
            let _ = fs::remove_file(&new);
            ClientError::file(path.clone())(error)
        })?;
        Ok(path)
    }

    /// Removes the file; whether there was one.
    pub fn remove() -> Result<bool, ClientError> {
        let path = Self::path()?;
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(ClientError::file(path)(error)),
        }
    }
}

fn check_mode(path: &Path) -> Result<(), ClientError> {
    let mode = fs::metadata(path).map_err(ClientError::file(path))?.mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(ClientError::Failed(format!(
        "others can read {path}, which has a token. Run `chmod 600 {path}`, and consider to revoke the token",
        path = path.display()
    )))
}
