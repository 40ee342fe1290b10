//! What each task walks: the nodes of its graph.
//!
//! Invariant: a job and its plan walk the same nodes.

use std::collections::BTreeSet;

use super::{Node, Typed};
use crate::domain::app::App;
use crate::domain::spec::{AppSpec, MediaAccess};
use crate::domain::task::{Removal, Retained, Task};
use crate::resources::access_key::{AccessKey, KeyGoal};
use crate::resources::attachment::Attachment;
use crate::resources::{Conventions, KINDS, ResourceId, Want, graph, stray};

/// What a task of an app walks, given the app's record: `spec` is what it is to have.
pub fn nodes(task: &Task, app: Option<&App>, spec: &AppSpec, c: &Conventions) -> Vec<Box<dyn Node>> {
    match task {
        Task::Onboard { .. } => graph(spec, c, Want::Present),
        Task::Repair { remove, .. } => of_repair(remove, spec, c),
        Task::Update { remove, drop_key, .. } => of_update(*remove, *drop_key, app, spec, c),
        Task::Rotate { known_keys, replace, force, .. } => {
            key(spec, KeyGoal::Another { known_keys: known_keys.clone(), replace: replace.clone(), force: *force })
        }
        Task::SwitchKey { access_key_id, to, force, rotation } => {
            key(spec, KeyGoal::Switched { access_key_id: access_key_id.clone(), to: *to, force: *force, rotating: rotation.is_some() })
        }
        Task::Offboard => {
            key(spec, KeyGoal::Off { adopted: app.and_then(|app| app.removal.as_ref()).is_some_and(|removal| removal.adopted) })
        }
        Task::Restore { .. } => of_restore(app.and_then(|app| app.removal.as_ref()), spec, c),
        Task::Remove => of_removal(app, spec, c),
    }
}

/// What the spec asks for; then what was asked to be removed goes.
fn of_repair(remove: &BTreeSet<String>, spec: &AppSpec, c: &Conventions) -> Vec<Box<dyn Node>> {
    let mut nodes = graph(spec, c, Want::Present);
    nodes.extend(remove.iter().filter_map(|id| stray::node(id, spec, c)));
    nodes
}

fn key(spec: &AppSpec, goal: KeyGoal) -> Vec<Box<dyn Node>> {
    vec![present(AccessKey::of(spec, goal))]
}

fn present<R: crate::resources::Resource>(resource: R) -> Box<dyn Node> {
    Box::new(Typed { resource, want: Want::Present })
}

fn absent<R: crate::resources::Resource>(resource: R) -> Box<dyn Node> {
    Box::new(Typed { resource, want: Want::Absent })
}

/// What the spec asks for; then the attachment of the other media policy goes, and what else the spec does not
/// ask for any more, if that is to be removed.
fn of_update(remove: bool, drop_key: bool, app: Option<&App>, spec: &AppSpec, c: &Conventions) -> Vec<Box<dyn Node>> {
    let mut nodes = graph(spec, c, Want::Present);
    nodes.extend(Attachment::of_other_mode(spec, c).map(absent));
    if let (true, Some(app)) = (remove, app) {
        let mut before = app.retained.after(&app.spec, spec).as_spec(spec);
        before.buckets.extend(spec.buckets.iter().cloned());
        add_absent(&mut nodes, &AppSpec { access_key: drop_key, ..before }, c);
    }
    nodes
}

/// What an app with this spec has, by either media policy, is to go, but for what is in the graph already; in the
/// reverse of the order in which it was made.
fn add_absent(nodes: &mut Vec<Box<dyn Node>>, spec: &AppSpec, c: &Conventions) {
    let (by_one, by_other) = (spec.clone(), AppSpec { media_access: spec.media_access.other(), ..spec.clone() });
    let gone = graph(&by_one, c, Want::Absent).into_iter().chain(graph(&by_other, c, Want::Absent));
    let mut added: Vec<Box<dyn Node>> = Vec::new();
    for node in gone {
        if !nodes.iter().chain(&added).any(|there| there.id() == node.id()) {
            added.push(node);
        }
    }
    // What is made last hangs on what was made first.
    let place = |node: &dyn Node| KINDS.iter().position(|kind| node.id().split('/').next() == Some(*kind));
    added.sort_by_key(|node| std::cmp::Reverse(place(node.as_ref())));
    nodes.extend(added);
}

/// What the spec asks for, with the keys on that were switched off for the removal.
fn of_restore(removal: Option<&Removal>, spec: &AppSpec, c: &Conventions) -> Vec<Box<dyn Node>> {
    let switched_off = removal.map(|removal| removal.switched_off.iter().cloned().collect()).unwrap_or_default();
    let key = AccessKey::of(spec, KeyGoal::Restored { switched_off, one: spec.access_key });
    let mut nodes = graph(&AppSpec { access_key: false, ..spec.clone() }, c, Want::Present);
    nodes.push(present(key));
    nodes
}

/// Everything of the app's but the buckets and repositories that are retained.
fn of_removal(app: Option<&App>, spec: &AppSpec, c: &Conventions) -> Vec<Box<dyn Node>> {
    let Some((app, removal)) = app.and_then(|app| Some((app, app.removal.as_ref()?))) else { return Vec::new() };
    let all = app.retained.after(&app.spec, &Retained::default().as_spec(spec));
    let mut nodes = Vec::new();
    add_absent(&mut nodes, &AppSpec { access_key: true, ..all.as_spec(spec) }, c);
    let ids = |data: &Retained| -> BTreeSet<ResourceId> {
        let spec = AppSpec { media_access: MediaAccess::Shared, ..data.as_spec(spec) };
        graph(&spec, c, Want::Absent).iter().map(|node| node.id()).collect()
    };
    let (stays, without_data) = (ids(&removal.retained(&app.spec, &app.retained)), ids(&Retained::default()));
    nodes.retain(|node| !stays.contains(&node.id()) || without_data.contains(&node.id()));
    nodes
}
