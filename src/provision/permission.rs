//! The permissions that the service's role needs for one AWS operation.

use serde_json::{Value, json};

use crate::aws::{Effect, Service};
use crate::provision::conventions::Conventions;

/// The resources that an action is allowed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All resources: AWS supports no narrower scope for the action.
    Everything,
    Group,
    /// Any group, because an app's user may have been added to one manually.
    AnyGroup,
    /// Groups under the configured path, which are those of people.
    GroupsOfPeople,
    /// Users under the configured path.
    Users,
    /// Users under any path, for reads: IAM names a user that does not exist without its path.
    AnyUser,
    /// Roles under the configured path.
    Roles,
    /// Roles under any path, for reads: IAM names a role that does not exist without its path.
    AnyRole,
    /// Instance profiles under the configured path.
    InstanceProfiles,
    /// Instance profiles under any path, for reads.
    AnyInstanceProfile,
    /// Roles and instance profiles under the configured path: a role is passed to EC2 by an instance profile.
    RolesAndInstanceProfiles,
    /// OIDC providers, which everybody in the account shares.
    OidcProviders,
    /// The shared media policy and the scoped ones.
    Policies,
    Buckets,
    /// Objects in buckets.
    Objects,
    /// Resources of a service in every region of this account, such as `repository/*` of `ecr`.
    InEveryRegion {
        service: &'static str,
        resources: &'static str,
    },
}

/// A condition on an allowed action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// No condition.
    Always,
    /// The created resource has Slipway's tag.
    TaggedOnCreation,
    /// The changed resource has Slipway's tag.
    OnOurs,
    /// Only media policies can be attached.
    MediaPoliciesOnly,
    /// A role that is passed is passed to EC2 only.
    PassedToEc2,
    /// Only the policies of AWS itself can be attached.
    PoliciesOfAwsOnly,
    /// Only the policy that lets a user change its own password can be attached.
    ChangePasswordOnly,
}

/// An AWS operation and the permissions that it requires.
#[derive(Debug, Clone, Copy)]
pub struct Permission {
    pub service: Service,
    pub operation: &'static str,
    /// The IAM actions that it requires (Service Authorization Reference).
    pub actions: &'static [&'static str],
    /// Changes are audited, reads are not.
    pub effect: Effect,
    /// The resources.
    pub scope: Scope,
    /// The condition.
    pub condition: Condition,
}

impl Permission {
    /// An operation that changes nothing, and whose actions are allowed on `scope`.
    pub const fn read(
        service: Service,
        operation: &'static str,
        actions: &'static [&'static str],
        scope: Scope,
    ) -> Self {
        Self {
            service,
            operation,
            actions,
            effect: Effect::Read,
            scope,
            condition: Condition::Always,
        }
    }

    /// An operation that changes something, and whose actions are allowed on `scope`.
    pub const fn change(
        service: Service,
        operation: &'static str,
        actions: &'static [&'static str],
        scope: Scope,
    ) -> Self {
        Self {
            effect: Effect::Change,
            ..Self::read(service, operation, actions, scope)
        }
    }

    /// The same, under a condition.
    pub const fn only(self, condition: Condition) -> Self {
        Self { condition, ..self }
    }
}

/// Operations that change the attributes by which AWS authorizes calls, which takes time to propagate.
pub const CHANGES_OF_AUTHORIZATION: &[&str] = &[
    "CreateUser",
    "TagUser",
    "CreateRole",
    "TagRole",
    "CreateInstanceProfile",
    "TagInstanceProfile",
    "CreatePolicy",
    "TagPolicy",
    "CreateRepository",
    "TagResource",
];

impl Scope {
    pub const REPOSITORIES: Self = Self::InEveryRegion {
        service: "ecr",
        resources: "repository/*",
    };

    /// The `Resource` element of a policy statement.
    pub fn resources(self, c: &Conventions) -> Value {
        let iam = format!("arn:{}:iam::{}", c.partition, c.account_id);
        match self {
            Self::Everything => json!("*"),
            Self::Group => json!(format!("{iam}:group/{}", c.group)),
            Self::AnyGroup => json!(format!("{iam}:group/*")),
            Self::GroupsOfPeople => json!(format!("{iam}:group{}*", c.iam_path)),
            Self::Users => json!(format!("{iam}:user{}*", c.iam_path)),
            Self::AnyUser => json!(format!("{iam}:user/*")),
            Self::Roles => json!(format!("{iam}:role{}*", c.iam_path)),
            Self::AnyRole => json!(format!("{iam}:role/*")),
            Self::InstanceProfiles => json!(format!("{iam}:instance-profile{}*", c.iam_path)),
            Self::AnyInstanceProfile => json!(format!("{iam}:instance-profile/*")),
            Self::RolesAndInstanceProfiles => {
                let kinds = ["instance-profile", "role"];
                json!(kinds.map(|kind| format!("{iam}:{kind}{}*", c.iam_path)))
            }
            Self::OidcProviders => json!(format!("{iam}:oidc-provider/*")),
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
            Self::InEveryRegion { service, resources } => json!(format!(
                "arn:{}:{service}:*:{}:{resources}",
                c.partition, c.account_id
            )),
        }
    }
}

impl Condition {
    /// EC2 as IAM names it.
    pub fn ec2(c: &Conventions) -> &'static str {
        match c.partition.as_str() {
            "aws-cn" => "ec2.amazonaws.com.cn",
            _ => "ec2.amazonaws.com",
        }
    }

    /// The `Condition` element of a policy statement.
    pub fn document(self, c: &Conventions) -> Option<Value> {
        match self {
            Self::Always => None,
            Self::TaggedOnCreation => {
                Some(json!({"Null": {"aws:RequestTag/slipway:app": "false"}}))
            }
            Self::OnOurs => Some(json!({"Null": {"aws:ResourceTag/slipway:app": "false"}})),
            Self::MediaPoliciesOnly => {
                Some(json!({"ArnLike": {"iam:PolicyARN": Scope::Policies.resources(c)}}))
            }
            // Only the call that passes a role has the key.
            Self::PassedToEc2 => {
                Some(json!({"StringEqualsIfExists": {"iam:PassedToService": Self::ec2(c)}}))
            }
            Self::PoliciesOfAwsOnly => {
                let all = format!("arn:{}:iam::aws:policy/*", c.partition);
                Some(json!({"ArnLike": {"iam:PolicyARN": all}}))
            }
            Self::ChangePasswordOnly => {
                let policy = format!("arn:{}:iam::aws:policy/IAMUserChangePassword", c.partition);
                Some(json!({"ArnEquals": {"iam:PolicyARN": policy}}))
            }
        }
    }
}
