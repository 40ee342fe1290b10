//! A repository's lifecycle policy: when its images expire.
//!
//! Invariants:
//! - Policies are compared by meaning: ECR gives them back in another form, and a policy that says
//!   the same is not written again.
//! - A plan that sets a policy on a repository with images says which would expire.
//! - No policy is set under which an image that carries a protected tag expires, unless that was accepted;
//!   plans and jobs decide it alike, by our own evaluation.

use std::fmt;

use serde_json::{Value, json};

use crate::aws::Service;
use crate::domain::ecr_lifecycle::{Image, LifecyclePolicy};
use crate::domain::job::{JobError, JobErrorCode};
use crate::domain::names::{Region, RepositoryName};
use crate::domain::plan::Action;
use crate::domain::resource_id::ResourceId;
use crate::domain::spec::{AppSpec, RepositorySpec};
use crate::provision::change::{Applied, Change, Changes, Observation, counted};
use crate::provision::context::ReconcileContext;
use crate::provision::conventions::Conventions;
use crate::provision::fault::Fault;
use crate::provision::ids;
use crate::provision::permission::{Permission, Scope};
use crate::provision::render::labels::Labels;
use crate::provision::render::shell_words;
use crate::provision::render::{cloudformation, terraform};
use crate::provision::repository_images::Registry;
use crate::provision::resource::Resource;

/// How many expiring images a message lists.
const NAMED: usize = 20;

/// A repository's lifecycle policy.
#[derive(Debug, Clone)]
pub struct RepositoryLifecycle {
    repository: RepositoryName,
    region: Region,
    policy: LifecyclePolicy,
}

/// The observed lifecycle policy, and the effect of the wanted policy on the images.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenLifecycle {
    /// The current policy, as ECR returned it.
    document: Option<Value>,
    outlook: Outlook,
}

/// The effect of the wanted policy on the images of a repository.
#[derive(Debug, Clone, PartialEq)]
enum Outlook {
    /// No effect: the current policy has the same meaning.
    AsBefore,
    /// Slipway's evaluation of the wanted policy.
    Evaluated {
        /// The number of images.
        images: usize,
        /// Those that expire.
        expiring: Vec<Image>,
        /// Whether images with protected tags may expire.
        accepted: bool,
    },
}

/// What changes a lifecycle policy.
#[derive(Debug, Clone, PartialEq)]
pub enum LifecycleChange {
    /// `PutLifecyclePolicy`, which replaces the whole policy.
    Put {
        repository: RepositoryName,
        region: Region,
        /// The policy that is there.
        before: Option<Value>,
        /// The policy that will be.
        after: LifecyclePolicy,
    },
}

impl fmt::Display for LifecycleChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Put {
            repository,
            region,
            before,
            ..
        } = self;
        let verb = if before.is_some() { "replace" } else { "set" };
        write!(f, "{verb} the lifecycle policy of {repository} in {region}")
    }
}

impl Change for LifecycleChange {
    fn action(&self) -> Action {
        let Self::Put { before, .. } = self;
        if before.is_some() {
            Action::Update
        } else {
            Action::Create
        }
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
        let Self::Put {
            repository,
            region,
            after,
            ..
        } = self;
        let document = shell_words::word(&after.to_document());
        format!(
            "aws ecr put-lifecycle-policy --repository-name {repository} --region {region} --lifecycle-policy-text {document}"
        )
    }
}

impl Resource for RepositoryLifecycle {
    type Observed = SeenLifecycle;
    type Change = LifecycleChange;

