//! `slipway reencrypt`: encrypts all secrets with the current key.

use crate::cli::error::CommandError;
use crate::clock::Clock;
use crate::config::Settings;
use crate::shutdown::Tasks;
use crate::store::{Store, StoreError};
use crate::vault::Vault;

/// Reencrypts the secrets that can be decrypted, and prints which key encrypts how many. Fails if any remain.
pub async fn reencrypt(settings: &Settings) -> Result<(), CommandError> {
    let vault = settings.vault()?;
    let store = Store::open(&settings.database_url, Clock::default(), &Tasks::default())
        .await
        .map_err(|error| match error {
            StoreError::InUse(path) => CommandError::ServiceRunning(path),
            error => error.into(),
        })?;
    let done = crate::background::tasks::reencrypt::reencrypt(&store, &vault).await?;
    println!("reencrypted {} secrets with key {}", done.moved, vault.id());
    for (encryption_key, access_key_ids) in &done.unopened {
        println!(
            "cannot decrypt the secrets of {} with key {encryption_key}",
            access_key_ids.join(", ")
        );
    }
    let left = store.sealed_by_key().await?;
    for (encryption_key, secrets) in &left {
        println!(
            "{secrets} secrets are encrypted with key {encryption_key}{}",
            describe(&vault, encryption_key)
        );
    }
    store.truncate_log().await;
    match left
        .iter()
        .filter(|(encryption_key, _)| encryption_key != vault.id())
        .map(|(_, secrets)| secrets)
        .sum()
    {
        0 => Ok(()),
        secrets => Err(CommandError::NotReencrypted(secrets)),
    }
}

fn describe(vault: &Vault, encryption_key: &str) -> &'static str {
    if encryption_key == vault.id() {
        ", the current key"
    } else if vault.has(encryption_key) {
        ", a previous key. Repeat this command"
    } else {
        ", which is not configured. Add it to SLIPWAY_PREVIOUS_ENCRYPTION_KEYS and repeat this command"
    }
}
