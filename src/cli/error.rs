//! Why a command fails.

use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error("{0}")]
    Settings(#[from] config::ConfigError),
    #[error(transparent)]
    Start(#[from] crate::app::service::StartError),
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    #[error(transparent)]
    Vault(#[from] crate::vault::VaultError),
    #[error(
        "a running slipway has {0} open, and moves secrets by itself: restart it with the new SLIPWAY_ENCRYPTION_KEY \
         and the old one in SLIPWAY_PREVIOUS_ENCRYPTION_KEYS, or stop it and run this again"
    )]
    ServiceReencrypts(PathBuf),
    #[error(
        "{0} secrets stay under other encryption keys than SLIPWAY_ENCRYPTION_KEY: keep those keys"
    )]
    NotReencrypted(i64),
    #[error("the API's document cannot be written: {0}")]
    Document(#[from] serde_json::Error),
    #[error("the service at {0} does not answer")]
    Down(std::net::SocketAddr),
}
