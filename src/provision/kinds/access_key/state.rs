//! The goal for an app's access keys, and their observed state.

use std::fmt;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::domain::access_key::Intent;
use crate::domain::names::AppName;
use crate::domain::spec::AppSpec;
use crate::domain::task::KeyStatus;
use crate::provision::user_keys::{LastUse, ListedKey};

/// The maximum number of access keys of a user, inactive keys included (IAM quotas).
pub(super) const SLOTS: usize = 2;

/// The maximum difference between the clocks of replicas. A record with a later time was written before the clock stepped
/// back.
pub(super) const MAX_SKEW: Duration = Duration::from_secs(10 * 60);

/// The access keys of an app's user, with a goal.
#[derive(Debug, Clone)]
pub struct AccessKey {
    pub(super) user: AppName,
    pub(super) goal: KeyGoal,
}

/// The goal of a job for the app's access keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyGoal {
    /// The app has one active key.
    One,
    /// The app has another key than those that were known.
    Another {
        /// The keys when the job was accepted.
        known_keys: Vec<String>,
        /// The key to delete if the user has the maximum number of keys.
        replace: Option<String>,
        /// Whether that key is deleted even if it is in use.
        force: bool,
    },
    /// One key activated, deactivated or deleted.
    Switched {
        access_key_id: String,
        /// The status that the key gets.
        to: KeyStatus,
        /// Whether the status is changed even if the key is in use.
        force: bool,
        /// Whether a rotation requests it. A rotation deletes only an inactive key.
        rotating: bool,
    },
    /// This key of the app is deleted.
    Single(String),
    /// All keys are inactive, because the app is removed.
    Off {
        /// Whether an adopted user is removed too, with its keys.
        adopted: bool,
    },
    /// The keys that a removal deactivated are active again.
    Restored {
        switched_off: Vec<String>,
        /// Whether the app has one active key in the end.
        one: bool,
    },
}

/// The observed state of the app's keys, from AWS and from the records.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SeenKeys {
    /// All keys of the user.
    pub listed: Vec<ListedKey>,
    /// Active keys that were used within the idle period, of those whose last use was observed.
    pub in_use: Vec<String>,
    /// Existing keys whose secrets Slipway received.
    pub ours: Vec<String>,
    /// Recorded keys that no longer exist.
    pub gone: Vec<String>,
    /// Active keys without a record, on a user that a job of this app created.
    pub unknown: Vec<String>,
    /// What an intent with a lost response may have created.
    pub lost: Option<Lost>,
    /// Whether a job of this app created the user.
    pub made_user: bool,
    /// Whether the user was observed and does not exist.
    pub no_user: bool,
}

/// What an intent with a lost response may have created.
#[derive(Debug, Clone, PartialEq)]
pub struct Lost {
    pub intent: Intent,
    /// Keys that the intent may have created: neither recorded nor known to the intent.
    pub candidates: Vec<ListedKey>,
    /// Whether a candidate has been used, or AWS does not report it.
    pub used: bool,
    /// Whether a job of this app created the user.
    pub made_user: bool,
    /// The latest time at which the interrupted call can have created a key.
    pub latest: Timestamp,
}

impl fmt::Display for ListedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({}",
            self.id,
            if self.active { "active" } else { "inactive" }
        )?;
        if let Some(at) = self.created_at {
            write!(f, ", created {at}")?;
        }
        match &self.used {
            Some(LastUse {
                at,
                service,
                region,
            }) => write!(f, ", last used {at} with {service} in {region})"),
            None => f.write_str(", never used)"),
        }
    }
}

impl AccessKey {
    pub fn of(spec: &AppSpec, goal: KeyGoal) -> Self {
        Self {
            user: spec.name.clone(),
            goal,
        }
    }
}
