//! What an app's user has and Slipway did not create: groups, policies, access keys, a console password.
//!
//! Invariants:
//! - Something unmanaged goes only when it is asked for by its id, and after everything that the spec asks for is
//!   there.
//! - What the spec asks for is not unmanaged, nor is a key that we have a record of, nor one that an interrupted
//!   attempt of ours may have made.
//! - It is no kind that a spec can ask for, so it is not in the list of kinds; what the role needs for it is said by
//!   the kinds whose things these are.

use crate::aws::Service;
use crate::clock::Timestamp;
use crate::domain::access_key::KeyRecords;
use crate::domain::iam_policy::is_aws_managed;
use crate::domain::names::{AccessKeyId, AppName, GroupName, PolicyName};
use crate::domain::resource_id::ResourceId;
use crate::domain::spec::AppSpec;
use crate::provision::change::{Applied, Want};
use crate::provision::context::ReconcileContext;
use crate::provision::conventions::Conventions;
use crate::provision::fault::Fault;
use crate::provision::ids;
use crate::provision::kinds::attachment::Attachment;
use crate::provision::kinds::graph;
use crate::provision::kinds::membership::Membership;
use crate::provision::node::Node;
use crate::provision::render::shell_words;
use crate::provision::resource::Resource as _;
use crate::provision::unmanaged_on_role;
use crate::provision::unmanaged_resource::{Holder, UnmanagedResource};
use crate::provision::user_dependencies;
use crate::provision::user_dependencies::UserDependency;
use crate::provision::user_keys;

const INLINE_POLICY: &str = "iam:inline-policy";
const LOGIN_PROFILE: &str = "iam:login-profile";

/// Something unmanaged, as people are told of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Extra {
    pub resource: ResourceId,
    /// The user or role that has it.
    pub of: ResourceId,
    /// What it is.
    pub detail: String,
    /// Since when it is there, where AWS tells.
    pub since: Option<Timestamp>,
}

impl Holder for AppName {
    type Dependency = UserDependency;

    const KIND: &'static str = "iam:unmanaged";

    fn id(&self) -> ResourceId {
        ids::user(self)
    }

    async fn unmanaged(
        &self,
        cx: &ReconcileContext,
        id: &ResourceId,
    ) -> Result<Vec<UserDependency>, Fault> {
        let records = cx.keys.records().await?;
        let mut seen = user_dependencies::of(cx, self).await?;
        seen.retain(|it| id_of(self, it).is_some_and(|it| it == *id) && !is_of_ours(it, &records));
        Ok(seen)
    }

    fn told(&self, dependency: &UserDependency) -> String {
        told(self, dependency)
    }

    fn removal(&self, dependency: &UserDependency) -> String {
        dependency.removal(self)
    }

    fn aws_cli(&self, dependency: &UserDependency) -> String {
        dependency.aws_cli(self)
    }

    async fn take(
        &self,
        cx: &ReconcileContext,
        dependency: &UserDependency,
    ) -> Result<Applied, Fault> {
        dependency.take(cx, self).await
    }
}

/// The node that takes away what an id names; `None` if that is nothing unmanaged on this app's user or roles.
pub fn node(id: &ResourceId, spec: &AppSpec, conventions: &Conventions) -> Option<Box<dyn Node>> {
    let Some(resource) = parse(id, &spec.name) else {
        return unmanaged_on_role::node(id, spec, conventions);
    };
    if is_asked_for(&resource.id, spec, conventions) {
        return None;
    }
    Some(resource.removed())
}

/// Whether a spec asks for what an id names.
pub fn is_asked_for(id: &ResourceId, spec: &AppSpec, conventions: &Conventions) -> bool {
    names(&graph(spec, conventions, Want::Present), id)
}

fn names(spec: &[Box<dyn Node>], id: &ResourceId) -> bool {
    spec.iter().any(|node| node.id().is_same_in_iam(id))
}

/// Everything unmanaged on the app's user and on its roles.
///
/// # Errors
/// What AWS refused.
pub async fn extras(
    spec: &AppSpec,
    conventions: &Conventions,
    cx: &ReconcileContext,
    of_user: bool,
) -> Result<Vec<Extra>, Fault> {
    let mut extras = match of_user && spec.has_user() {
        true => extras_of_user(spec, conventions, cx).await?,
        false => Vec::new(),
    };
    let on_roles = unmanaged_on_role::extras(spec, conventions, cx).await?;
    extras.extend(on_roles.into_iter().map(|(of, resource, detail)| Extra {
        resource,
        of,
        detail,
        since: None,
    }));
    Ok(extras)
}

