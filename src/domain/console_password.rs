//! First console passwords of people.
//!
//! Invariants:
//! - A password is recorded, sealed, before AWS is asked to set it: it is known or was never set.
//! - A password that AWS has not confirmed cannot be claimed.

use ulid::Ulid;

use crate::clock::Timestamp;
use crate::domain::names::AppName;

/// The record of a person's console password. It never holds the password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasswordRecord {
    /// Its row's ID.
    pub id: Ulid,
    /// The name under which its secret is sealed and claimed.
    pub credential: String,
    /// The person.
    pub person: AppName,
    /// When AWS was last about to be asked to set it.
    pub intended_at: Timestamp,
    /// Whether AWS has confirmed it.
    pub is_set: bool,
    /// Whether it was not claimed or destroyed yet.
    pub is_unclaimed: bool,
    /// When it was found to be deleted in AWS.
    pub gone_at: Option<Timestamp>,
}

/// The passwords of a person, oldest first.
pub fn of_person<'r>(
    records: &'r [PasswordRecord],
    person: &'r AppName,
) -> impl DoubleEndedIterator<Item = &'r PasswordRecord> {
    records
        .iter()
        .filter(move |record| record.person.key() == person.key())
}

/// The newest password of a person that AWS has set.
pub fn newest<'r>(
    records: &'r [PasswordRecord],
    person: &'r AppName,
) -> Option<&'r PasswordRecord> {
    of_person(records, person).rfind(|record| record.is_set && record.gone_at.is_none())
}
