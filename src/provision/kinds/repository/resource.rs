//! Observes, plans and applies repositories.

use aws_sdk_ecr::types::Tag;

use super::change::RepositoryChange;
use super::state::{Repository, SeenRepository};
use crate::aws::{ErrorKind, Service, repository_uri};
use crate::domain::ecr_lifecycle::Lifecycle;
use crate::domain::job::{JobResult, RepositoryResult};
use crate::domain::names::{Region, RepositoryName};
use crate::domain::resource_id::ResourceId;
use crate::domain::retained::Dropped;
use crate::domain::spec::{AppSpec, RepositorySpec};
use crate::domain::task::Data;
use crate::provision::change::{Applied, Changes, Observation, Want, counted};
use crate::provision::context::ReconcileContext;
use crate::provision::conventions::Conventions;
use crate::provision::fault::Fault;
use crate::provision::ids;
use crate::provision::ownership;
use crate::provision::permission::{Condition, Permission, Scope};
use crate::provision::render::dotenv::Variables;
use crate::provision::render::labels::Labels;
use crate::provision::render::{cloudformation, terraform};
use crate::provision::resource::Resource;
use crate::provision::tags::{self, Tags};

impl Resource for Repository {
    type Observed = SeenRepository;
    type Change = RepositoryChange;

