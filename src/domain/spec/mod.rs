//! What an app should have in AWS: the spec, parsed from a request with every default filled in.
//!
//! Invariants:
//! - A spec is whole: nothing in it is decided later, so the plan a person read is the plan a job follows.
//! - A spec written out as JSON parses back to itself.

mod app_spec;
mod defaults;
mod lists;
mod parse;
mod request;
mod rotate_after;

pub use self::app_spec::{
    AppSpec, BucketSpec, DEFAULT_ACCOUNT, DriftMode, MAX_PLACES, MAX_TAGS, MediaAccess,
    RepositorySpec, TAG_PREFIX, default_account,
};
pub use self::defaults::{Defaults, Place, check_template};
pub use self::lists::{ListEntry, ListSettings, Lists, SpecList};
pub use self::request::{
    AppRequest, BucketRequest, LifecycleName, LifecycleRequest, RepositoryRequest, RotateAfter,
};
pub use self::rotate_after::parse_age;

pub use crate::domain::on_existing::OnExisting;

#[cfg(test)]
mod tests;