    const KIND: &'static str = "ecr:lifecycle";
    const PERMISSIONS: &'static [Permission] = &[
        Permission::read(
            Service::Ecr,
            "GetLifecyclePolicy",
            &["ecr:GetLifecyclePolicy"],
            Scope::REPOSITORIES,
        ),
        Permission::change(
            Service::Ecr,
            "PutLifecyclePolicy",
            &["ecr:PutLifecyclePolicy"],
            Scope::REPOSITORIES,
        ),
        Permission::read(
            Service::Ecr,
            "DescribeImages",
            &["ecr:DescribeImages"],
            Scope::REPOSITORIES,
        ),
        Permission::change(
            Service::Ecr,
            "StartLifecyclePolicyPreview",
            &["ecr:StartLifecyclePolicyPreview"],
            Scope::REPOSITORIES,
        ),
        Permission::read(
            Service::Ecr,
            "GetLifecyclePolicyPreview",
            &["ecr:GetLifecyclePolicyPreview"],
            Scope::REPOSITORIES,
        ),
    ];

    fn wanted(spec: &AppSpec, _conventions: &Conventions) -> Vec<Self> {
        let lifecycle = |spec: &RepositorySpec| {
            let (repository, region) = (spec.name.clone(), spec.region.clone());
            Self {
                repository,
                region,
                policy: spec.lifecycle.policy(),
            }
        };
        spec.repositories.iter().map(lifecycle).collect()
    }

    fn is_retained(_id: &ResourceId, _spec: &AppSpec, _c: &Conventions) -> bool {
        // It is deleted with its repository.
        false
    }

    fn id(&self) -> ResourceId {
        ResourceId::new(
            Self::KIND,
            format_args!("{}/{}", self.region, self.repository),
        )
    }

    fn needs(&self) -> Vec<ResourceId> {
        vec![self.repository_id()]
    }

    fn create_first(&self, cx: &ReconcileContext) -> bool {
        cx.has_created(&self.repository_id())
    }

    async fn observe(&self, cx: &ReconcileContext) -> Result<Observation<SeenLifecycle>, Fault> {
        let registry = Registry::new(&cx.account, &self.region, cx.timing);
        let document = registry.policy(&self.repository).await?;
        if document
            .as_ref()
            .is_some_and(|document| self.says_the_same(document))
        {
            return Ok(Observation::Ours(SeenLifecycle {
                document,
                outlook: Outlook::AsBefore,
            }));
        }
        let Some(images) = registry.images(&self.repository, usize::MAX).await? else {
            return Ok(Observation::Absent);
        };
        let expiring = self
            .policy
            .expiring(&images, cx.clock.now().millis())
            .into_iter()
            .cloned()
            .collect();
        let outlook = Outlook::Evaluated {
            images: images.len(),
            expiring,
            accepted: cx.request.accept_expiry,
        };
        Ok(Observation::Ours(SeenLifecycle { document, outlook }))
    }

    fn plan(&self, seen: Option<&SeenLifecycle>) -> Result<Changes<LifecycleChange>, Fault> {
        match seen.map(|seen| &seen.outlook) {
            Some(Outlook::AsBefore) => return Ok(Changes::of(Vec::new())),
            Some(Outlook::Evaluated {
                expiring,
                accepted: false,
                ..
            }) => self.refuse_to_expire(expiring)?,
            Some(Outlook::Evaluated { accepted: true, .. }) | None => {}
        }
        Ok(Changes::of(vec![LifecycleChange::Put {
            repository: self.repository.clone(),
            region: self.region.clone(),
            before: seen.and_then(|seen| seen.document.clone()),
            after: self.policy.clone(),
        }]))
    }

    /// It goes with its repository.
    fn plan_absent(
        &self,
        _: &ReconcileContext,
        _: &SeenLifecycle,
    ) -> Result<Changes<LifecycleChange>, Fault> {
        Ok(Changes::of(Vec::new()))
    }

    async fn apply(
        &self,
        cx: &ReconcileContext,
        LifecycleChange::Put { after, .. }: &LifecycleChange,
    ) -> Result<Applied, Fault> {
        let call = cx
            .account
            .ecr(&self.region)
            .put_lifecycle_policy()
            .repository_name(self.repository.as_str());
        let call = call.lifecycle_policy_text(after.to_document()).send();
        let answer = cx.call(Service::Ecr, "PutLifecyclePolicy", call).await;
        answer
            .map(|_| Applied::Done)
            .map_err(|error| cx.missing_after_create(&self.repository_id(), error))
    }

    async fn preflight_warnings(
        &self,
        cx: &ReconcileContext,
        seen: Option<&SeenLifecycle>,
    ) -> Result<Vec<String>, Fault> {
        let Some(Outlook::Evaluated {
            images: images @ 1..,
            expiring,
            ..
        }) = seen.map(|seen| &seen.outlook)
        else {
            return Ok(Vec::new());
        };
        let preview = Registry::new(&cx.account, &self.region, cx.timing)
            .preview(&self.repository, &self.policy)
            .await;
        let (by, expiring) = match preview {
            Ok(expiring) => ("according to the AWS preview".to_owned(), expiring),
            Err(why) => (
                format!("according to Slipway's evaluation ({why})"),
                expiring.clone(),
            ),
        };
        if expiring.is_empty() {
            return Ok(Vec::new());
        }
        let protected = expiring.iter().filter(|image| image.is_protected()).count();
        let protected = if protected > 0 {
            format!(" {protected} of these images have protected tags.")
        } else {
            String::new()
        };
        let (repository, region) = (&self.repository, &self.region);
        Ok(vec![format!(
            "This policy expires {} of the {images} images in {repository} in {region} within 24 hours, {by}: {}.{protected} The lifecycle profile \"protected\" keeps images with release tags.",
            expiring.len(),
            names(&expiring.iter().collect::<Vec<_>>()),
        )])
    }

    fn terraform(&self, seen: &SeenLifecycle, labels: &Labels) -> Vec<terraform::Piece> {
        let Some(document) = &seen.document else {
            return Vec::new();
        };
        let name = self.repository.as_str();
        let repository = terraform::reference(
            labels,
            &self.repository_id(),
            "aws_ecr_repository",
            "name",
            name,
        );
        let policy = terraform::Thing::new("aws_ecr_lifecycle_policy", name)
            .at(&self.region)
            .set("repository", repository);
        vec![policy.document("policy", document).into()]
    }

    fn cloudformation(&self, seen: &SeenLifecycle, _labels: &Labels) -> Vec<cloudformation::Entry> {
        let Some(document) = &seen.document else {
            return Vec::new();
        };
        let value = json!({"LifecyclePolicyText": document.to_string()});
        vec![cloudformation::Entry::Extends {
            of: self.repository_id(),
            property: "LifecyclePolicy",
            value,
        }]
    }
}

