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
        "a running service uses {0} and reencrypts secrets itself. Restart it with the new SLIPWAY_ENCRYPTION_KEY and the \
         old key in SLIPWAY_PREVIOUS_ENCRYPTION_KEYS, or stop it and repeat this command"
    )]
    ServiceRunning(PathBuf),
    #[error(
        "{0} secrets are still encrypted with other keys than SLIPWAY_ENCRYPTION_KEY. Keep those keys"
    )]
    NotReencrypted(i64),
    #[error("cannot write the document: {0}")]
    Document(#[from] serde_json::Error),
    #[error("the service at {0} is not healthy")]
    Down(std::net::SocketAddr),
}
