//! What an app has in AWS besides what its spec names: what its jobs have made or adopted is known until it is gone.
//!
//! Invariants:
//! - The record of what jobs have made and adopted decides, not what specs have named: somebody else's bucket that a
//!   change has named in vain is not the app's.
//! - What is retained can be removed.
//! - What a job may have created, and was interrupted before it knew, counts as retained.

use std::collections::BTreeSet;

use crate::domain::app::{App, AppResource, AppState, Recorded};
use crate::domain::removal::Removal;
use crate::domain::resource_id::ResourceId;
use crate::domain::retained::{Dropped, Owned, RepairRequest, Retained, RetainedResource};
use crate::provision::change::Want;
use crate::provision::conventions::Conventions;
use crate::provision::dropped::dropped;
use crate::provision::graph::leftovers;
use crate::provision::ids;
use crate::provision::kinds::{self, graph};
use crate::provision::node::Node;
use crate::provision::ownership;

/// What jobs of the app have made or adopted and its spec does not name.
pub fn retained(app: &App, c: &Conventions) -> Retained {
    let is_removed = app.summary.state == AppState::Removed;
    let spec = if is_removed {
        Dropped::default().as_spec(&app.spec)
    } else {
        app.spec.clone()
    };
    let nodes = graph(&spec, c, Want::Present);
    let ids_of = |nodes: &[Box<dyn Node>]| -> BTreeSet<ResourceId> {
        nodes.iter().map(|node| node.id()).collect()
    };
    let named = ids_of(&nodes);
    let removable = ids_of(&leftovers(nodes, app, &spec, c));
    let data_nodes = data_nodes(app, c);
    let is_left = |it: &&AppResource| {
        !named.contains(&it.resource) && kinds::is_retained(&it.resource, &app.spec, c)
    };
    let things = app.resources.iter().filter(is_left).filter_map(|it| {
        let (detail, owned) = match it.owned {
            Some(owned) => (told(&data_nodes, &it.resource), owned),
            None if it.may_exist() => (told_of_doubt(&it.resource), Owned::Made),
            None => return None,
        };
        Some(RetainedResource {
            arn: it.arn.clone(),
            made_at: it.made_at,
            ..entry(&it.resource, detail, owned)
        })
    });
    let keys = app.keys.iter().map(|key| {
        let (user, id) = (&app.spec.name, &key.access_key_id);
        let detail = format!(
            "Access key {id} of user {user} is retained and keeps working. The spec sets access_key to false."
        );
        RetainedResource {
            made_at: Some(key.created_at),
            ..entry(&ids::one_access_key(user, id), detail, Owned::Made)
        }
    });
    let mut resources: Vec<RetainedResource> = things
        .chain(keys)
        .filter(|it| removable.contains(&it.resource))
        // The user goes after its keys.
        .filter(|it| it.resource.kind() != ids::USER || app.keys.is_empty())
        .collect();
    if is_removed {
        resources.iter_mut().for_each(|it| it.remove = None);
    }
    let is_known = |id: &ResourceId| resources.iter().any(|it| it.resource == *id);
    let mut data = dropped(app);
    data.buckets.retain(|it| is_known(&ids::bucket(&it.name)));
    data.repositories
        .retain(|it| is_known(&ids::repository(&it.region, &it.name)));
    data.lists
        .retain(|field, entry| kinds::id_of_entry(field, entry).is_some_and(|id| is_known(&id)));
    Retained {
        buckets: data.buckets,
        repositories: data.repositories,
        lists: data.lists,
        resources,
    }
}

fn entry(id: &ResourceId, detail: String, owned: Owned) -> RetainedResource {
    let remove = Some(RepairRequest {
        remove: BTreeSet::from([id.clone()]),
    });
    RetainedResource {
        resource: id.clone(),
        detail,
        arn: None,
        owned,
        made_at: None,
        remove,
    }
}

fn told(data_nodes: &[Box<dyn Node>], id: &ResourceId) -> String {
    match data_nodes.iter().find(|node| node.id() == *id) {
        Some(node) => told_of_data(node.as_ref()),
        None => format!("{id} is retained in AWS. The spec does not include it."),
    }
}

fn told_of_doubt(id: &ResourceId) -> String {
    format!(
        "{id} may be in AWS: a job that was interrupted may have created it. The spec does not include it."
    )
}

fn told_of_data(node: &dyn Node) -> String {
    format!(
        "The {} is retained in AWS with its contents.",
        node.description()
    )
}

/// What holds data, of what the app has or had by an earlier spec.
fn data_nodes(app: &App, c: &Conventions) -> Vec<Box<dyn Node>> {
    let all = dropped(app).after(&app.spec, &Dropped::default().as_spec(&app.spec));
    let mut nodes = graph(&all.as_spec(&app.spec), c, Want::Present);
    nodes.retain(|node| node.holds_data());
    nodes
}

/// What people are told of data that a removal of the app leaves in AWS.
pub fn given_back_or_left(app: &App, removal: &Removal, c: &Conventions) -> Vec<String> {
    let stays = removal.leaves(&app.spec, &dropped(app));
    let recorded = Recorded::of(&app.resources);
    graph(&stays.as_spec(&app.spec), c, Want::Present)
        .iter()
        .filter(|node| node.holds_data() && recorded.owns(&node.id()))
        .map(|node| match recorded.adopted.contains(&node.id()) {
            true => ownership::told_given_back(&node.description()),
            false => told_of_data(node.as_ref()),
        })
        .collect()
}

/// Whether a job with these nodes removes a resource. One that removes the app's key removes all of its keys.
pub fn is_taken_away(id: &ResourceId, nodes: &[Box<dyn Node>]) -> bool {
    let removes = |gone: &ResourceId| {
        let is_key_of = id.kind() == ids::ACCESS_KEY
            && gone.kind() == ids::ACCESS_KEY
            && id
                .name()
                .strip_prefix(gone.name())
                .is_some_and(|rest| rest.starts_with('/'));
        gone == id || is_key_of
    };
    nodes
        .iter()
        .filter(|node| node.want() == Want::Absent)
        .any(|node| removes(&node.id()))
}
