//! The media policy: the account's shared one, or the app's scoped one.
//!
//! Invariants:
//! - A shared policy that is there is kept: what differs is told, never overwritten.
//! - A scoped policy is its app's own, and follows the spec; old versions are pruned to make room.

use std::fmt;

use aws_config::retry::RetryConfig;
use aws_sdk_iam::types::PolicyScopeType;
use serde_json::{Value, json};

use crate::aws::{AwsError, CacheKey, ErrorKind, Service};
use crate::domain::iam_policy::PolicyDocument;
use crate::domain::job::{JobError, JobErrorCode};
use crate::domain::plan::Action;
use crate::domain::resource_id::ResourceId;
use crate::domain::spec::{AppSpec, MediaAccess};
use crate::provision::change::{Applied, Change, Changes, Observation};
use crate::provision::context::ReconcileContext;
use crate::provision::conventions::Conventions;
use crate::provision::fault::{Fault, found};
use crate::provision::ownership;
use crate::provision::permission::{Condition, Permission, Scope};
use crate::provision::render::labels::Labels;
use crate::provision::render::shell_words;
use crate::provision::render::{cloudformation, terraform};
use crate::provision::resource::Resource;
use crate::provision::tags::{self, Tags};

/// The description of the policy in the guide.
const DESCRIPTION: &str = "Grants access to S3 buckets and objects";
/// The maximum number of versions of a managed policy (IAM quotas).
const MAX_VERSIONS: usize = 5;

/// A media policy.
#[derive(Debug, Clone)]
pub struct Policy {
    name: String,
    document: PolicyDocument,
    default_arn: String,
    /// `None` for the shared policy, which belongs to the account.
    tags: Option<Tags>,
}

/// The observed policy.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenPolicy {
    arn: String,
    description: Option<String>,
    /// The document of the default version. `None` if it cannot be parsed.
    document: Option<PolicyDocument>,
    tags: Tags,
    made_by_us: bool,
    /// Versions other than the default version, oldest first.
    old_versions: Vec<String>,
    /// Tags that the spec no longer includes.
    dropped: Vec<String>,
}

/// What changes a policy.
#[derive(Debug, Clone, PartialEq)]
pub enum PolicyChange {
    /// `CreatePolicy`.
    Create {
        name: String,
        document: PolicyDocument,
        /// The tags of a scoped policy.
        tags: Option<Tags>,
    },
    /// `DeletePolicyVersion`, to make room for a new version.
    Prune {
        arn: String,
        /// The oldest version that is not the default version.
        version: String,
    },
    /// `CreatePolicyVersion`, which sets the new default version.
    Rewrite {
        arn: String,
        /// The current document.
        before: Option<PolicyDocument>,
        /// The new document.
        after: PolicyDocument,
    },
    /// `DeletePolicy`.
    Delete { arn: String },
    /// `UntagPolicy`.
    Untag {
        arn: String,
        /// The keys of the tags to remove.
        keys: Vec<String>,
    },
    /// `TagPolicy`.
    Tag {
        arn: String,
        /// The tags to set.
        tags: Tags,
        /// The tags that are there.
        before: Tags,
    },
}

impl fmt::Display for PolicyChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create { name, .. } => write!(f, "create policy {name}"),
            Self::Prune { arn, version } => write!(f, "delete the old version {version} of {arn}"),
            Self::Rewrite { arn, .. } => write!(f, "set a new default version of {arn}"),
            Self::Delete { arn } => write!(f, "delete policy {arn}"),
            Self::Untag { arn, keys } => write!(f, "untag {arn}: {}", keys.join(", ")),
            Self::Tag { arn, tags, .. } => write!(
                f,
                "tag {arn} with {}",
                tags.keys().cloned().collect::<Vec<_>>().join(", ")
            ),
        }
    }
}

impl Change for PolicyChange {
    fn action(&self) -> Action {
        match self {
            Self::Create { .. } => Action::Create,
            Self::Prune { .. } | Self::Delete { .. } => Action::Delete,
            Self::Rewrite { .. } | Self::Tag { .. } | Self::Untag { .. } => Action::Update,
        }
    }

    fn before(&self) -> Option<Value> {
        match self {
            Self::Rewrite { before, .. } => before.as_ref().map(|document| json!(document)),
            Self::Tag { before, .. } => Some(json!({"tags": before})),
            _ => None,
        }
    }

    fn after(&self) -> Option<Value> {
        match self {
            Self::Create { document, .. } => Some(json!(document)),
            Self::Rewrite { after, .. } => Some(json!(after)),
            Self::Tag { tags, before, .. } => Some(json!({"tags": tags::over(before, tags)})),
            Self::Prune { .. } | Self::Delete { .. } | Self::Untag { .. } => None,
        }
    }

