//! The observed state of a person's console password.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::domain::console_password::PasswordRecord;
use crate::provision::context::ReconcileContext;
use crate::provision::fault::Fault;

/// How far AWS's clock can be from ours. AWS refuses requests whose time is further off.
const MAX_SKEW: Duration = Duration::from_secs(60);

/// What is there of a login profile.
#[derive(Debug, Clone, PartialEq)]
pub enum Profile {
    /// There is none. A password that an interrupted attempt has recorded is used again.
    Missing { recorded: Option<PasswordRecord> },
    /// AWS has confirmed the recorded password.
    Confirmed,
    /// An attempt that did not hear of it has created it with this password.
    InDoubt(PasswordRecord),
    /// Slipway has not set its password. The record is of a create that took no effect.
    NotOurs { recorded: Option<PasswordRecord> },
}

/// The console password of a person as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenProfile {
    pub(super) profile: Profile,
    /// Whether a policy on the user lets it change its password.
    pub(super) may_change: bool,
    /// The names of the passwords that are not known to be gone.
    pub(super) live: Vec<String>,
}

impl SeenProfile {
    pub(super) fn exists(&self) -> bool {
        !matches!(self.profile, Profile::Missing { .. })
    }
}

/// What a login profile that was created at this time is, or that there is none, given the records of the person.
///
/// # Errors
/// When AWS may not show yet what was created or deleted just now.
pub(super) fn judge(
    cx: &ReconcileContext,
    created_at: Option<Timestamp>,
    records: &[PasswordRecord],
) -> Result<Profile, Fault> {
    let is_young = |at: Timestamp| cx.clock.now().since(at) < cx.timing.propagation;
    let wait = |why: &str| Fault::Wait {
        why: why.to_owned(),
        after: cx.timing.poll_delay,
    };
    let live = || records.iter().filter(|record| record.gone_at.is_none());
    let recorded = live().rfind(|record| !record.is_set).cloned();
    let confirmed = live().rfind(|record| record.is_set);
    match (created_at, confirmed, recorded) {
        (None, Some(confirmed), _) if is_young(confirmed.intended_at) => {
            Err(wait("Waiting for AWS to show the console password."))
        }
        (None, _, recorded) => Ok(Profile::Missing { recorded }),
        (Some(created_at), _, Some(recorded)) if is_of(cx, &recorded, created_at) => {
            Ok(Profile::InDoubt(recorded))
        }
        (Some(_), Some(_), None) => Ok(Profile::Confirmed),
        (Some(_), _, recorded @ Some(_)) => Ok(Profile::NotOurs { recorded }),
        (Some(_), None, None) => {
            let gone = records
                .iter()
                .filter_map(|record| record.gone_at)
                .next_back();
            match gone.is_some_and(is_young) {
                true => Err(wait("Waiting for AWS to delete the console password.")),
                false => Ok(Profile::NotOurs { recorded: None }),
            }
        }
    }
}

/// Whether the profile was created while the call for this record can have taken effect.
fn is_of(cx: &ReconcileContext, record: &PasswordRecord, created_at: Timestamp) -> bool {
    let from = record.intended_at.before(MAX_SKEW);
    let to = record
        .intended_at
        .after(cx.timing.propagation.saturating_add(MAX_SKEW));
    (from..=to).contains(&created_at)
}
