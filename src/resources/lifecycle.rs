//! A repository's lifecycle policy: when its images expire.
//!
//! Invariants:
//! - Policies are compared by meaning: ECR gives them back in another form, and a policy that says
//!   the same is not written again.
//! - A plan that sets a policy on a repository with images says which would expire.

use std::fmt;

use serde_json::{Value, json};

use super::{Applied, Change, Changes, Conventions, Cx, Fault, Observation, Permission, Resource, ResourceId, Scope, aws_cli, repository};
use crate::aws::{Meaning, Service};
use crate::domain::lifecycle::{Image, LifecyclePolicy};
use crate::domain::names::{Region, RepositoryName};
use crate::domain::plan::Action;
use crate::domain::spec::{AppSpec, RepositorySpec};
use crate::export::{Labels, cloudformation, terraform};

/// How many expiring images a plan names.
const NAMED: usize = 20;

/// A repository's lifecycle policy.
#[derive(Debug, Clone)]
pub struct RepositoryLifecycle {
    repository: RepositoryName,
    region: Region,
    policy: LifecyclePolicy,
}

/// A lifecycle policy as it is: parsed, or as text that does not parse.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenLifecycle {
    document: Value,
    policy: Option<LifecyclePolicy>,
}

/// What changes a lifecycle policy.
#[derive(Debug, Clone, PartialEq)]
pub enum LifecycleChange {
    /// `PutLifecyclePolicy`, which replaces the whole policy.
    Put {
        /// The repository.
        repository: RepositoryName,
        /// Where it is.
        region: Region,
        /// The policy that is there.
        before: Option<Value>,
        /// The policy that will be.
        after: LifecyclePolicy,
    },
}

impl fmt::Display for LifecycleChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Put { repository, region, before, .. } = self;
        let verb = if before.is_some() { "replace" } else { "set" };
        write!(f, "{verb} the lifecycle policy of {repository} in {region}")
    }
}

impl Change for LifecycleChange {
    fn action(&self) -> Action {
        let Self::Put { before, .. } = self;
        if before.is_some() { Action::Update } else { Action::Create }
    }

    fn before(&self) -> Option<Value> {
        let Self::Put { before, .. } = self;
        before.clone()
    }

    fn after(&self) -> Option<Value> {
        let Self::Put { after, .. } = self;
        Some(after.to_value())
    }

    fn aws_cli(&self) -> String {
        let Self::Put { repository, region, after, .. } = self;
        let document = aws_cli::word(&after.to_document());
        format!("aws ecr put-lifecycle-policy --repository-name {repository} --region {region} --lifecycle-policy-text {document}")
    }
}

impl Resource for RepositoryLifecycle {
    type Observed = SeenLifecycle;
    type Change = LifecycleChange;

