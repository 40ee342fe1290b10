//! What is being done, so that it is not done twice at a time in one process.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// The keys of what is being done.
#[derive(Debug, Clone)]
pub struct InProgress<K>(Arc<Mutex<HashSet<K>>>);

impl<K> Default for InProgress<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Clone + Eq + Hash> InProgress<K> {
    /// Begins to do something, unless it is being done. It ends when the result is dropped, so also after a panic.
    pub fn begin(&self, key: K) -> Option<Begun<K>> {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.insert(key.clone()).then(|| Begun {
            key,
            all: self.clone(),
        })
    }
}

/// Something that is being done.
pub struct Begun<K: Eq + Hash> {
    key: K,
    all: InProgress<K>,
}

impl<K: Eq + Hash> Begun<K> {
    pub fn key(&self) -> &K {
        &self.key
    }
}

impl<K: Eq + Hash> Drop for Begun<K> {
    fn drop(&mut self) {
        let mut keys = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.remove(&self.key);
    }
}
