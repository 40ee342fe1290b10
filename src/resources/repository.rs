//! The app's image repository.
//!
//! Invariant: a repository by the wanted name that does not carry the app's tag is foreign.

use std::fmt;

use aws_sdk_ecr::types::Tag;
use serde_json::{Value, json};

use super::permission::Condition;
use super::{Applied, Change, Changes, Conventions, Cx, Fault, Observation, Permission, Resource, ResourceId, Scope, Tags, ownership};
use crate::aws::{Meaning, Service};
use crate::domain::names::{Region, RepositoryName};
use crate::domain::plan::Action;
use crate::domain::spec::{AppSpec, RepositorySpec};
use crate::export::{Labels, cloudformation, terraform};

/// A repository for the app's images.
#[derive(Debug, Clone)]
pub struct Repository {
    name: RepositoryName,
    region: Region,
    tags: Tags,
    arn: String,
}

/// A repository as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenRepository {
    tags: Tags,
    made_by_us: bool,
}

/// What changes a repository.
#[derive(Debug, Clone, PartialEq)]
pub enum RepositoryChange {
    /// `CreateRepository`.
    Create(RepositoryName, Region, Tags),
    /// `TagResource`.
    Tag {
        /// The repository's ARN.
        arn: String,
        /// Where it is.
        region: Region,
        /// The tags to set.
        tags: Tags,
    },
}

impl fmt::Display for RepositoryChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(name, region, _) => write!(f, "create repository {name} in {region}"),
            Self::Tag { arn, tags, .. } => write!(f, "tag {arn} with {}", tags.keys().cloned().collect::<Vec<_>>().join(", ")),
        }
    }
}

impl Change for RepositoryChange {
    fn action(&self) -> Action {
        match self {
            Self::Create(..) => Action::Create,
            Self::Tag { .. } => Action::Update,
        }
    }

    fn after(&self) -> Option<Value> {
        Some(match self {
            Self::Create(name, region, tags) => json!({"name": name, "region": region, "tags": tags}),
            Self::Tag { tags, .. } => json!({"tags": tags}),
        })
    }

    fn aws_cli(&self) -> String {
        match self {
            Self::Create(name, region, tags) => {
                let tags = ownership::shorthand(tags);
                format!("aws ecr create-repository --repository-name {name} --region {region} --tags {tags}")
            }
            Self::Tag { arn, region, tags } => {
                format!("aws ecr tag-resource --resource-arn {arn} --region {region} --tags {}", ownership::shorthand(tags))
            }
        }
    }
}

/// The id of a repository.
pub fn id(region: &Region, name: &RepositoryName) -> ResourceId {
    format!("{}/{region}/{name}", Repository::KIND)
}

impl Resource for Repository {
    type Observed = SeenRepository;
    type Change = RepositoryChange;

