//! The IAM role of a keyless identity, with its trust policy.
//!
//! Invariants:
//! - A role that does not carry the app's tag is foreign: nobody is let in and nothing is granted, unless it is adopted.
//! - The trust policy is exactly that of the spec. Documents are compared by meaning.

use super::role_change::{Call, RoleChange};
use super::{oidc_provider, usage};
use crate::aws::{AwsError, ErrorKind, Service};
use crate::domain::identity::{IdentitySettings, Subject};
use crate::domain::identity_policy::{token_issuer, trust};
use crate::domain::job::JobResult;
use crate::domain::names::{IamPath, Region};
use crate::domain::resource_id::ResourceId;
use crate::domain::spec::{AppSpec, ListEntry, SpecList};
use crate::domain::trust_policy::TrustPolicy;
use crate::provision::change::{Applied, Changes, Observation, Want};
use crate::provision::context::ReconcileContext;
use crate::provision::conventions::Conventions;
use crate::provision::fault::Fault;
use crate::provision::iam_role::{self, SeenRole};
use crate::provision::ids;
use crate::provision::ownership;
use crate::provision::permission::{Condition, Permission, Scope};
use crate::provision::render::dotenv::Variables;
use crate::provision::render::labels::Labels;
use crate::provision::render::{cloudformation, terraform};
use crate::provision::resource::Resource;
use crate::provision::tags::{self, Tags};

/// The role of an identity.
#[derive(Debug, Clone)]
pub struct Role {
    name: String,
    path: IamPath,
    region: Region,
    subject: Subject,
    trust: TrustPolicy,
    tags: Tags,
    arn: String,
    /// The OIDC provider that its trust policy names.
    provider: Option<ResourceId>,
}

impl Resource for Role {
    type Observed = SeenRole;
    type Change = RoleChange;

