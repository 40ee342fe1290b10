//! Observes, plans and applies policies.

use serde_json::json;

use super::change::{DESCRIPTION, PolicyChange};
use super::state::{Policy, SeenPolicy};
use crate::aws::{CacheKey, ErrorKind, Service};
use crate::domain::iam_policy::PolicyDocument;
use crate::domain::resource_id::ResourceId;
use crate::domain::spec::{AppSpec, MediaAccess};
use crate::provision::change::{Applied, Changes, Observation};
use crate::provision::context::ReconcileContext;
use crate::provision::conventions::Conventions;
use crate::provision::fault::Fault;
use crate::provision::ownership;
use crate::provision::permission::{Condition, Permission, Scope};
use crate::provision::render::labels::Labels;
use crate::provision::render::{cloudformation, terraform};
use crate::provision::resource::Resource;
use crate::provision::tags::{self, Tags};

impl Resource for Policy {
    type Observed = SeenPolicy;
    type Change = PolicyChange;

    const KIND: &'static str = "iam:policy";
    const PERMISSIONS: &'static [Permission] = &[
        Permission::read(
            Service::Iam,
            "GetPolicy",
            &["iam:GetPolicy"],
            Scope::Policies,
        ),
        Permission::read(
            Service::Iam,
            "GetPolicyVersion",
            &["iam:GetPolicyVersion"],
            Scope::Policies,
        ),
        Permission::read(
            Service::Iam,
            "ListPolicyVersions",
            &["iam:ListPolicyVersions"],
            Scope::Policies,
        ),
        Permission::change(
            Service::Iam,
            "CreatePolicy",
            &["iam:CreatePolicy", "iam:TagPolicy"],
            Scope::Policies,
        ),
        Permission::change(
            Service::Iam,
            "CreatePolicyVersion",
            &["iam:CreatePolicyVersion"],
            Scope::Policies,
        )
        .only(Condition::OnOurs),
        Permission::change(
            Service::Iam,
            "DeletePolicyVersion",
            &["iam:DeletePolicyVersion"],
            Scope::Policies,
        )
        .only(Condition::OnOurs),
        Permission::change(
            Service::Iam,
            "TagPolicy",
            &["iam:TagPolicy"],
            Scope::Policies,
        ),
        Permission::change(
            Service::Iam,
            "UntagPolicy",
            &["iam:UntagPolicy"],
            Scope::Policies,
        )
        .only(Condition::OnOurs),
        Permission::change(
            Service::Iam,
            "DeletePolicy",
            &["iam:DeletePolicy"],
            Scope::Policies,
        )
        .only(Condition::OnOurs),
        Permission::read(
            Service::Iam,
            "ListPolicies",
            &["iam:ListPolicies"],
            Scope::Everything,
        ),
    ];

    fn wanted(spec: &AppSpec, conventions: &Conventions) -> Vec<Self> {
        if !spec.has_user() {
            return Vec::new();
        }
        let partition = conventions.partition.as_str();
        let buckets: Vec<_> = spec.buckets.iter().map(|bucket| &bucket.name).collect();
        let document = match spec.media_access {
            MediaAccess::Shared => Some(PolicyDocument::media_shared(partition)),
            MediaAccess::Scoped => PolicyDocument::media_scoped(partition, &buckets),
        };
        document
            .map(|document| Self::of_mode(spec.media_access, document, spec, conventions))
            .into_iter()
            .collect()
    }

    fn is_retained(id: &ResourceId, spec: &AppSpec, c: &Conventions) -> bool {
        // The shared policy belongs to the account.
        id.name() != c.policy.as_str() && id.name().ends_with(&format!("-{}", spec.name))
    }

    fn id(&self) -> ResourceId {
        ResourceId::new(Self::KIND, &self.name)
    }

    fn create_first(&self, cx: &ReconcileContext) -> bool {
        cx.request.create_first && self.tags.is_some()
    }

    async fn observe(&self, cx: &ReconcileContext) -> Result<Observation<SeenPolicy>, Fault> {
        if let Some(arn) = cx
            .account
            .cached(&CacheKey::Converged(self.id()))
            .filter(|_| self.tags.is_none())
        {
            let (document, description) = (Some(self.document.clone()), None);
            let (tags, old_versions) = (Tags::new(), Vec::new());
            return Ok(Observation::Ours(SeenPolicy {
                arn,
                description,
                document,
                tags,
                made_by_us: false,
                old_versions,
                dropped: Vec::new(),
            }));
        }
        let Some(seen) = self.look(cx).await? else {
            return Ok(Observation::Absent);
        };
        cx.note_arn(self.id(), &seen.arn);
        cx.account.cache(CacheKey::Exists(self.id()), &seen.arn);
        if self.tags.is_some() {
            return Ok(ownership::sort(cx, &self.id(), &seen.tags.clone(), seen));
        }
        // One that differs is looked at every time, so that every job tells of it.
        if seen
            .document
            .as_ref()
            .is_some_and(|document| document.same_meaning(&self.document))
        {
            cx.account.cache(CacheKey::Converged(self.id()), &seen.arn);
        }
        Ok(Observation::Ours(seen))
    }

    fn plan(&self, seen: Option<&SeenPolicy>) -> Result<Changes<PolicyChange>, Fault> {
        let Some(seen) = seen else {
            let create = PolicyChange::Create {
                name: self.name.clone(),
                document: self.document.clone(),
                tags: self.tags.clone(),
            };
            return Ok(Changes {
                changes: vec![create],
                warnings: self.warnings_of_mode(),
            });
        };
        let mut warnings = self.warnings_of_mode();
        let same = seen
            .document
            .as_ref()
            .is_some_and(|document| document.same_meaning(&self.document));
        let Some(tags) = &self.tags else {
            if !same {
                warnings.push(self.told_difference(seen));
            }
            return Ok(Changes {
                changes: Vec::new(),
                warnings,
            });
        };
        let mut changes = Vec::new();
        let missing = tags::missing(tags, &seen.tags, seen.made_by_us);
        if !missing.is_empty() {
            changes.push(PolicyChange::Tag {
                arn: seen.arn.clone(),
                tags: missing,
                before: seen.tags.clone(),
            });
        }
        if !seen.dropped.is_empty() {
            changes.push(PolicyChange::Untag {
                arn: seen.arn.clone(),
                keys: seen.dropped.clone(),
            });
        }
        if !same {
            changes.extend(seen.prune()?);
            changes.push(PolicyChange::Rewrite {
                arn: seen.arn.clone(),
                before: seen.document.clone(),
                after: self.document.clone(),
            });
        }
        Ok(Changes { changes, warnings })
    }

    /// A shared one is the account's.
    fn plan_absent(
        &self,
        cx: &ReconcileContext,
        seen: &SeenPolicy,
    ) -> Result<Changes<PolicyChange>, Fault> {
        if self.tags.is_none() {
            return Ok(Changes::of(Vec::new()));
        }
        let arn = seen.arn.clone();
        if ownership::is_left(cx, seen.made_by_us) {
            let keys = tags::ours(&seen.tags);
            return Ok(Changes::of(if keys.is_empty() {
                Vec::new()
            } else {
                vec![PolicyChange::Untag { arn, keys }]
            }));
        }
        let prune = |version: &String| PolicyChange::Prune {
            arn: arn.clone(),
            version: version.clone(),
        };
        let mut changes: Vec<PolicyChange> = seen.old_versions.iter().map(prune).collect();
        changes.push(PolicyChange::Delete { arn });
        Ok(Changes::of(changes))
    }

    async fn apply(&self, cx: &ReconcileContext, change: &PolicyChange) -> Result<Applied, Fault> {
        let iam = cx.account.iam();
        match change {
            PolicyChange::Create {
                name,
                document,
                tags,
            } => return self.create(cx, name, document, tags.as_ref()).await,
            PolicyChange::Prune { arn, version } => {
                return self.delete_version(cx, arn, version).await;
            }
            PolicyChange::Rewrite { arn, after, .. } => {
                return self.create_version(cx, arn, after).await;
            }
            PolicyChange::Delete { arn } => {
                let call = iam.delete_policy().policy_arn(arn).send();
                return cx.deleted(
                    &self.id(),
                    cx.call(Service::Iam, "DeletePolicy", call).await,
                    "Detach the policy from all other users, groups and roles",
                );
            }
            PolicyChange::Untag { arn, keys } => {
                let call = iam
                    .untag_policy()
                    .policy_arn(arn)
                    .set_tag_keys(Some(keys.clone()))
                    .send();
                cx.call(Service::Iam, "UntagPolicy", call).await?;
            }
            PolicyChange::Tag { arn, tags, .. } => {
                let call = iam
                    .tag_policy()
                    .policy_arn(arn)
                    .set_tags(Some(tags::iam_tags(tags)?))
                    .send();
                cx.call(Service::Iam, "TagPolicy", call).await?;
                cx.note_unsettled(self.id());
            }
        }
        Ok(Applied::Done)
    }

    fn arn(&self, _conventions: &Conventions) -> Option<String> {
        Some(self.default_arn.clone())
    }

    fn is_shared(&self) -> bool {
        self.tags.is_none()
    }

    fn terraform(&self, seen: &SeenPolicy, _labels: &Labels) -> Vec<terraform::Piece> {
        if self.is_shared() {
            return vec![terraform::Piece::Note(self.told_whose(seen))];
        }
        let document = seen.document.as_ref().unwrap_or(&self.document);
        let policy = terraform::Thing::new("aws_iam_policy", &seen.arn)
            .set("name", seen.name())
            .set("path", seen.path());
        let policy = match &seen.description {
            Some(description) => policy.set("description", description.as_str()),
            None => policy,
        };
        vec![policy.document("policy", document).tags(&seen.tags).into()]
    }

    fn cloudformation(&self, seen: &SeenPolicy, _labels: &Labels) -> Vec<cloudformation::Entry> {
        if self.is_shared() {
            return vec![cloudformation::Entry::Note(self.told_whose(seen))];
        }
        let document = seen.document.as_ref().unwrap_or(&self.document);
        let policy = cloudformation::Thing::new("AWS::IAM::ManagedPolicy", "PolicyArn", &seen.arn);
        let policy = policy
            .set("ManagedPolicyName", seen.name())
            .set("Path", seen.path())
            .set("PolicyDocument", json!(document));
        let policy = match &seen.description {
            Some(description) => policy.set("Description", description.as_str()),
            None => policy,
        };
        vec![cloudformation::Entry::Thing(policy)]
    }
}

