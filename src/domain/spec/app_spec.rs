//! What an app should have in AWS.
//!
//! Invariant: a spec written out as JSON parses back to itself.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString};
use utoipa::ToSchema;

use super::lists::Lists;
use super::rotate_after::write_age;
use crate::domain::account_setup::AccountSetup;
use crate::domain::ecr_lifecycle::Lifecycle;
use crate::domain::names::{AccountName, AppName, BucketName, Origin, Region, RepositoryName};
use crate::domain::on_existing::OnExisting;

/// Buckets, or repositories, one app may have.
pub const MAX_PLACES: usize = 25;

/// Tags a caller may set: AWS allows 50 on a resource (AWS General Reference), three are ours.
pub const MAX_TAGS: usize = 47;

/// Prefix of the tags by which Slipway knows its own things again.
pub const TAG_PREFIX: &str = "slipway:";

/// The buckets that the app can access.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Display, EnumString, ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum MediaAccess {
    /// The shared `MediaManagement` policy of the account, which grants access to every bucket in the account.
    Shared,
    /// A policy for the app, which grants access to its own buckets only.
    Scoped,
}

impl MediaAccess {
    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Shared => Self::Scoped,
            Self::Scoped => Self::Shared,
        }
    }
}

/// What is done about drift that a scheduled look finds.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum DriftMode {
    /// Drift is reported.
    #[default]
    Report,
    /// A job repairs drift. Resources that the spec does not include are only reported.
    Repair,
}

/// A bucket for the app's media.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketSpec {
    /// Its name, unique in the world.
    pub name: BucketName,
    /// Where it is.
    pub region: Region,
    /// Origins whose pages may upload to it from a browser.
    pub upload_origins: Vec<Origin>,
}

/// A repository for the app's images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RepositorySpec {
    /// Its name, unique in the account and region.
    pub name: RepositoryName,
    /// Where it is.
    pub region: Region,
    /// When its images expire.
    pub lifecycle: Lifecycle,
}

impl RepositorySpec {
    /// Where it is: `region/name`, which is unique in an account.
    pub fn place(&self) -> String {
        format!("{}/{}", self.region, self.name)
    }
}

/// What an app should have in AWS.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AppSpec {
    /// The app's and its IAM user's name.
    pub name: AppName,
    /// The registered account it lives in.
    pub account: AccountName,
    /// The region of what has none of its own, and the app's `AWS_REGION`.
    pub region: Region,
    /// How wide its access to media is.
    pub media_access: MediaAccess,
    /// Its buckets.
    pub buckets: Vec<BucketSpec>,
    /// Its image repositories.
    pub repositories: Vec<RepositorySpec>,
    /// Whether it gets an access key.
    pub access_key: bool,
    /// What to do about things that are there already.
    pub on_existing: OnExisting,
    /// Tags for everything of the app's that can be tagged.
    pub tags: BTreeMap<String, String>,
    /// Whether its removal is refused.
    #[serde(default)]
    pub protected: bool,
    /// What is done about drift.
    #[serde(default)]
    pub drift: DriftMode,
    /// The age at which its access key is rotated by itself.
    #[serde(
        default,
        serialize_with = "write_age",
        deserialize_with = "humantime_serde::deserialize",
        skip_serializing_if = "Option::is_none"
    )]
    pub rotate_after: Option<Duration>,
    /// The set-up of the account, where that is the subject and not an app. It then has nothing of an app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup: Option<Box<AccountSetup>>,
    /// The lists that kinds add. None of them is in the JSON while it is empty.
    #[serde(flatten)]
    pub lists: Lists,
}

impl AppSpec {
    /// The list of keyless identities.
    pub const IDENTITIES: &str = "identities";

    /// Whether the app has an IAM user: to hold its access key, or because it has no keyless identities.
    pub fn has_user(&self) -> bool {
        self.access_key || !self.lists.has(Self::IDENTITIES)
    }

    /// The record of an account's set-up, which is the subject of jobs as an app is.
    pub fn of_setup(account: AccountName, region: Region, setup: AccountSetup) -> Self {
        Self {
            name: AppName::of_setup(&account),
            account,
            region,
            media_access: MediaAccess::Shared,
            buckets: Vec::new(),
            repositories: Vec::new(),
            access_key: false,
            on_existing: setup.spec.on_existing,
            tags: BTreeMap::new(),
            protected: false,
            drift: DriftMode::Report,
            rotate_after: None,
            setup: Some(Box::new(setup)),
            lists: Lists::default(),
        }
    }
}

/// The name of the account that the service itself runs in.
pub const DEFAULT_ACCOUNT: &str = "default";

/// The account that the service itself runs in.
pub fn default_account() -> AccountName {
    AccountName::parse(DEFAULT_ACCOUNT).expect("the built-in default is a valid name")
}
