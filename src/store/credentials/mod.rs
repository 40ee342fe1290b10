//! Access keys: intents, records, claims and sealed secrets.
//!
//! Invariant: the database never holds an opened secret.

mod claims;
mod intents;
mod records;
mod row;
mod sealed_secrets;

pub use self::claims::ClaimAnswer;
pub use self::row::{CredentialRow, NewCredential};