    fn aws_cli(&self) -> String {
        match self {
            Self::Create {
                name,
                document,
                tags,
            } => {
                let tags = tags
                    .as_ref()
                    .map(|tags| format!(" --tags {}", tags::shorthand(tags)))
                    .unwrap_or_default();
                format!(
                    "aws iam create-policy --policy-name {} --description {} --policy-document {}{tags}",
                    shell_words::word(name),
                    shell_words::word(DESCRIPTION),
                    shell_words::document(document)
                )
            }
            Self::Delete { arn } => format!(
                "aws iam delete-policy --policy-arn {}",
                shell_words::word(arn)
            ),
            Self::Untag { arn, keys } => {
                format!(
                    "aws iam untag-policy --policy-arn {} --tag-keys {}",
                    shell_words::word(arn),
                    shell_words::words(keys)
                )
            }
            Self::Prune { arn, version } => {
                format!(
                    "aws iam delete-policy-version --policy-arn {} --version-id {}",
                    shell_words::word(arn),
                    shell_words::word(version)
                )
            }
            Self::Rewrite { arn, after, .. } => format!(
                "aws iam create-policy-version --set-as-default --policy-arn {} --policy-document {}",
                shell_words::word(arn),
                shell_words::document(after)
            ),
            Self::Tag { arn, tags, .. } => {
                format!(
                    "aws iam tag-policy --policy-arn {} --tags {}",
                    shell_words::word(arn),
                    tags::shorthand(tags)
                )
            }
        }
    }
}

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
                let call = iam
                    .delete_policy_version()
                    .policy_arn(arn)
                    .version_id(version)
                    .send();
                match cx.call(Service::Iam, "DeletePolicyVersion", call).await {
                    // Lists of versions may be older than this for a while.
                    Ok(_) => cx.note_unsettled(self.id()),
                    Err(error) if error.kind == ErrorKind::NotFound => {}
                    Err(error) => return Err(error.into()),
                }
            }
            PolicyChange::Rewrite { arn, after, .. } => {
                // A second attempt after a lost answer would make a second version, or find no room for one.
                let once =
                    aws_sdk_iam::config::Config::builder().retry_config(RetryConfig::disabled());
                let call = iam
                    .create_policy_version()
                    .policy_arn(arn)
                    .policy_document(after.to_document())
                    .set_as_default(true);
                let call = call.customize().config_override(once).send();
                let answer = cx.call(Service::Iam, "CreatePolicyVersion", call).await;
                answer.map_err(|error| self.not_rewritten(cx, error))?;
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
    /// The media policy of each mode, whether or not the spec asks for it: told by name, with a document that is not for use.
    pub fn of_each_mode(spec: &AppSpec, conventions: &Conventions) -> [Self; 2] {
        let document = || PolicyDocument::media_shared(&conventions.partition);
        [MediaAccess::Shared, MediaAccess::Scoped]
            .map(|mode| Self::of_mode(mode, document(), spec, conventions))
    }

    fn of_mode(
        mode: MediaAccess,
        document: PolicyDocument,
        spec: &AppSpec,
        conventions: &Conventions,
    ) -> Self {
        let (name, tags) = match mode {
            MediaAccess::Shared => (conventions.policy.to_string(), None),
            MediaAccess::Scoped => (
                format!("{}-{}", conventions.policy, spec.name),
                Some(tags::wanted(spec, conventions)),
            ),
        };
        let default_arn = format!(
            "arn:{}:iam::{}:policy/{name}",
            conventions.partition, conventions.account_id
        );
        Self {
            name,
            document,
            default_arn,
            tags,
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its ARN, unless it was made under a path by somebody else.
    pub fn default_arn(&self) -> &str {
        &self.default_arn
    }

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

    /// What follows from a version that was not made, or may have been: the plan has seen room for it, so a list that is older than
    /// the last change of ours was wrong about that.
    fn not_rewritten(&self, cx: &ReconcileContext, error: AwsError) -> Fault {
        if error.kind == ErrorKind::Quota && cx.is_unsettled(&self.id()) {
            return Fault::Wait {
                why: error.to_string(),
                after: cx.timing.poll_delay,
            };
        }
        if !error.had_no_effect() {
            cx.note_unsettled(self.id());
        }
        error.into()
    }

    /// The policy at the ARN that it should have, or anywhere else in the account by its name.
    async fn look(&self, cx: &ReconcileContext) -> Result<Option<SeenPolicy>, Fault> {
        let policy = match get(cx, &self.default_arn).await? {
            Some(policy) => policy,
            None => match self.find_listed(cx).await? {
                Some(policy) => policy,
                None => return Ok(None),
            },
        };
        let arn = policy.arn().unwrap_or(&self.default_arn).to_owned();
        let tags = policy
            .tags()
            .iter()
            .map(|tag| (tag.key().to_owned(), tag.value().to_owned()))
            .collect();
        let made_by_us = ownership::is_created_by_app(cx, &self.id(), &tags);
        if made_by_us {
            cx.note_created_at(self.id(), policy.create_date());
        }
        let document = self
            .document_of(cx, &arn, policy.default_version_id().unwrap_or("v1"))
            .await?;
        let old_versions = if self.tags.is_some() {
            old_versions(cx, &arn).await?
        } else {
            Vec::new()
        };
        let dropped = ownership::dropped(cx, &tags);
        let description = policy
            .description()
            .filter(|text| !text.is_empty())
            .map(ToOwned::to_owned);
        Ok(Some(SeenPolicy {
            arn,
            description,
            document,
            tags,
            made_by_us,
            old_versions,
            dropped,
        }))
    }

    /// A policy that the list shows by this name. The list has no tags, so that nobody can tell by it whose the policy is
    /// (IAM API Reference, ListPolicies); and IAM may list what it does not show otherwise yet, or any more.
    async fn find_listed(
        &self,
        cx: &ReconcileContext,
    ) -> Result<Option<aws_sdk_iam::types::Policy>, Fault> {
        let Some(arn) = self.listed_arn(cx).await? else {
            return Ok(None);
        };
        match get(cx, &arn).await? {
            Some(policy) => Ok(Some(policy)),
            None => Err(Fault::Wait {
                why: format!(
                    "AWS lists {arn}, but does not return it. Waiting for AWS to propagate it."
                ),
                after: cx.timing.poll_delay,
            }),
        }
    }

    async fn listed_arn(&self, cx: &ReconcileContext) -> Result<Option<String>, Fault> {
        let mut marker = None;
        loop {
            let call = cx
                .account
                .iam()
                .list_policies()
                .scope(PolicyScopeType::Local)
                .set_marker(marker)
                .send();
            let page = cx.call(Service::Iam, "ListPolicies", call).await?;
            let same_name = |p: &&aws_sdk_iam::types::Policy| {
                p.policy_name()
                    .is_some_and(|name| name.eq_ignore_ascii_case(&self.name))
            };
            if let Some(policy) = page.policies().iter().find(same_name) {
                return Ok(Some(policy.arn().unwrap_or(&self.default_arn).to_owned()));
            }
            marker = page.marker;
            if marker.is_none() {
                return Ok(None);
            }
        }
    }

    async fn document_of(
        &self,
        cx: &ReconcileContext,
        arn: &str,
        version: &str,
    ) -> Result<Option<PolicyDocument>, Fault> {
        let call = cx
            .account
            .iam()
            .get_policy_version()
            .policy_arn(arn)
            .version_id(version)
            .send();
        let answer = cx
            .call(Service::Iam, "GetPolicyVersion", call)
            .await
            .map_err(|error| cx.missing_after_create(&self.id(), error))?;
        let text = answer.policy_version.and_then(|version| version.document);
        let text = text.ok_or_else(|| Fault::unreadable(Service::Iam, "GetPolicyVersion"))?;
        Ok(PolicyDocument::parse(&text).ok())
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
}

impl SeenPolicy {
    /// Makes room for one more version.
    fn prune(&self) -> Result<Option<PolicyChange>, Fault> {
        if self.old_versions.len() + 1 < MAX_VERSIONS {
            return Ok(None);
        }
        let Some(version) = self.old_versions.first() else {
            return Err(Fault::Blocked(JobError::new(
                JobErrorCode::QuotaExceeded,
                format!("Policy {} has no version that can be deleted.", self.arn),
                "Delete a version that is not the default version, then retry the job.",
            )));
        };
        Ok(Some(PolicyChange::Prune {
            arn: self.arn.clone(),
            version: version.clone(),
        }))
    }
}

/// The policy by an ARN, if AWS shows it.
async fn get(
    cx: &ReconcileContext,
    arn: &str,
) -> Result<Option<aws_sdk_iam::types::Policy>, Fault> {
    let answer = found(
        cx.call(
            Service::Iam,
            "GetPolicy",
            cx.account.iam().get_policy().policy_arn(arn).send(),
        )
        .await,
    )?;
    answer
        .map(|answer| {
            answer
                .policy
                .ok_or_else(|| Fault::unreadable(Service::Iam, "GetPolicy"))
        })
        .transpose()
}

async fn old_versions(cx: &ReconcileContext, arn: &str) -> Result<Vec<String>, Fault> {
    let call = cx
        .account
        .iam()
        .list_policy_versions()
        .policy_arn(arn)
        .send();
    let answer = cx.call(Service::Iam, "ListPolicyVersions", call).await?;
    let mut old: Vec<_> = answer
        .versions()
        .iter()
        .filter(|version| !version.is_default_version())
        .collect();
    old.sort_by_key(|version| version.create_date().map(aws_smithy_types::DateTime::secs));
    Ok(old
        .into_iter()
        .filter_map(|version| version.version_id.clone())
        .collect())
}

impl Policy {
    fn told_whose(&self, seen: &SeenPolicy) -> String {
        format!(
            "Policy {} is shared by all apps in the account. This export refers to it, but does not manage it.",
            seen.arn
        )
    }
}

impl SeenPolicy {
    /// Its path and name, as its ARN has them after the word `policy`.
    fn path_and_name(&self) -> (&str, &str) {
        let path_and_name = self
            .arn
            .find(":policy/")
            .map_or("/", |at| &self.arn[at + ":policy".len()..]);
        path_and_name.split_at(path_and_name.rfind('/').map_or(0, |at| at + 1))
    }

    fn path(&self) -> &str {
        self.path_and_name().0
    }

    fn name(&self) -> &str {
        self.path_and_name().1
    }
}