async fn extras_of_user(
    spec: &AppSpec,
    conventions: &Conventions,
    cx: &ReconcileContext,
) -> Result<Vec<Extra>, Fault> {
    let records = cx.keys.records().await?;
    let of_spec = graph(spec, conventions, Want::Present);
    let mut extras = Vec::new();
    for it in user_dependencies::of(cx, &spec.name).await? {
        let Some(resource) = id_of(&spec.name, &it) else {
            continue;
        };
        if is_of_ours(&it, &records) || names(&of_spec, &resource) {
            continue;
        }
        let (mut detail, mut since) = (told(&spec.name, &it), None);
        if let UserDependency::AccessKey(key) = &it {
            since = made_at(cx, &spec.name, key).await?;
            detail = format!("{detail} ({})", use_of(cx, key).await?);
        }
        extras.push(Extra {
            resource,
            of: ids::user(&spec.name),
            detail,
            since,
        });
    }
    Ok(extras)
}

/// The id in reports. What gives nobody access has none.
fn id_of(user: &AppName, it: &UserDependency) -> Option<ResourceId> {
    Some(match it {
        UserDependency::Group(name) => {
            ResourceId::new(Membership::KIND, format_args!("{name}/{user}"))
        }
        UserDependency::Attachment(arn) if is_aws_managed(arn) => ResourceId::new(
            Attachment::KIND,
            format_args!("aws/{}/{user}", name_of(arn)),
        ),
        UserDependency::Attachment(arn) => {
            ResourceId::new(Attachment::KIND, format_args!("{}/{user}", name_of(arn)))
        }
        UserDependency::InlinePolicy(name) => {
            ResourceId::new(INLINE_POLICY, format_args!("{name}/{user}"))
        }
        UserDependency::AccessKey(id) => ids::one_access_key(user, id),
        UserDependency::LoginProfile => ResourceId::new(LOGIN_PROFILE, user),
        UserDependency::MfaDevice(_)
        | UserDependency::SigningCertificate(_)
        | UserDependency::SshPublicKey(_)
        | UserDependency::ServiceCredential(_) => return None,
    })
}

/// What an id of [`id_of`] names on this user.
fn parse(id: &ResourceId, user: &AppName) -> Option<UnmanagedResource<AppName>> {
    let (kind, rest) = (id.kind(), id.name());
    let named = || {
        rest.split_once('/')
            .filter(|(_, whose)| *whose == user.as_str())
            .map(|(name, _)| name)
    };
    let of_aws = || {
        rest.strip_prefix("aws/")
            .and_then(|rest| rest.split_once('/'))
            .filter(|(_, whose)| *whose == user.as_str())
    };
    let valid = match kind {
        Attachment::KIND if of_aws().is_some() => {
            of_aws().is_some_and(|(name, _)| PolicyName::parse(name).is_ok())
        }
        Membership::KIND => named().is_some_and(|name| GroupName::parse(name).is_ok()),
        Attachment::KIND | INLINE_POLICY => {
            named().is_some_and(|name| PolicyName::parse(name).is_ok())
        }
        ids::ACCESS_KEY => rest
            .split_once('/')
            .is_some_and(|(whose, key)| whose == user.as_str() && AccessKeyId::parse(key).is_ok()),
        LOGIN_PROFILE => rest == user.as_str(),
        _ => false,
    };
    valid.then(|| UnmanagedResource {
        holder: user.clone(),
        id: id.clone(),
    })
}

/// A key that we have a record of, or that an attempt of ours may have made.
fn is_of_ours(it: &UserDependency, records: &KeyRecords) -> bool {
    let UserDependency::AccessKey(id) = it else {
        return false;
    };
    records.keys.iter().any(|(ours, _)| ours == id)
        || records
            .open
            .as_ref()
            .is_some_and(|intent| !intent.known_keys.contains(id))
}

fn told(user: &AppName, it: &UserDependency) -> String {
    match it {
        UserDependency::Group(name) => format!("User {user} is in group {name}"),
        UserDependency::Attachment(arn) => format!("Policy {arn} is attached to user {user}"),
        UserDependency::InlinePolicy(name) => format!("User {user} has inline policy {name}"),
        UserDependency::AccessKey(id) => format!("User {user} has access key {id}"),
        UserDependency::LoginProfile => format!("User {user} has a console password"),
        UserDependency::MfaDevice(serial) => format!("User {user} has MFA device {serial}"),
        UserDependency::SigningCertificate(id) => {
            format!("User {user} has signing certificate {id}")
        }
        UserDependency::SshPublicKey(id) => format!("User {user} has SSH public key {id}"),
        UserDependency::ServiceCredential(id) => {
            format!("User {user} has service-specific credential {id}")
        }
    }
}