impl Policy {
    async fn create(
        &self,
        cx: &ReconcileContext,
        name: &str,
        document: &PolicyDocument,
        tags: Option<&Tags>,
    ) -> Result<Applied, Fault> {
        let tags = tags
            .map(|tags| tags::iam_tags(&ownership::on_creation(cx, tags)))
            .transpose()?;
        let call = cx
            .account
            .iam()
            .create_policy()
            .policy_name(name)
            .description(DESCRIPTION);
        let call = call
            .policy_document(document.to_document())
            .set_tags(tags)
            .send();
        match cx.call(Service::Iam, "CreatePolicy", call).await {
            Ok(answer) => {
                let arn = answer
                    .policy
                    .and_then(|policy| policy.arn)
                    .unwrap_or_else(|| self.default_arn.clone());
                cx.note_created(self.id());
                cx.account.cache(CacheKey::Converged(self.id()), &arn);
                cx.account.cache(CacheKey::Exists(self.id()), arn);
                Ok(Applied::Done)
            }
            Err(error) if error.kind == ErrorKind::AlreadyExists => Ok(Applied::MetExisting),
            Err(error) => Err(error.into()),
        }
    }

    fn warnings_of_mode(&self) -> Vec<String> {
        let Some(_) = self.tags else {
            let name = &self.name;
            return vec![format!(
                "The shared policy {name} grants access to every bucket in the account. Set `media_access: scoped` to restrict the app to its own buckets."
            )];
        };
        Vec::new()
    }

    fn told_difference(&self, seen: &SeenPolicy) -> String {
        let difference = match &seen.document {
            Some(document) => self.document.difference(document).join("; "),
            None => "its document cannot be parsed".to_owned(),
        };
        format!(
            "Policy {} in this account differs from the guide's policy and is left unchanged: {difference}.",
            seen.arn
        )
    }

    fn told_whose(&self, seen: &SeenPolicy) -> String {
        format!(
            "Policy {} is shared by all apps in the account. This export refers to it, but does not manage it.",
            seen.arn
        )
    }
}
