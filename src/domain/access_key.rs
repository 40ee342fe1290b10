//! Credentials: what is known of an app's access keys. Never a secret.
//!
//! Invariant: a secret is sealed, or claimed a moment ago and still repeatable, or destroyed; it is
//! in exactly one of these, and only the first two have anything to open.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString};
use tokio::time::Instant;
use ulid::Ulid;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::domain::console_password::PasswordRecord;

/// How long the same caller can repeat a claim, with the same Idempotency-Key.
pub const CLAIM_REPLAY_WINDOW: Duration = Duration::from_secs(600);
/// How long a secret waits to be claimed.
pub const CLAIM_DEADLINE: Duration = Duration::from_secs(7 * 24 * 3600);

/// The state of a secret.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Display, EnumString, ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum SecretState {
    /// The secret is encrypted and can be claimed once.
    Unclaimed,
    /// The secret was claimed. The same caller can repeat the same claim for ten minutes.
    Claimed,
    /// The secret was not claimed within seven days, or its key was deleted first. It is destroyed. To get a new key,
    /// rotate the credentials.
    Expired,
}

/// Whether AWS is known to accept the key. IAM is eventually consistent.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Display, EnumString, ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Readiness {
    /// AWS accepted the key several times in a row.
    Ready,
    /// AWS has not accepted the key yet. It can take some seconds until the key works.
    Unverified,
}

/// The state of an access key in AWS.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Display, EnumString, ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum KeyState {
    /// The key works.
    Active,
    /// The key is deactivated.
    Inactive,
    /// The key no longer exists.
    Deleted,
    /// AWS could not be queried.
    Unknown,
}

/// For so long after a key was made, its use with STS may be our own, to find out whether AWS accepts it.
const OWN_CHECKS: Duration = Duration::from_secs(180);

/// Whether a key's last use, with `service` at `at`, says that somebody uses it: within the time `quiet`, and not
/// our own look at a key made at `made`.
pub fn is_recent_use(
    at: Timestamp,
    service: &str,
    made: Option<Timestamp>,
    now: Timestamp,
    idle_period: Duration,
) -> bool {
    let own = service == "sts" && made.is_some_and(|made| at.since(made) <= OWN_CHECKS);
    now.since(at) < idle_period && !own
}

/// Whether a key that is in use may be deactivated or deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InUse {
    Allow,
    Refuse,
}

impl InUse {
    pub fn forced(force: bool) -> Self {
        if force { Self::Allow } else { Self::Refuse }
    }
}

/// An intent to create a key, whose outcome is not known yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// Its row's id.
    pub id: Ulid,
    /// The user's keys before it.
    pub known_keys: Vec<String>,
    /// When it was written.
    pub at: Timestamp,
    /// When this process wrote it or first read it: a step of the wall clock does not make the wait for its outcome shorter.
    pub met: Instant,
}

/// What our records say of an app's keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyRecords {
    /// Keys that we hold or held the secret of, with the time of each record; not those known to be gone.
    pub keys: Vec<(String, Timestamp)>,
    /// The intent whose outcome is not known.
    pub open: Option<Intent>,
    /// Keys that were known once: those that are gone, those that were there before an intent that is closed, and
    /// those that were deleted because their secret was lost.
    pub earlier: BTreeSet<String>,
    /// The first console passwords of the people in an account's set-up, oldest first.
    pub passwords: Vec<PasswordRecord>,
}

impl KeyRecords {
    /// Whether our records tell of the key, as one that is there or was there once.
    pub fn contains(&self, id: &str) -> bool {
        let intended = || {
            self.open
                .iter()
                .flat_map(|intent| &intent.known_keys)
                .any(|key| key == id)
        };
        self.earlier.contains(id) || self.keys.iter().any(|(key, _)| key == id) || intended()
    }
}

/// An access key of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Credential {
    /// The access key ID.
    #[schema(example = "AKIAIOSFODNN7EXAMPLE")]
    pub access_key_id: String,
    /// The IAM user that the key belongs to.
    pub user: String,
    /// Whether a job of Slipway created the key. `false` for a key that was created outside Slipway.
    pub managed: bool,
    /// The state of the key in AWS.
    pub state: KeyState,
    /// The state of the secret. Absent for a key that was created outside Slipway.
    pub secret: Option<SecretState>,
    /// Whether AWS is known to accept the key.
    pub readiness: Option<Readiness>,
    /// What to do next, if an action is needed.
    pub remedy: Option<String>,
    /// The path to claim the secret at. Absent if the secret cannot be claimed.
    pub claim: Option<String>,
    /// When the key was created.
    pub created_at: Option<Timestamp>,
    /// The age of the key in seconds.
    pub age_seconds: Option<i64>,
    /// When the key was last used, as AWS reports it.
    pub last_used_at: Option<Timestamp>,
    /// The service that the key was last used with.
    pub last_used_service: Option<String>,
    /// The region that the key was last used in.
    pub last_used_region: Option<String>,
    /// When the secret was claimed.
    pub claimed_at: Option<Timestamp>,
    /// The token that claimed the secret.
    pub claimed_by: Option<String>,
}
