//! What an app has in AWS besides what its spec names: what its jobs have made or adopted is known until it is gone.
//!
//! Invariants:
//! - The record of what jobs have made and adopted decides, not what specs have named: somebody else's bucket that a
//!   change has named in vain is not the app's.
//! - What is retained can be removed.

use std::collections::BTreeSet;

use crate::domain::app::{App, AppResource, AppState, Owned, Recorded};
use crate::domain::drift::RepairRequest;
use crate::domain::ecr_lifecycle::Lifecycle;
use crate::domain::spec::{BucketSpec, RepositorySpec};
use crate::domain::task::{Dropped, Removal, Retained, RetainedResource};
use crate::provision::graph::leftover;
use crate::provision::kinds::bucket::Bucket;
use crate::provision::kinds::group::Group;
use crate::provision::kinds::lifecycle_policy::RepositoryLifecycle;
use crate::provision::kinds::policy::Policy;
use crate::provision::kinds::repository;
use crate::provision::kinds::repository::Repository;
use crate::provision::kinds::{access_key, bucket, graph};
use crate::provision::node::Node;
use crate::provision::ownership;
use crate::provision::resource::{Conventions, Resource as _, ResourceId, Want};

/// What jobs of the app have made or adopted and its spec does not name.
pub fn retained(app: &App, c: &Conventions) -> Retained {
    let is_removed = app.summary.state == AppState::Removed;
    let spec = if is_removed {
        Dropped::default().as_spec(&app.spec)
    } else {
        app.spec.clone()
    };
    let named: BTreeSet<ResourceId> = graph(&spec, c, Want::Present)
        .iter()
        .map(|node| node.id())
        .collect();
    let is_left = |it: &&AppResource| {
        !named.contains(&it.resource) && is_a_thing_of_its_own(&it.resource, app, c)
    };
    let things = app.resources.iter().filter(is_left).filter_map(|it| {
        let detail = told(app, &it.resource);
        Some(RetainedResource {
            arn: it.arn.clone(),
            made_at: it.made_at,
            ..entry(&it.resource, detail, it.owned?)
        })
    });
    let keys = app.keys.iter().map(|key| {
        let (user, id) = (&app.spec.name, &key.access_key_id);
        let detail = format!(
            "The access key {id} of user {user} stays and goes on working; the spec asks for none."
        );
        RetainedResource {
            made_at: Some(key.created_at),
            ..entry(&access_key::id_of(user, id), detail, Owned::Made)
        }
    });
    let mut resources: Vec<RetainedResource> = things
        .chain(keys)
        .filter(|it| leftover(&it.resource, app, &spec, c).is_some())
        .collect();
    if is_removed {
        resources.iter_mut().for_each(|it| it.remove = None);
    }
    let is_known = |id: &ResourceId| resources.iter().any(|it| it.resource == *id);
    let mut data = dropped(app);
    data.buckets.retain(|it| is_known(&bucket::id(&it.name)));
    data.repositories
        .retain(|it| is_known(&repository::id(&it.region, &it.name)));
    Retained {
        buckets: data.buckets,
        repositories: data.repositories,
        resources,
    }
}

/// Whether an id is of something that is retained.
pub fn is_retained(id: &str, app: &App, c: &Conventions) -> bool {
    retained(app, c)
        .resources
        .iter()
        .any(|it| it.resource == id)
}

fn entry(id: &str, detail: String, owned: Owned) -> RetainedResource {
    let remove = Some(RepairRequest {
        remove: BTreeSet::from([id.to_owned()]),
    });
    RetainedResource {
        resource: id.to_owned(),
        detail,
        arn: None,
        owned,
        made_at: None,
        remove,
    }
}

/// What all apps share is the account's; keys are recorded one by one, and a lifecycle policy goes with its repository.
fn is_a_thing_of_its_own(id: &str, app: &App, c: &Conventions) -> bool {
    let (kind, name) = id.split_once('/').unwrap_or((id, ""));
    match kind {
        Group::KIND | access_key::AccessKey::KIND | RepositoryLifecycle::KIND => false,
        Policy::KIND => name != c.policy.as_str() && name.ends_with(&format!("-{}", app.spec.name)),
        _ => true,
    }
}

fn told(app: &App, id: &str) -> String {
    match data_of(app, id) {
        Some(what) => format!("The {what} stays in AWS with all that is in it."),
        None => format!("{id} stays in AWS; the spec does not name it."),
    }
}

/// A bucket or repository, in words.
fn data_of(app: &App, id: &str) -> Option<String> {
    let all = dropped(app).after(&app.spec, &Dropped::default().as_spec(&app.spec));
    let bucket = all
        .buckets
        .iter()
        .find(|it| bucket::id(&it.name) == id)
        .map(|it| format!("bucket {} in {}", it.name, it.region));
    let repository = all
        .repositories
        .iter()
        .find(|it| repository::id(&it.region, &it.name) == id);
    bucket.or_else(|| repository.map(|it| format!("repository {} in {}", it.name, it.region)))
}

/// What specs before the present one have named, and what the record has besides: of that nobody knows more than its id.
pub(crate) fn dropped(app: &App) -> Dropped {
    let mut all = app.dropped.clone();
    for id in app
        .resources
        .iter()
        .filter(|it| it.owned.is_some())
        .map(|it| it.resource.as_str())
    {
        let known = app
            .spec
            .buckets
            .iter()
            .chain(&all.buckets)
            .any(|it| bucket::id(&it.name) == id);
        if let (false, Some(name)) = (known, Bucket::name_in(id)) {
            all.buckets.push(BucketSpec {
                name,
                region: app.spec.region.clone(),
                upload_origins: Vec::new(),
            });
        }
        let known = app
            .spec
            .repositories
            .iter()
            .chain(&all.repositories)
            .any(|it| repository::id(&it.region, &it.name) == id);
        if let (false, Some((region, name))) = (known, Repository::place_in(id)) {
            all.repositories.push(RepositorySpec {
                name,
                region,
                lifecycle: Lifecycle::Guide,
            });
        }
    }
    all
}

/// What people are told of data that a removal of the app leaves in AWS.
pub fn given_back_or_left(app: &App, removal: &Removal) -> Vec<String> {
    let stays = removal.leaves(&app.spec, &dropped(app));
    let buckets = stays.buckets.iter().map(|it| bucket::id(&it.name));
    let ids = buckets.chain(
        stays
            .repositories
            .iter()
            .map(|it| repository::id(&it.region, &it.name)),
    );
    let recorded = Recorded::of(&app.resources);
    ids.filter(|id| recorded.owns(id))
        .map(|id| match data_of(app, &id) {
            Some(what) if recorded.adopted.contains(&id) => ownership::told_given_back(&what),
            _ => told(app, &id),
        })
        .collect()
}

/// Whether a job that walks these nodes takes away what an id names. One that takes away the app's key takes all of its keys.
pub fn is_taken_away(id: &str, nodes: &[Box<dyn Node>]) -> bool {
    let mut gone = nodes
        .iter()
        .filter(|node| node.want() == Want::Absent)
        .map(|node| node.id());
    gone.any(|gone| {
        gone == id
            || id.starts_with(access_key::AccessKey::KIND) && id.starts_with(&format!("{gone}/"))
    })
}