    const KIND: &'static str = ids::REPOSITORY;
    const PERMISSIONS: &'static [Permission] = &[
        Permission::read(
            Service::Ecr,
            "DescribeRepositories",
            &["ecr:DescribeRepositories"],
            Scope::REPOSITORIES,
        ),
        Permission::read(
            Service::Ecr,
            "ListTagsForResource",
            &["ecr:ListTagsForResource"],
            Scope::REPOSITORIES,
        ),
        Permission::change(
            Service::Ecr,
            "CreateRepository",
            &["ecr:CreateRepository", "ecr:TagResource"],
            Scope::REPOSITORIES,
        )
        .only(Condition::TaggedOnCreation),
        Permission::change(
            Service::Ecr,
            "TagResource",
            &["ecr:TagResource"],
            Scope::REPOSITORIES,
        )
        .only(Condition::TaggedOnCreation),
        Permission::change(
            Service::Ecr,
            "UntagResource",
            &["ecr:UntagResource"],
            Scope::REPOSITORIES,
        )
        .only(Condition::OnOurs),
        Permission::read(
            Service::Ecr,
            "ListImages",
            &["ecr:ListImages"],
            Scope::REPOSITORIES,
        ),
        Permission::change(
            Service::Ecr,
            "DeleteRepository",
            &["ecr:DeleteRepository"],
            Scope::REPOSITORIES,
        )
        .only(Condition::OnOurs),
    ];

    fn wanted(spec: &AppSpec, c: &Conventions) -> Vec<Self> {
        let tags = tags::wanted(spec, c);
        let repository = |spec: &RepositorySpec| Self {
            name: spec.name.clone(),
            region: spec.region.clone(),
            tags: tags.clone(),
            arn: format!(
                "arn:{}:ecr:{}:{}:repository/{}",
                c.partition, spec.region, c.account_id, spec.name
            ),
        };
        spec.repositories.iter().map(repository).collect()
    }

    const HOLDS_DATA: bool = true;
    const VARIABLES: Option<Variables> = Some(Variables {
        first: "ECR_REPOSITORY",
        all: "ECR_REPOSITORIES",
    });

    fn id(&self) -> ResourceId {
        ids::repository(&self.region, &self.name)
    }

    fn description(&self) -> String {
        format!("repository {} in {}", self.name, self.region)
    }

    fn recover(id: &ResourceId, spec: &AppSpec, dropped: &mut Dropped) {
        let named = spec.repositories.iter().chain(&dropped.repositories);
        if named
            .clone()
            .any(|it| ids::repository(&it.region, &it.name) == *id)
        {
            return;
        }
        let Some((region, name)) = id.name_of(Self::KIND).and_then(|name| name.split_once('/'))
        else {
            return;
        };
        if let (Ok(region), Ok(name)) = (Region::parse(region), RepositoryName::parse(name)) {
            dropped.repositories.push(RepositorySpec {
                name,
                region,
                lifecycle: Lifecycle::Guide,
            });
        }
    }

    fn add_to_result(&self, _arn: Option<&str>, c: &Conventions, result: &mut JobResult) {
        result.repositories.push(RepositoryResult {
            name: self.name.to_string(),
            uri: self.uri(c),
        });
    }

    fn variable(&self, c: &Conventions) -> Option<String> {
        Some(self.uri(c))
    }

    fn create_first(&self, cx: &ReconcileContext) -> bool {
        cx.request.create_first
    }

    async fn observe(&self, cx: &ReconcileContext) -> Result<Observation<SeenRepository>, Fault> {
        let call = cx
            .account
            .ecr(&self.region)
            .describe_repositories()
            .repository_names(self.name.as_str())
            .send();
        let made_at = match cx.call(Service::Ecr, "DescribeRepositories", call).await {
            Ok(answer) => answer
                .repositories()
                .first()
                .and_then(|it| it.created_at().copied()),
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(Observation::Absent),
            Err(error) => return Err(error.into()),
        };
        let call = cx
            .account
            .ecr(&self.region)
            .list_tags_for_resource()
            .resource_arn(&self.arn)
            .send();
        let answer = cx.call(Service::Ecr, "ListTagsForResource", call).await?;
        let tags: Tags = answer
            .tags
            .unwrap_or_default()
            .into_iter()
            .map(|tag| (tag.key, tag.value))
            .collect();
        let made_by_us = ownership::is_created_by_app(cx, &self.id(), &tags);
        if made_by_us {
            cx.note_created_at(self.id(), made_at.as_ref());
        }
        let dropped = ownership::dropped(cx, &tags);
        let images = if cx.want == Want::Absent {
            self.count_images(cx).await?
        } else {
            0
        };
        Ok(ownership::sort(
            cx,
            &self.id(),
            &tags.clone(),
            SeenRepository {
                tags,
                made_by_us,
                dropped,
                images,
            },
        ))
    }

    fn plan(&self, seen: Option<&SeenRepository>) -> Result<Changes<RepositoryChange>, Fault> {
        let Some(seen) = seen else {
            return Ok(Changes::of(vec![RepositoryChange::Create(
                self.name.clone(),
                self.region.clone(),
                self.tags.clone(),
            )]));
        };
        let mut tags = tags::missing(&self.tags, &seen.tags, seen.made_by_us);
        let mut changes = Vec::new();
        if !seen.dropped.is_empty() {
            let (arn, region) = (self.arn.clone(), self.region.clone());
            changes.push(RepositoryChange::Untag {
                arn,
                region,
                keys: seen.dropped.clone(),
            });
        }
        if tags.is_empty() {
            return Ok(Changes::of(changes));
        }
        // The role may tag only what it tags as ours, so the marks go with every change of tags.
        tags.extend(tags::marks(&self.tags));
        changes.insert(
            0,
            RepositoryChange::Tag {
                arn: self.arn.clone(),
                region: self.region.clone(),
                tags,
                before: seen.tags.clone(),
            },
        );
        Ok(Changes::of(changes))
    }

    /// An adopted repository is released instead of deleted, unless the request names it.
    fn plan_absent(
        &self,
        cx: &ReconcileContext,
        seen: &SeenRepository,
    ) -> Result<Changes<RepositoryChange>, Fault> {
        let (name, region) = (self.name.clone(), self.region.clone());
        if cx.request.data != Data::Named && ownership::is_left(cx, seen.made_by_us) {
            let told = ownership::told_given_back(&format!("repository {name} in {region}"));
            return Ok(Changes {
                warnings: vec![told],
                ..self.plan_released(seen)
            });
        }
        if cx.request.data == Data::Kept && seen.images > 0 {
            return Err(Fault::would_delete_data(
                &format!("repository {name} in {region}"),
                &counted(seen.images, "image"),
            ));
        }
        let force = cx.request.data != Data::Kept;
        Ok(Changes::of(vec![RepositoryChange::Delete {
            name,
            region,
            images: seen.images,
            force,
        }]))
    }

    fn plan_released(&self, seen: &SeenRepository) -> Changes<RepositoryChange> {
        let (arn, region, keys) = (
            self.arn.clone(),
            self.region.clone(),
            tags::ours(&seen.tags),
        );
        Changes::of(if keys.is_empty() {
            Vec::new()
        } else {
            vec![RepositoryChange::Untag { arn, region, keys }]
        })
    }

    async fn apply(
        &self,
        cx: &ReconcileContext,
        change: &RepositoryChange,
    ) -> Result<Applied, Fault> {
        match change {
            RepositoryChange::Create(name, region, tags) => {
                let tags = sdk_tags(&ownership::on_creation(cx, tags))?;
                let call = cx
                    .account
                    .ecr(region)
                    .create_repository()
                    .repository_name(name.as_str())
                    .set_tags(Some(tags))
                    .send();
                match cx.call(Service::Ecr, "CreateRepository", call).await {
                    Ok(_) => {
                        cx.note_created(self.id());
                        Ok(Applied::Done)
                    }
                    Err(error) if error.kind == ErrorKind::AlreadyExists => {
                        Ok(Applied::MetExisting)
                    }
                    Err(error) => Err(error.into()),
                }
            }
            RepositoryChange::Tag {
                arn, region, tags, ..
            } => {
                let call = cx
                    .account
                    .ecr(region)
                    .tag_resource()
                    .resource_arn(arn)
                    .set_tags(Some(sdk_tags(tags)?))
                    .send();
                cx.call(Service::Ecr, "TagResource", call).await?;
                cx.note_unsettled(self.id());
                Ok(Applied::Done)
            }
            RepositoryChange::Untag { arn, region, keys } => {
                let call = cx
                    .account
                    .ecr(region)
                    .untag_resource()
                    .resource_arn(arn)
                    .set_tag_keys(Some(keys.clone()))
                    .send();
                cx.call(Service::Ecr, "UntagResource", call).await?;
                Ok(Applied::Done)
            }
            RepositoryChange::Delete {
                name,
                region,
                force,
                ..
            } => {
                let call = cx
                    .account
                    .ecr(region)
                    .delete_repository()
                    .repository_name(name.as_str())
                    .force(*force)
                    .send();
                match cx.call(Service::Ecr, "DeleteRepository", call).await {
                    // An image was pushed since they were counted.
                    Err(error) if error.kind == ErrorKind::InUse && !force => {
                        Err(Fault::would_delete_data(
                            &format!("repository {name} in {region}"),
                            "images",
                        ))
                    }
                    answer => Applied::gone(answer),
                }
            }
        }
    }

    async fn preflight_warnings(
        &self,
        cx: &ReconcileContext,
        seen: Option<&SeenRepository>,
    ) -> Result<Vec<String>, Fault> {
        let Some(seen) = seen.filter(|_| cx.want == Want::Absent) else {
            return Ok(Vec::new());
        };
        if cx.request.data != Data::Named && ownership::is_left(cx, seen.made_by_us) {
            return Ok(Vec::new());
        }
        Ok(vec![format!(
            "Repository {} in {} and its {} will be deleted.",
            self.name,
            self.region,
            counted(seen.images, "image")
        )])
    }

    fn arn(&self, _conventions: &Conventions) -> Option<String> {
        Some(self.arn.clone())
    }

    fn terraform(&self, seen: &SeenRepository, _labels: &Labels) -> Vec<terraform::Piece> {
        let repository =
            terraform::Thing::new("aws_ecr_repository", self.name.as_str()).at(&self.region);
        let repository = repository.set("name", self.name.as_str()).tags(&seen.tags);
        vec![
            repository
                .leaving(&[
                    "encryption_configuration",
                    "image_scanning_configuration",
                    "image_tag_mutability",
                ])
                .into(),
        ]
    }

    fn cloudformation(
        &self,
        seen: &SeenRepository,
        _labels: &Labels,
    ) -> Vec<cloudformation::Entry> {
        let repository = cloudformation::Thing::new(
            "AWS::ECR::Repository",
            "RepositoryName",
            self.name.as_str(),
        )
        .at(&self.region);
        vec![cloudformation::Entry::Thing(
            repository
                .set("RepositoryName", self.name.as_str())
                .tags(&seen.tags),
        )]
    }
}

impl Repository {
    fn uri(&self, c: &Conventions) -> String {
        repository_uri(&c.partition, &c.account_id, &self.region, &self.name)
    }
}

fn sdk_tags(tags: &Tags) -> Result<Vec<Tag>, Fault> {
    tags.iter()
        .map(|(key, value)| Tag::builder().key(key).value(value).build())
        .collect::<Result<_, _>>()
        .map_err(Fault::of_sdk)
}
