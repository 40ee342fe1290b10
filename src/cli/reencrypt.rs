//! `slipway reencrypt`: moves every sealed secret to the present encryption key.

use crate::cli::error::CommandError;
use crate::clock::Clock;
use crate::config::Settings;
use crate::shutdown::Tasks;
use crate::store::{Store, StoreError};
use crate::vault::Vault;

/// Moves what can be opened and tells what is under which key; an error if anything stays where it was.
pub async fn reencrypt(settings: &Settings) -> Result<(), CommandError> {
    let vault = settings.vault()?;
    let store = Store::open(&settings.database_url, Clock::default(), &Tasks::default())
        .await
        .map_err(|error| match error {
            StoreError::InUse(path) => CommandError::ServiceReencrypts(path),
            error => error.into(),
        })?;
    let done = crate::background::tasks::reencrypt::reencrypt(&store, &vault).await?;
    println!(
        "moved {} secrets to the encryption key {}",
        done.moved,
        vault.id()
    );
    for (encryption_key, access_key_ids) in &done.unopened {
        println!(
            "cannot open those of {} under {encryption_key}",
            access_key_ids.join(", ")
        );
    }
    let left = store.sealed_by_key().await?;
    for (encryption_key, secrets) in &left {
        println!(
            "{secrets} secrets are under {encryption_key}{}",
            standing(&vault, encryption_key)
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

fn standing(vault: &Vault, encryption_key: &str) -> &'static str {
    if encryption_key == vault.id() {
        ", the present key"
    } else if vault.has(encryption_key) {
        ", a previous key: run this again"
    } else {
        ", which is not configured: add it to SLIPWAY_PREVIOUS_ENCRYPTION_KEYS and run this again"
    }
}