    const KIND: &'static str = "ecr:lifecycle";
    const PERMISSIONS: &'static [Permission] = &[
        Permission::new(Service::Ecr, "GetLifecyclePolicy", &["ecr:GetLifecyclePolicy"], Scope::Repositories),
        Permission::new(Service::Ecr, "PutLifecyclePolicy", &["ecr:PutLifecyclePolicy"], Scope::Repositories),
        Permission::new(Service::Ecr, "DescribeImages", &["ecr:DescribeImages"], Scope::Repositories),
    ];

    fn wanted(spec: &AppSpec, _conventions: &Conventions) -> Vec<Self> {
        let lifecycle = |spec: &RepositorySpec| {
            let (repository, region) = (spec.name.clone(), spec.region.clone());
            Self { repository, region, policy: spec.lifecycle.policy() }
        };
        spec.repositories.iter().map(lifecycle).collect()
    }

    fn id(&self) -> ResourceId {
        format!("{}/{}/{}", Self::KIND, self.region, self.repository)
    }

    fn needs(&self) -> Vec<ResourceId> {
        vec![self.repository_id()]
    }

    fn create_first(&self, cx: &Cx) -> bool {
        cx.has_made(&self.repository_id())
    }

    async fn observe(&self, cx: &Cx) -> Result<Observation<SeenLifecycle>, Fault> {
        let call = cx.account.ecr(&self.region).get_lifecycle_policy().repository_name(self.repository.as_str()).send();
        let text = match cx.call(Service::Ecr, "GetLifecyclePolicy", call).await {
            Ok(answer) => answer.lifecycle_policy_text.unwrap_or_default(),
            Err(error) if error.meaning == Meaning::NotFound => return Ok(Observation::Absent),
            Err(error) => return Err(error.into()),
        };
        let document: Value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        let policy = LifecyclePolicy::parse(&document).ok();
        Ok(Observation::Ours(SeenLifecycle { document, policy }))
    }

    fn plan(&self, seen: Option<&SeenLifecycle>) -> Result<Changes<LifecycleChange>, Fault> {
        let same = seen.and_then(|seen| seen.policy.as_ref()).is_some_and(|policy| policy.same_meaning(&self.policy));
        if same {
            return Ok(Changes::of(Vec::new()));
        }
        Ok(Changes::of(vec![LifecycleChange::Put {
            repository: self.repository.clone(),
            region: self.region.clone(),
            before: seen.map(|seen| seen.document.clone()),
            after: self.policy.clone(),
        }]))
    }

    async fn apply(&self, cx: &Cx, LifecycleChange::Put { after, .. }: &LifecycleChange) -> Result<Applied, Fault> {
        let call = cx.account.ecr(&self.region).put_lifecycle_policy().repository_name(self.repository.as_str());
        let call = call.lifecycle_policy_text(after.to_document()).send();
        let answer = cx.call(Service::Ecr, "PutLifecyclePolicy", call).await;
        answer.map(|_| Applied::Done).map_err(|error| cx.missing_after_create(&self.repository_id(), error))
    }

    async fn foresee(&self, cx: &Cx, changes: &[LifecycleChange]) -> Result<Vec<String>, Fault> {
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        let images = self.images(cx).await?;
        let verdicts = self.policy.evaluate(&images, cx.clock.now().millis());
        let expiring: Vec<String> =
            images.iter().zip(&verdicts).filter(|(_, verdict)| verdict.expires()).map(|(image, _)| named(image)).collect();
        if expiring.is_empty() {
            return Ok(Vec::new());
        }
        let more = expiring.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let first = expiring.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
        Ok(vec![format!(
            "Within 24 hours this policy expires {} of the {} images in {} in {}: {first}{more}. The profile \"protected\" keeps release tags.",
            expiring.len(),
            images.len(),
            self.repository,
            self.region
        )])
    }

    fn terraform(&self, seen: &SeenLifecycle, labels: &Labels) -> Vec<terraform::Piece> {
        let name = self.repository.as_str();
        let repository = terraform::reference(labels, &self.repository_id(), "aws_ecr_repository", "name", name);
        let policy = terraform::Thing::new("aws_ecr_lifecycle_policy", name).at(&self.region).set("repository", repository);
        vec![policy.document("policy", &seen.document).into()]
    }

    fn cloudformation(&self, seen: &SeenLifecycle, _labels: &Labels) -> Vec<cloudformation::Entry> {
        let value = json!({"LifecyclePolicyText": seen.document.to_string()});
        vec![cloudformation::Entry::Extends { of: self.repository_id(), property: "LifecyclePolicy", value }]
    }
}

impl RepositoryLifecycle {
    fn repository_id(&self) -> ResourceId {
        repository::id(&self.region, &self.repository)
    }

    async fn images(&self, cx: &Cx) -> Result<Vec<Image>, Fault> {
        let mut images = Vec::new();
        let mut token = None;
        loop {
            let call =
                cx.account.ecr(&self.region).describe_images().repository_name(self.repository.as_str()).set_next_token(token).send();
            let page = match cx.call(Service::Ecr, "DescribeImages", call).await {
                Ok(page) => page,
                Err(error) if error.meaning == Meaning::NotFound => return Ok(images),
                Err(error) => return Err(error.into()),
            };
            images.extend(page.image_details.unwrap_or_default().into_iter().map(|detail| Image {
                digest: detail.image_digest.unwrap_or_default(),
                tags: detail.image_tags.unwrap_or_default(),
                pushed_at_ms: detail.image_pushed_at.and_then(|at| at.to_millis().ok()).unwrap_or_default(),
                last_pulled_at_ms: detail.last_recorded_pull_time.and_then(|at| at.to_millis().ok()),
                ..Image::default()
            }));
            token = page.next_token;
            if token.is_none() {
                return Ok(images);
            }
        }
    }
}

/// An image by its tags, or by its digest where it has none.
fn named(image: &Image) -> String {
    if image.tags.is_empty() { image.digest.chars().take(19).collect() } else { image.tags.join("+") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_that_says_the_same_is_not_written_again() {
        let repository = RepositoryName::parse("acme").unwrap();
        let region = Region::parse("us-west-2").unwrap();
        let lifecycle = RepositoryLifecycle { repository, region, policy: LifecyclePolicy::guide() };
        let mut document = LifecyclePolicy::guide().to_value();
        document["rules"].as_array_mut().unwrap().reverse();
        let seen = |document: Value| SeenLifecycle { policy: LifecyclePolicy::parse(&document).ok(), document };
        assert!(lifecycle.plan(Some(&seen(document.clone()))).unwrap().changes.is_empty());
        document["rules"][0]["selection"]["countNumber"] = json!(4);
        assert_eq!(lifecycle.plan(Some(&seen(document))).unwrap().changes[0].action(), Action::Update);
        assert_eq!(lifecycle.plan(Some(&seen(json!("{")))).unwrap().changes.len(), 1, "what cannot be read differs");
    }
}