    const KIND: &'static str = ids::ROLE;
    const PERMISSIONS: &'static [Permission] = &[
        Permission::read(Service::Iam, "GetRole", &["iam:GetRole"], Scope::AnyRole),
        Permission::read(
            Service::Iam,
            "ListAttachedRolePolicies",
            &["iam:ListAttachedRolePolicies"],
            Scope::AnyRole,
        ),
        Permission::read(
            Service::Iam,
            "ListRolePolicies",
            &["iam:ListRolePolicies"],
            Scope::AnyRole,
        ),
        Permission::change(
            Service::Iam,
            "CreateRole",
            &["iam:CreateRole", "iam:TagRole"],
            Scope::Roles,
        ),
        Permission::change(Service::Iam, "TagRole", &["iam:TagRole"], Scope::Roles),
        Permission::change(
            Service::Iam,
            "UpdateAssumeRolePolicy",
            &["iam:UpdateAssumeRolePolicy"],
            Scope::Roles,
        )
        .only(Condition::OnOurs),
        Permission::change(Service::Iam, "UntagRole", &["iam:UntagRole"], Scope::Roles)
            .only(Condition::OnOurs),
        Permission::change(
            Service::Iam,
            "DetachRolePolicy",
            &["iam:DetachRolePolicy"],
            Scope::Roles,
        )
        .only(Condition::OnOurs),
        Permission::change(
            Service::Iam,
            "DeleteRole",
            &["iam:DeleteRole"],
            Scope::Roles,
        )
        .only(Condition::OnOurs),
    ];
    const SPEC_LIST: Option<SpecList> = Some(SpecList::of::<IdentitySettings>());
    const VARIABLES: Option<Variables> = Some(Variables {
        first: "IAM_ROLE_ARN",
        all: "IAM_ROLE_ARNS",
    });

    fn wanted(spec: &AppSpec, c: &Conventions) -> Vec<Self> {
        let of_identity = |(entry, settings): (&ListEntry, IdentitySettings)| {
            let subject = settings.subject()?;
            let provider = token_issuer(&subject).map(|(issuer, _)| ids::oidc_provider(&issuer));
            Some(Self {
                name: entry.name.clone(),
                path: c.iam_path.clone(),
                region: entry.region.clone(),
                trust: trust(&subject, oidc_provider::place(c), &entry.region),
                subject,
                tags: tags::wanted(spec, c),
                arn: format!(
                    "arn:{}:iam::{}:role{}{}",
                    c.partition, c.account_id, c.iam_path, entry.name
                ),
                provider,
            })
        };
        super::of(spec)
            .into_iter()
            .filter_map(of_identity)
            .collect()
    }

    fn id(&self) -> ResourceId {
        ids::role(&self.name)
    }

    fn needs(&self) -> Vec<ResourceId> {
        self.provider.iter().cloned().collect()
    }

    fn add_to_result(&self, arn: Option<&str>, c: &Conventions, result: &mut JobResult) {
        let arn = arn.unwrap_or(&self.arn);
        let mut values = usage::of(&self.subject, &self.name, arn, &self.region);
        if self.subject == Subject::Ec2 {
            let profile = super::instance_profile_arn(&self.name, c);
            values.push(("instance_profile_arn", profile));
        }
        let values = values.into_iter().map(|(name, it)| (name.to_owned(), it));
        result
            .lists
            .entry(AppSpec::IDENTITIES.to_owned())
            .or_default()
            .push(values.collect());
    }

    fn variable(&self, _: &Conventions) -> Option<String> {
        Some(self.arn.clone())
    }

    fn create_first(&self, cx: &ReconcileContext) -> bool {
        cx.request.create_first
    }

    async fn observe(&self, cx: &ReconcileContext) -> Result<Observation<SeenRole>, Fault> {
        let mut seen = iam_role::look(cx, &self.name).await?;
        if let (Want::Absent, Observation::Ours(role)) = (cx.want, &mut seen)
            && !ownership::is_left(cx, role.made_by_us)
        {
            role.dependencies = iam_role::dependencies(cx, &self.name).await?;
        }
        Ok(seen)
    }

    fn plan(&self, seen: Option<&SeenRole>) -> Result<Changes<RoleChange>, Fault> {
        let Some(seen) = seen else {
            let create = Call::Create {
                path: self.path.clone(),
                trust: self.trust.clone(),
                tags: self.tags.clone(),
            };
            return Ok(self.changes(vec![create]));
        };
        if seen.name != self.name {
            return Err(Fault::same_in_other_case("Role", &self.name, &seen.name));
        }
        let mut calls = Vec::new();
        let tags = tags::missing(&self.tags, &seen.tags, seen.made_by_us);
        if !tags.is_empty() {
            let before = seen.tags.clone();
            calls.push(Call::Tag { tags, before });
        }
        if !seen.dropped.is_empty() {
            calls.push(Call::Untag(seen.dropped.clone()));
        }
        let is_same = seen
            .trust
            .as_ref()
            .is_some_and(|trust| trust.same_meaning(&self.trust));
        if !is_same {
            calls.push(Call::Trust {
                before: seen.trust.clone(),
                after: self.trust.clone(),
            });
        }
        Ok(self.changes(calls))
    }

    fn plan_absent(
        &self,
        cx: &ReconcileContext,
        seen: &SeenRole,
    ) -> Result<Changes<RoleChange>, Fault> {
        if ownership::is_left(cx, seen.made_by_us) {
            let keys = tags::ours(&seen.tags);
            let untag = (!keys.is_empty()).then_some(Call::Untag(keys));
            return Ok(Changes::of(self.of_calls(untag)));
        }
        let taken = seen.dependencies.iter().cloned().map(Call::Take);
        Ok(Changes::of(self.of_calls(taken.chain([Call::Delete]))))
    }

    async fn apply(&self, cx: &ReconcileContext, change: &RoleChange) -> Result<Applied, Fault> {
        let iam = cx.account.iam();
        match &change.call {
            Call::Create { path, trust, tags } => {
                return self.create(cx, path, trust, tags).await;
            }
            Call::Trust { after, .. } => {
                let call = iam
                    .update_assume_role_policy()
                    .role_name(&self.name)
                    .policy_document(after.to_document())
                    .send();
                let answer = cx.call(Service::Iam, "UpdateAssumeRolePolicy", call).await;
                answer.map_err(|error| self.not_trusted(cx, error))?;
            }
            Call::Tag { tags, .. } => {
                let call = iam
                    .tag_role()
                    .role_name(&self.name)
                    .set_tags(Some(tags::iam_tags(tags)?))
                    .send();
                let answer = cx.call(Service::Iam, "TagRole", call).await;
                answer.map_err(|error| cx.missing_after_create(&self.id(), error))?;
                cx.note_unsettled(self.id());
            }
            Call::Untag(keys) => {
                let call = iam
                    .untag_role()
                    .role_name(&self.name)
                    .set_tag_keys(Some(keys.clone()))
                    .send();
                cx.call(Service::Iam, "UntagRole", call).await?;
            }
            Call::Take(dependency) => return dependency.take(cx, &self.name).await,
            Call::Delete => {
                let call = iam.delete_role().role_name(&self.name).send();
                return cx.deleted(
                    &self.id(),
                    cx.call(Service::Iam, "DeleteRole", call).await,
                    "Remove the role from its instance profiles",
                );
            }
        }
        Ok(Applied::Done)
    }

    /// What AWS cannot check, people have to.
    async fn preflight_warnings(
        &self,
        cx: &ReconcileContext,
        _seen: Option<&SeenRole>,
    ) -> Result<Vec<String>, Fault> {
        let warning = match &self.subject {
            Subject::Gitlab {
                project,
                project_id,
                git_ref,
            } if cx.want == Want::Present => Some(format!(
                "AWS cannot check the ID {project_id} of GitLab project {project}: role {} trusts whoever has this path. Keep the path, and protect {git_ref}.",
                self.name
            )),
            _ => None,
        };
        Ok(warning.into_iter().collect())
    }

    fn arn(&self, _: &Conventions) -> Option<String> {
        Some(self.arn.clone())
    }

    fn terraform(&self, seen: &SeenRole, _labels: &Labels) -> Vec<terraform::Piece> {
        let role = terraform::Thing::new("aws_iam_role", &seen.name)
            .set("name", seen.name.as_str())
            .set("path", seen.path.as_str())
            .document(
                "assume_role_policy",
                seen.trust.as_ref().unwrap_or(&self.trust),
            );
        let ignored = &[
            "description",
            "max_session_duration",
            "permissions_boundary",
        ];
        vec![role.tags(&seen.tags).leaving(ignored).into()]
    }

    fn cloudformation(&self, seen: &SeenRole, _labels: &Labels) -> Vec<cloudformation::Entry> {
        let trust = seen.trust.as_ref().unwrap_or(&self.trust);
        let role = cloudformation::Thing::new("AWS::IAM::Role", "RoleName", &seen.name)
            .set("RoleName", seen.name.as_str())
            .set("Path", seen.path.as_str())
            .set("AssumeRolePolicyDocument", serde_json::json!(trust));
        vec![cloudformation::Entry::Thing(role.tags(&seen.tags))]
    }
}

