//! What the service's role must be allowed, gathered from the kinds.
//!
//! Invariant: an operation that no kind declares is not in the role's policy, and a refusal names the
//! action of the operation that was refused.

use serde_json::{Map, Value, json};

use crate::aws::Service;
use crate::provision::kinds::permissions;
use crate::provision::resource::Conventions;

/// The resources that an action is allowed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// AWS offers no narrower one.
    Everything,
    /// The group that marks app users.
    Group,
    /// Any group: an app's user may have been put into one by hand.
    AnyGroup,
    /// Users under the configured path.
    Users,
    /// Users under any path, to look at: IAM names a user that is not there without its path.
    AnyUser,
    /// The shared media policy and the scoped ones.
    Policies,
    /// Buckets.
    Buckets,
    /// What is in buckets.
    Objects,
    /// Repositories of this account.
    Repositories,
}

/// A condition on an allowed action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// None.
    Always,
    /// What is made carries our tag.
    TaggedOnCreation,
    /// What is touched carries our tag.
    OnOurs,
    /// Only the media policies are attached.
    MediaPoliciesOnly,
}

/// An AWS operation and what it takes.
#[derive(Debug, Clone, Copy)]
pub struct Permission {
    /// The service.
    pub service: Service,
    /// The API operation.
    pub operation: &'static str,
    /// The IAM actions it takes (Service Authorization Reference).
    pub actions: &'static [&'static str],
    /// On what.
    pub scope: Scope,
    /// When.
    pub condition: Condition,
}

impl Permission {
    /// An operation whose actions are allowed on `scope`.
    pub const fn new(
        service: Service,
        operation: &'static str,
        actions: &'static [&'static str],
        scope: Scope,
    ) -> Self {
        Self {
            service,
            operation,
            actions,
            scope,
            condition: Condition::Always,
        }
    }

    /// The same, under a condition.
    pub const fn only(self, condition: Condition) -> Self {
        Self { condition, ..self }
    }
}

/// Every operation of every kind.
pub fn all() -> impl Iterator<Item = &'static Permission> {
    permissions().into_iter().map(|(_, permission)| permission)
}

/// The actions that an operation takes.
pub fn actions_of(service: Service, operation: &str) -> Vec<&'static str> {
    let all = permissions();
    let found = all
        .iter()
        .find(|(_, p)| p.service == service && p.operation == operation);
    found.map(|(_, p)| p.actions.to_vec()).unwrap_or_default()
}

/// Whether what AWS knows of a thing decides if the role may call the operation on it: of users and groups their path, of
/// others the tags that the role's policy asks for.
pub fn is_limited(service: Service, operation: &str) -> bool {
    let by_tags = |p: &Permission| {
        p.service == service && p.operation == operation && p.condition == Condition::OnOurs
    };
    service == Service::Iam || all().any(by_tags)
}

/// Operations that change what AWS authorizes calls on a thing by, which it knows everywhere only after a while.
pub const CHANGES_OF_AUTHORIZATION: &[&str] = &[
    "CreateUser",
    "TagUser",
    "CreatePolicy",
    "TagPolicy",
    "CreateRepository",
    "TagResource",
];

/// The policy that the service's role needs, scoped to path and tags where AWS allows it.
pub fn role_policy(conventions: &Conventions) -> Value {
    let mut groups: Vec<(Scope, Condition, Vec<&str>)> = Vec::new();
    for (_, permission) in permissions() {
        let place = groups.iter_mut().find(|(scope, condition, _)| {
            (*scope, *condition) == (permission.scope, permission.condition)
        });
        match place {
            Some((_, _, actions)) => actions.extend(permission.actions),
            None => groups.push((
                permission.scope,
                permission.condition,
                permission.actions.to_vec(),
            )),
        }
    }
    let statements = groups.into_iter().map(|(scope, condition, mut actions)| {
        actions.sort_unstable();
        actions.dedup();
        let mut statement = Map::new();
        statement.insert("Effect".into(), json!("Allow"));
        statement.insert("Action".into(), json!(actions));
        statement.insert("Resource".into(), scope.resources(conventions));
        if let Some(condition) = condition.document(conventions) {
            statement.insert("Condition".into(), condition);
        }
        Value::Object(statement)
    });
    json!({"Version": "2012-10-17", "Statement": statements.collect::<Vec<_>>()})
}

impl Scope {
    fn resources(self, c: &Conventions) -> Value {
        let iam = format!("arn:{}:iam::{}", c.partition, c.account_id);
        match self {
            Self::Everything => json!("*"),
            Self::Group => json!(format!("{iam}:group/{}", c.group)),
            Self::AnyGroup => json!(format!("{iam}:group/*")),
            Self::Users => json!(format!("{iam}:user{}*", c.iam_path)),
            Self::AnyUser => json!(format!("{iam}:user/*")),
            // The shared one may sit under a path.
            Self::Policies => json!(
                ["policy/", "policy/*/"]
                    .map(|path| format!("{iam}:{path}{}", c.policy))
                    .into_iter()
                    .chain([format!("{iam}:policy/{}-*", c.policy)])
                    .collect::<Vec<_>>()
            ),
            Self::Buckets => json!(format!("arn:{}:s3:::*", c.partition)),
            Self::Objects => json!(format!("arn:{}:s3:::*/*", c.partition)),
            Self::Repositories => json!(format!(
                "arn:{}:ecr:*:{}:repository/*",
                c.partition, c.account_id
            )),
        }
    }
}

impl Condition {
    fn document(self, c: &Conventions) -> Option<Value> {
        match self {
            Self::Always => None,
            Self::TaggedOnCreation => {
                Some(json!({"Null": {"aws:RequestTag/slipway:app": "false"}}))
            }
            Self::OnOurs => Some(json!({"Null": {"aws:ResourceTag/slipway:app": "false"}})),
            Self::MediaPoliciesOnly => {
                Some(json!({"ArnLike": {"iam:PolicyARN": Scope::Policies.resources(c)}}))
            }
        }
    }
}