    const KIND: &'static str = "ecr:repository";
    const PERMISSIONS: &'static [Permission] = &[
        Permission::new(Service::Ecr, "DescribeRepositories", &["ecr:DescribeRepositories"], Scope::Repositories),
        Permission::new(Service::Ecr, "ListTagsForResource", &["ecr:ListTagsForResource"], Scope::Repositories),
        Permission::new(Service::Ecr, "CreateRepository", &["ecr:CreateRepository", "ecr:TagResource"], Scope::Repositories)
            .only(Condition::TaggedOnCreation),
        Permission::new(Service::Ecr, "TagResource", &["ecr:TagResource"], Scope::Repositories).only(Condition::TaggedOnCreation),
    ];

    fn wanted(spec: &AppSpec, c: &Conventions) -> Vec<Self> {
        let tags = ownership::wanted(&spec.name, &spec.tags);
        let repository = |spec: &RepositorySpec| Self {
            name: spec.name.clone(),
            region: spec.region.clone(),
            tags: tags.clone(),
            arn: format!("arn:{}:ecr:{}:{}:repository/{}", c.partition, spec.region, c.account_id, spec.name),
        };
        spec.repositories.iter().map(repository).collect()
    }

    fn id(&self) -> ResourceId {
        id(&self.region, &self.name)
    }

    fn create_first(&self, cx: &Cx) -> bool {
        cx.untouched
    }

    async fn observe(&self, cx: &Cx) -> Result<Observation<SeenRepository>, Fault> {
        let call = cx.account.ecr(&self.region).describe_repositories().repository_names(self.name.as_str()).send();
        match cx.call(Service::Ecr, "DescribeRepositories", call).await {
            Ok(_) => {}
            Err(error) if error.meaning == Meaning::NotFound => return Ok(Observation::Absent),
            Err(error) => return Err(error.into()),
        }
        let call = cx.account.ecr(&self.region).list_tags_for_resource().resource_arn(&self.arn).send();
        let answer = cx.call(Service::Ecr, "ListTagsForResource", call).await?;
        let tags: Tags = answer.tags.unwrap_or_default().into_iter().map(|tag| (tag.key, tag.value)).collect();
        let made_by_us = ownership::is_made_by_us(cx, &self.id(), &tags);
        Ok(ownership::sort(cx, &self.id(), &tags.clone(), SeenRepository { tags, made_by_us }))
    }

    fn plan(&self, seen: Option<&SeenRepository>) -> Result<Changes<RepositoryChange>, Fault> {
        let Some(seen) = seen else {
            return Ok(Changes::of(vec![RepositoryChange::Create(self.name.clone(), self.region.clone(), self.tags.clone())]));
        };
        let mut tags = ownership::missing(&self.tags, &seen.tags, seen.made_by_us);
        if tags.is_empty() {
            return Ok(Changes::of(Vec::new()));
        }
        // The role may tag only what it tags as ours, so the mark goes with every change of tags.
        tags.extend(self.tags.get_key_value(&ownership::app_key()).map(|(k, v)| (k.clone(), v.clone())));
        Ok(Changes::of(vec![RepositoryChange::Tag { arn: self.arn.clone(), region: self.region.clone(), tags }]))
    }

    async fn apply(&self, cx: &Cx, change: &RepositoryChange) -> Result<Applied, Fault> {
        match change {
            RepositoryChange::Create(name, region, tags) => {
                let tags = sdk_tags(&ownership::on_creation(cx, tags))?;
                let call = cx.account.ecr(region).create_repository().repository_name(name.as_str()).set_tags(Some(tags)).send();
                match cx.call(Service::Ecr, "CreateRepository", call).await {
                    Ok(_) => {
                        cx.note_made(self.id());
                        Ok(Applied::Done)
                    }
                    Err(error) if error.meaning == Meaning::AlreadyExists => Ok(Applied::MetExisting),
                    Err(error) => Err(error.into()),
                }
            }
            RepositoryChange::Tag { arn, region, tags } => {
                let call = cx.account.ecr(region).tag_resource().resource_arn(arn).set_tags(Some(sdk_tags(tags)?)).send();
                cx.call(Service::Ecr, "TagResource", call).await?;
                Ok(Applied::Done)
            }
        }
    }

    fn arn(&self, _conventions: &Conventions) -> Option<String> {
        Some(self.arn.clone())
    }

    fn terraform(&self, seen: &SeenRepository, _labels: &Labels) -> Vec<terraform::Piece> {
        let repository = terraform::Thing::new("aws_ecr_repository", self.name.as_str()).at(&self.region);
        let repository = repository.set("name", self.name.as_str()).tags(&seen.tags);
        vec![repository.leaving(&["encryption_configuration", "image_scanning_configuration", "image_tag_mutability"]).into()]
    }

    fn cloudformation(&self, seen: &SeenRepository, _labels: &Labels) -> Vec<cloudformation::Entry> {
        let repository = cloudformation::Thing::new("AWS::ECR::Repository", "RepositoryName", self.name.as_str()).at(&self.region);
        vec![cloudformation::Entry::Thing(repository.set("RepositoryName", self.name.as_str()).tags(&seen.tags))]
    }
}

fn sdk_tags(tags: &Tags) -> Result<Vec<Tag>, Fault> {
    tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect::<Result<_, _>>().map_err(Fault::of_sdk)
}
