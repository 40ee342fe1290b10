//! The ids of resources that more than their own kind refers to.

use crate::domain::names::{AppName, BucketName, GroupName, Region, RepositoryName};
use crate::domain::resource_id::ResourceId;

pub const ACCESS_KEY: &str = "iam:access-key";
pub const ACCOUNT_ALIAS: &str = "iam:account-alias";
pub const ACCOUNT_GROUP: &str = "iam:account-group";
pub const BUCKET: &str = "s3:bucket";
pub const GROUP: &str = "iam:group";
pub const INSTANCE_PROFILE: &str = "iam:instance-profile";
pub const OIDC_PROVIDER: &str = "iam:oidc-provider";
pub const LOGIN_PROFILE: &str = "iam:login-profile";
pub const MEMBERSHIP: &str = "iam:membership";
pub const REPOSITORY: &str = "ecr:repository";
pub const ROLE: &str = "iam:role";
pub const ROLE_ATTACHMENT: &str = "iam:role-attachment";
pub const ROLE_POLICY: &str = "iam:role-policy";
pub const USER: &str = "iam:user";

/// An app's IAM user.
pub fn user(name: &AppName) -> ResourceId {
    ResourceId::new(USER, name)
}

/// The access key of an app, whichever key that is.
pub fn access_key(user: &AppName) -> ResourceId {
    ResourceId::new(ACCESS_KEY, user)
}

/// One particular access key of an app.
pub fn one_access_key(user: &AppName, access_key_id: &str) -> ResourceId {
    ResourceId::new(ACCESS_KEY, format_args!("{user}/{access_key_id}"))
}

pub fn group(name: &GroupName) -> ResourceId {
    ResourceId::new(GROUP, name)
}

/// A group of people in an account's set-up.
pub fn account_group(name: &GroupName) -> ResourceId {
    ResourceId::new(ACCOUNT_GROUP, name)
}

/// The console password of a user.
pub fn login_profile(user: &AppName) -> ResourceId {
    ResourceId::new(LOGIN_PROFILE, user)
}

/// A user's membership of a group.
pub fn membership(group: &str, user: &AppName) -> ResourceId {
    ResourceId::new(MEMBERSHIP, format_args!("{group}/{user}"))
}

pub fn bucket(name: &BucketName) -> ResourceId {
    ResourceId::new(BUCKET, name)
}

pub fn repository(region: &Region, name: &RepositoryName) -> ResourceId {
    ResourceId::new(REPOSITORY, format_args!("{region}/{name}"))
}

/// The OIDC provider of an issuer, without `https://`.
pub fn oidc_provider(issuer: &str) -> ResourceId {
    ResourceId::new(OIDC_PROVIDER, issuer)
}

pub fn role(name: &str) -> ResourceId {
    ResourceId::new(ROLE, name)
}

/// A policy that is written on a role itself.
pub fn role_policy(role: &str, policy: &str) -> ResourceId {
    ResourceId::new(ROLE_POLICY, format_args!("{role}/{policy}"))
}

pub fn instance_profile(name: &str) -> ResourceId {
    ResourceId::new(INSTANCE_PROFILE, name)
}
