//! The valid tokens, for the rate limit, which runs before the token of a request is looked up.
//!
//! Invariants:
//! - A valid token is known, so that it has a rate limit of its own, whoever else calls from its address.
//! - Invalid tokens cause little work: they are looked up in memory, and the database is read at most once per
//!   [`READ_INTERVAL`].
//! - While the database is not available, a request waits for at most one read.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::store::{Store, StoreError};

const READ_INTERVAL: Duration = Duration::from_secs(1);
/// The maximum time that a request waits for a read, its own or that of another request.
const READ_TIMEOUT: Duration = Duration::from_secs(1);
/// How many tokens are loaded, the newest first. Others share the rate of their address until their first use.
const MAX_KNOWN: u32 = 100_000;

/// The hashes of valid tokens.
#[derive(Debug, Default)]
pub struct KnownTokens {
    hashes: Mutex<HashSet<String>>,
    /// When the database was last read. The reader holds the lock while others wait for its result.
    read_at: tokio::sync::Mutex<Option<Instant>>,
}

impl KnownTokens {
    /// Whether the token with this hash is known to be valid.
    pub fn contains(&self, hash: &str) -> bool {
        self.hashes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(hash)
    }

    pub fn add(&self, hash: &str) {
        let mut hashes = self.hashes.lock().unwrap_or_else(PoisonError::into_inner);
        if !hashes.contains(hash) {
            hashes.insert(hash.to_owned());
        }
    }

    /// Removes a token that turned out to be invalid.
    pub fn remove(&self, hash: &str) {
        let mut hashes = self.hashes.lock().unwrap_or_else(PoisonError::into_inner);
        hashes.remove(hash);
    }

    /// Loads the tokens if this one is not known, unless they were loaded less than [`READ_INTERVAL`] ago.
    pub async fn look_for(&self, hash: &str, store: &Store) {
        self.look_by(hash, store.token_hashes(MAX_KNOWN)).await;
    }

    async fn look_by(
        &self,
        hash: &str,
        read: impl Future<Output = Result<HashSet<String>, StoreError>>,
    ) {
        if self.contains(hash) {
            return;
        }
        // Whoever reads has the lock: those that wait for it take what that finds, or go without.
        let Ok(mut read_at) = timeout(READ_TIMEOUT, self.read_at.lock()).await else {
            return;
        };
        if self.contains(hash) || !is_due(*read_at) {
            return;
        }
        // Also a read that is given up, or fails, counts, and from its end on: a database in trouble is not asked by each that
        // has waited for it.
        *read_at = Some(Instant::now());
        match timeout(READ_TIMEOUT, read).await {
            Ok(Ok(hashes)) => *self.hashes.lock().unwrap_or_else(PoisonError::into_inner) = hashes,
            Ok(Err(error)) => tracing::debug!(%error, "the tokens could not be read"),
            Err(_) => tracing::debug!("the tokens could not be read in time"),
        }
        *read_at = Some(Instant::now());
    }
}

fn is_due(read_at: Option<Instant>) -> bool {
    read_at.is_none_or(|at| at.elapsed() >= READ_INTERVAL)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::clock::Clock;
    use crate::domain::role::Role;
    use crate::shutdown::Tasks;

    #[tokio::test]
    async fn a_valid_token_is_found_and_made_up_ones_read_the_database_once_a_second() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("slipway.db").display());
        let store = Store::open(&url, Clock::default(), &Tasks::default())
            .await
            .unwrap();
        let tokens = KnownTokens::default();
        store
            .create_token("bot", Role::Viewer, "valid".into(), "admin")
            .await
            .unwrap();
        tokens.look_for("made up", &store).await;
        let first = tokens.read_at.lock().await.unwrap();
        assert!(
            tokens.contains("valid") && !tokens.contains("made up"),
            "one read is for all"
        );

        store
            .create_token("board", Role::Viewer, "later".into(), "admin")
            .await
            .unwrap();
        for guess in 0..100 {
            tokens.look_for(&format!("guess-{guess}"), &store).await;
        }
        assert_eq!(
            (*tokens.read_at.lock().await, tokens.contains("later")),
            (Some(first), false),
            "not read again"
        );
        tokio::time::sleep(READ_INTERVAL).await;
        tokens.look_for("later", &store).await;
        assert!(tokens.contains("later"));

        tokens.remove("later");
        tokens.look_for("later", &store).await;
        assert!(
            !tokens.contains("later"),
            "one that was found revoked is not known"
        );
    }
    #[tokio::test(start_paused = true)]
    async fn a_database_that_does_not_answer_holds_up_nobody_for_longer_than_one_read() {
        let (tokens, reads) = (KnownTokens::default(), AtomicUsize::new(0));
        let silent = async || {
            reads.fetch_add(1, Ordering::Relaxed);
            std::future::pending().await
        };
        let began = Instant::now();
        let guesses: Vec<String> = (0..100).map(|guess| format!("guess-{guess}")).collect();
        futures::future::join_all(guesses.iter().map(|guess| tokens.look_by(guess, silent())))
            .await;
        assert!(
            began.elapsed() <= READ_TIMEOUT + READ_INTERVAL / 10,
            "{:?}",
            began.elapsed()
        );
        assert_eq!(reads.into_inner(), 1);
    }
}
