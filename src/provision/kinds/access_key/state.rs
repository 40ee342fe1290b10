//! An app's access key as it is wanted, and what is there.

use crate::clock::Timestamp;
use crate::domain::access_key::Intent;
use crate::domain::names::AppName;
use crate::domain::spec::AppSpec;
use crate::domain::task::KeyStatus;
use crate::provision::user_keys::{LastUse, ListedKey};
use std::fmt;
use std::time::Duration;

/// Keys that a user can have (IAM quotas); inactive ones count.
pub(super) const SLOTS: usize = 2;

/// The app's access key.
#[derive(Debug, Clone)]
pub struct AccessKey {
    pub(super) user: AppName,
    pub(super) goal: KeyGoal,
}

/// What is wanted of the app's keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyGoal {
    /// One live key of ours.
    One,
    /// A key of ours that is none of those that were known.
    Another {
        /// The keys that were known.
        known_keys: Vec<String>,
        /// The key that makes room, where both of the user's are taken.
        replace: Option<String>,
        /// Whether that one goes even if it is in use.
        force: bool,
    },
    /// One key activated, deactivated or deleted.
    Switched {
        /// The key.
        access_key_id: String,
        /// What it is to be.
        to: KeyStatus,
        /// Whether that is done even if the key is in use.
        force: bool,
        /// Whether a rotation asks for it, which deletes an inactive key and nothing else.
        rotating: bool,
    },
    /// Just this key of ours, which is to go.
    Single(String),
    /// No key that works, for the app is removed.
    Off {
        /// Whether a user that was there before the app goes too, and so do its keys.
        adopted: bool,
    },
    /// The keys that a removal deactivated are active again.
    Restored {
        /// The keys.
        switched_off: Vec<String>,
        /// Whether there is to be a live key of ours at last.
        one: bool,
    },
}

/// What is known of the app's keys, from AWS and from our records.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SeenKeys {
    /// Every key on the user.
    pub listed: Vec<ListedKey>,
    /// Keys that work and were used within the idle period, of those whose last use was asked for.
    pub in_use: Vec<String>,
    /// Keys that we know the secret of, and that are there.
    pub ours: Vec<String>,
    /// Recorded keys that are not there any more.
    pub gone: Vec<String>,
    /// Live keys on a user that we made that no record of ours tells of.
    pub unknown: Vec<String>,
    /// What an intent with a lost answer left.
    pub lost: Option<Lost>,
    /// Whether a job of this app made the user.
    pub made_user: bool,
    /// Whether the user was looked for and is not there.
    pub no_user: bool,
}

/// What an intent with a lost answer left.
#[derive(Debug, Clone, PartialEq)]
pub struct Lost {
    /// The intent.
    pub intent: Intent,
    /// Keys that may be its: neither written down with it nor recorded.
    pub candidates: Vec<ListedKey>,
    /// Whether the candidate has been used, or AWS could not say.
    pub used: bool,
    /// Whether a job of this app made the user.
    pub made_user: bool,
    /// The latest moment at which the interrupted call can have made a key.
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

/// How far the clocks of replicas are apart at most: a record of a later time was written before the clock stepped back.
pub(super) const MAX_SKEW: Duration = Duration::from_secs(10 * 60);

impl AccessKey {
    /// The keys of an app's user, with what is wanted of them.
    pub fn of(spec: &AppSpec, goal: KeyGoal) -> Self {
        Self {
            user: spec.name.clone(),
            goal,
        }
    }
}