fn name_of(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

async fn made_at(
    cx: &ReconcileContext,
    user: &AppName,
    key: &str,
) -> Result<Option<Timestamp>, Fault> {
    let keys = user_keys::list(cx, user).await?;
    let listed = keys.into_iter().find(|listed| listed.id == key);
    Ok(listed.and_then(|listed| listed.created_at))
}

async fn use_of(cx: &ReconcileContext, key: &str) -> Result<String, Fault> {
    let call = cx
        .account
        .iam()
        .get_access_key_last_used()
        .access_key_id(key)
        .send();
    let answer = cx.call(Service::Iam, "GetAccessKeyLastUsed", call).await?;
    Ok(match user_keys::last_use(answer) {
        Some(used) => format!(
            "last used {} with {} in {}",
            used.at,
            shell_words::word(&used.service),
            used.region
        ),
        None => "never used".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn belonging() -> impl Strategy<Value = UserDependency> {
        let name = "[A-Za-z0-9_+=,.@-]{1,64}";
        prop_oneof![
            name.prop_map(UserDependency::Group),
            name.prop_map(|name| UserDependency::Attachment(format!(
                "arn:aws:iam::aws:policy/job-function/{name}"
            ))),
            name.prop_map(|name| UserDependency::Attachment(format!(
                "arn:aws:iam::123456789012:policy/by/hand/{name}"
            ))),
            name.prop_map(UserDependency::InlinePolicy),
            "[A-Z0-9]{16,20}".prop_map(UserDependency::AccessKey),
            Just(UserDependency::LoginProfile),
        ]
    }

    proptest! {
        #[test]
        fn an_id_in_a_report_is_read_back_for_its_own_user_alone(it in belonging(), user in "[A-Za-z0-9][A-Za-z0-9_+=,.@-]{0,63}") {
            let user = AppName::parse(&user).unwrap();
            let other = AppName::parse(&format!("{:.60}-not", user.as_str())).unwrap();
            let id = id_of(&user, &it).unwrap();
            let parsed = parse(&id, &user).unwrap();
            prop_assert_eq!(&parsed.id, &id);
            prop_assert_eq!(parse(&id, &other), None);
        }
    }

    #[test]
    fn what_is_no_id_of_something_unmanaged_is_none() {
        let user = AppName::parse("acme").unwrap();
        for id in [
            "iam:user/acme",
            "iam:membership/admins",
            "iam:membership//acme",
            "iam:membership/a/b/acme",
            "iam:access-key/acme",
            "iam:access-key/acme/short",
            "iam:attachment/x/ACME",
            "iam:login-profile/other",
            "s3:bucket/acme",
        ] {
            assert_eq!(parse(&ResourceId::parse(id).unwrap(), &user), None, "{id}");
        }
    }

    #[test]
    fn a_policy_of_the_account_and_one_of_aws_by_the_same_name_are_two() {
        let user = AppName::parse("acme").unwrap();
        let id = |arn: &str| id_of(&user, &UserDependency::Attachment(arn.into())).unwrap();
        assert_eq!(
            id("arn:aws:iam::123456789012:policy/media/MediaManagement"),
            "iam:attachment/MediaManagement/acme"
        );
        assert_eq!(
            id("arn:aws:iam::aws:policy/MediaManagement"),
            "iam:attachment/aws/MediaManagement/acme"
        );
        assert_eq!(
            id("arn:aws-cn:iam::123456789012:policy/aws"),
            "iam:attachment/aws/acme"
        );
        for id in [
            "iam:attachment/aws/acme",
            "iam:attachment/aws/aws/acme",
            "iam:attachment/aws/MediaManagement/acme",
        ] {
            let id = ResourceId::parse(id).unwrap();
            assert_eq!(parse(&id, &user).unwrap().id, id);
        }
        let id = ResourceId::parse("iam:attachment/aws/x/y/acme").unwrap();
        assert_eq!(parse(&id, &user), None);
    }

    #[test]
    fn recorded_keys_and_those_of_an_open_intent_are_ours() {
        let (known_keys, at, met) = (
            vec!["OLD".into()],
            Timestamp::from_millis(0),
            tokio::time::Instant::now(),
        );
        let intent = crate::domain::access_key::Intent {
            id: ulid::Ulid::nil(),
            known_keys,
            at,
            met,
        };
        let records = KeyRecords {
            keys: vec![("OURS".into(), Timestamp::from_millis(0))],
            open: Some(intent),
            ..KeyRecords::default()
        };
        let ours = |id: &str| is_of_ours(&UserDependency::AccessKey(id.into()), &records);
        assert!(ours("OURS") && ours("IN-DOUBT") && !ours("OLD"));
        assert!(!is_of_ours(&UserDependency::LoginProfile, &records));
    }
}
