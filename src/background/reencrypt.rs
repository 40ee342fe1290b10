//! Moves sealed secrets from older seal keys to the one that seals.
//!
//! Invariants:
//! - A sealed secret is replaced by the same secret alone, and only where it still is: a claim, or the end
//!   of its time, wins.
//! - It can be cut off at any instant, and run again; what was moved stays moved.

use std::collections::BTreeMap;

use crate::store::{Store, StoreError};
use crate::vault::Vault;

/// Rows in one read.
const BATCH: u32 = 100;

/// What moving secrets came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reencrypted {
    /// How many were moved.
    pub moved: u64,
    /// Access keys whose secret could not be opened, by the id of the seal key that their row names.
    pub unopened: BTreeMap<String, Vec<String>>,
}

/// Moves every sealed secret that can be opened to the key that seals.
///
/// # Errors
/// When the database does not answer; what was moved until then stays moved.
pub async fn reencrypt(store: &Store, vault: &Vault) -> Result<Reencrypted, StoreError> {
    let (mut done, mut after) = (Reencrypted::default(), None);
    loop {
        let batch = store
            .sealed_with_other_keys(vault.id(), after, BATCH)
            .await?;
        let Some((last, _)) = batch.last() else {
            return Ok(done);
        };
        after = Some(last.id);
        for (row, was) in batch {
            match row.reencrypt(vault, &was) {
                Ok(sealed) => {
                    done.moved += u64::from(
                        store
                            .replace_sealed_secret(row.id, was, sealed, vault.id().to_owned())
                            .await?,
                    )
                }
                Err(_) => done
                    .unopened
                    .entry(row.encryption_key)
                    .or_default()
                    .push(row.access_key_id),
            }
        }
    }
}