impl RepositoryLifecycle {
    fn repository_id(&self) -> ResourceId {
        ids::repository(&self.region, &self.repository)
    }

    fn says_the_same(&self, document: &Value) -> bool {
        LifecyclePolicy::parse(document).is_ok_and(|policy| policy.same_meaning(&self.policy))
    }

    /// Images with protected tags expire only if a person accepts it.
    fn refuse_to_expire(&self, expiring: &[Image]) -> Result<(), Fault> {
        let protected: Vec<&Image> = expiring
            .iter()
            .filter(|image| image.is_protected())
            .collect();
        if protected.is_empty() {
            return Ok(());
        }
        let (repository, region) = (&self.repository, &self.region);
        let images = counted(protected.len(), "image");
        let remedy = "To expire these images, repeat the request with accept_expiry=true. To keep them, use the lifecycle profile \"protected\" or your own policy. To test a policy, use POST /v1/ecr/lifecycle/simulate.";
        Err(Fault::Blocked(JobError::new(
            JobErrorCode::WouldExpire,
            format!(
                "The lifecycle policy would expire {images} with protected tags in {repository} in {region}: {}.",
                names(&protected)
            ),
            remedy,
        )))
    }
}

/// The images by name, up to a limit.
fn names(images: &[&Image]) -> String {
    let first: Vec<String> = images
        .iter()
        .take(NAMED)
        .map(|image| named(image))
        .collect();
    let more = images.len().saturating_sub(NAMED);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    first.join(", ") + &more
}

/// An image by its tags, or by its digest where it has none.
fn named(image: &Image) -> String {
    if image.tags.is_empty() {
        image.digest.chars().take(19).collect()
    } else {
        image.tags.join("+")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lifecycle() -> RepositoryLifecycle {
        let repository = RepositoryName::parse("acme").unwrap();
        let region = Region::parse("us-west-2").unwrap();
        RepositoryLifecycle {
            repository,
            region,
            policy: LifecyclePolicy::guide(),
        }
    }

    #[test]
    fn a_policy_that_says_the_same_is_the_same() {
        let mut document = LifecyclePolicy::guide().to_value();
        document["rules"].as_array_mut().unwrap().reverse();
        assert!(lifecycle().says_the_same(&document));
        document["rules"][0]["selection"]["countNumber"] = json!(4);
        assert!(!lifecycle().says_the_same(&document));
        assert!(
            !lifecycle().says_the_same(&json!("{")),
            "what cannot be read differs"
        );
    }

    #[test]
    fn what_says_the_same_is_not_written_again_and_what_differs_is() {
        let changes = |document: Option<Value>, outlook| {
            lifecycle()
                .plan(Some(&SeenLifecycle { document, outlook }))
                .unwrap()
                .changes
        };
        let evaluated = || Outlook::Evaluated {
            images: 0,
            expiring: Vec::new(),
            accepted: false,
        };
        assert!(changes(Some(json!("same")), Outlook::AsBefore).is_empty());
        assert_eq!(
            changes(Some(json!("another")), evaluated())[0].action(),
            Action::Update
        );
        assert_eq!(changes(None, evaluated())[0].action(), Action::Create);
        assert_eq!(
            lifecycle().plan(None).unwrap().changes[0].action(),
            Action::Create
        );
    }

    #[test]
    fn an_image_with_a_protected_tag_expires_only_if_that_is_accepted() {
        let image = |tag: &str| Image {
            tags: vec![tag.to_owned(), "0a1b2c3".to_owned()],
            ..Image::default()
        };
        let plan = |expiring: Vec<Image>, accepted| {
            let outlook = Outlook::Evaluated {
                images: expiring.len(),
                expiring,
                accepted,
            };
            lifecycle().plan(Some(&SeenLifecycle {
                document: None,
                outlook,
            }))
        };
        assert!(plan(vec![image("develop")], false).is_ok());
        assert!(plan(vec![image("develop"), image("latest")], true).is_ok());
        let many: Vec<Image> = (0..25)
            .map(|n| image(&format!("1.2.{n}")))
            .chain([image("develop")])
            .collect();
        let Err(Fault::Blocked(job_error)) = plan(many, false) else {
            panic!("a person decides")
        };
        assert_eq!(job_error.code, JobErrorCode::WouldExpire);
        assert!(
            job_error.detail.contains("would expire 25 images")
                && job_error.detail.contains("1.2.0+0a1b2c3, "),
            "{}",
            job_error.detail
        );
        assert!(
            job_error.detail.ends_with("1.2.19+0a1b2c3 and 5 more."),
            "{}",
            job_error.detail
        );
        assert!(job_error.remedy.unwrap().contains("accept_expiry=true"));
    }
}