impl Role {
    fn of_calls(&self, calls: impl IntoIterator<Item = Call>) -> Vec<RoleChange> {
        let change = |call| RoleChange {
            role: self.name.clone(),
            call,
        };
        calls.into_iter().map(change).collect()
    }

    fn changes(&self, calls: Vec<Call>) -> Changes<RoleChange> {
        Changes::of(self.of_calls(calls))
    }

    async fn create(
        &self,
        cx: &ReconcileContext,
        path: &IamPath,
        trust: &TrustPolicy,
        tags: &Tags,
    ) -> Result<Applied, Fault> {
        let tags = tags::iam_tags(&ownership::on_creation(cx, tags))?;
        let call = cx
            .account
            .iam()
            .create_role()
            .role_name(&self.name)
            .path(path.as_str())
            .assume_role_policy_document(trust.to_document())
            .set_tags(Some(tags))
            .send();
        match cx.call(Service::Iam, "CreateRole", call).await {
            Ok(_) => {
                cx.note_created(self.id());
                Ok(Applied::Done)
            }
            Err(error) if error.kind == ErrorKind::AlreadyExists => Ok(Applied::MetExisting),
            Err(error) => Err(self.not_trusted(cx, error)),
        }
    }

    /// IAM refuses a trust policy that names a principal which it does not know yet.
    fn not_trusted(&self, cx: &ReconcileContext, error: AwsError) -> Fault {
        let young = self.provider.as_ref().filter(|id| cx.is_unsettled(id));
        match young {
            Some(provider) if error.code == "MalformedPolicyDocument" => Fault::Wait {
                why: format!("Waiting for AWS to propagate {provider}."),
                after: cx.timing.poll_delay,
            },
            _ => cx.missing_after_create(&self.id(), error),
        }
    }
}
