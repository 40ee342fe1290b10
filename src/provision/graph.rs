//! What each task walks: the nodes of its graph.
//!
//! Invariant: a job and its plan walk the same nodes.

use std::collections::BTreeSet;

use crate::domain::app::App;
use crate::domain::removal::Removal;
use crate::domain::resource_id::ResourceId;
use crate::domain::retained::Dropped;
use crate::domain::spec::{AppSpec, Lists, MediaAccess};
use crate::domain::task::Task;
use crate::provision::change::Want;
use crate::provision::conventions::Conventions;
use crate::provision::ids;
use crate::provision::kinds::access_key::{AccessKey, KeyGoal};
use crate::provision::kinds::identity::role_policy::RolePolicy;
use crate::provision::kinds::{KINDS, graph, list_holds_data, unwanted};
use crate::provision::node::{Node, Typed};
use crate::provision::setup_graph::{left_of, of_setup};
use crate::provision::unmanaged;

/// What a task of an app walks, given the app's record: `spec` is what it is to have.
pub fn nodes(
    task: &Task,
    app: Option<&App>,
    spec: &AppSpec,
    c: &Conventions,
) -> Vec<Box<dyn Node>> {
    match task {
        Task::Onboard { .. } => of_onboarding(app, spec, c),
        Task::Repair { remove, .. } => of_repair(remove, app, spec, c),
        Task::Update {
            remove, drop_key, ..
        } => of_update(*remove, *drop_key, app, spec, c),
        Task::Rotate {
            known_keys,
            replace,
            force,
            ..
        } => key(
            spec,
            KeyGoal::Another {
                known_keys: known_keys.clone(),
                replace: replace.clone(),
                force: *force,
            },
        ),
        Task::SetKeyStatus {
            access_key_id,
            to,
            force,
            rotation,
        } => key(
            spec,
            KeyGoal::Switched {
                access_key_id: access_key_id.clone(),
                to: *to,
                force: *force,
                rotating: rotation.is_some(),
            },
        ),
        Task::Offboard => of_offboarding(app, spec),
        Task::Restore { .. } => of_restore(app.and_then(|app| app.removal.as_ref()), spec, c),
        Task::Remove => of_removal(app, spec, c),
        Task::SetupAccount { remove } => match &spec.setup {
            Some(setup) => of_setup(*remove, app, spec, setup, c),
            None => Vec::new(),
        },
    }
}

/// What the spec asks for, and without the attachment of the media policy that it does not ask for: an app has exactly
/// the attachments of its spec.
fn of_spec(spec: &AppSpec, c: &Conventions) -> Vec<Box<dyn Node>> {
    let mut nodes = graph(spec, c, Want::Present);
    nodes.extend(unwanted(spec, c));
    nodes
}

/// An app that is asked for the first time has nothing of another spec.
fn of_onboarding(app: Option<&App>, spec: &AppSpec, c: &Conventions) -> Vec<Box<dyn Node>> {
    match app {
        Some(app) if app.version > 1 => of_spec(spec, c),
        _ => graph(spec, c, Want::Present),
    }
}

/// What the spec asks for; then what was asked to be removed goes.
fn of_repair(
    remove: &BTreeSet<ResourceId>,
    app: Option<&App>,
    spec: &AppSpec,
    c: &Conventions,
) -> Vec<Box<dyn Node>> {
    let mut nodes = match &spec.setup {
        Some(setup) => of_setup(false, app, spec, setup, c),
        None => of_spec(spec, c),
    };
    let mut leftovers = match app {
        Some(app) if !remove.is_empty() => leftovers(graph(spec, c, Want::Present), app, spec, c),
        _ => Vec::new(),
    };
    for id in remove {
        let left = leftovers
            .iter()
            .position(|node| node.id() == *id)
            .map(|at| leftovers.swap_remove(at))
            .or_else(|| unmanaged::node(id, spec, c));
        nodes.extend(left.filter(|_| !nodes.iter().any(|node| node.id() == *id)));
    }
    nodes
}

/// Without its keys, and without what its identities grant, the app has no access.
fn of_offboarding(app: Option<&App>, spec: &AppSpec) -> Vec<Box<dyn Node>> {
    let removal = app.and_then(|app| app.removal.as_ref());
    let adopted = removal.is_some_and(|removal| removal.adopted);
    let mut nodes = key(spec, KeyGoal::Off { adopted });
    nodes.extend(RolePolicy::suspending(spec).into_iter().map(present));
    nodes
}

fn key(spec: &AppSpec, goal: KeyGoal) -> Vec<Box<dyn Node>> {
    vec![present(AccessKey::of(spec, goal))]
}

fn present<R: crate::provision::resource::Resource>(resource: R) -> Box<dyn Node> {
    Box::new(Typed {
        resource,
        want: Want::Present,
    })
}

fn absent<R: crate::provision::resource::Resource>(resource: R) -> Box<dyn Node> {
    Box::new(Typed {
        resource,
        want: Want::Absent,
    })
}

/// What the spec asks for; then what else the app has goes, if that is to be removed.
fn of_update(
    remove: bool,
    drop_key: bool,
    app: Option<&App>,
    spec: &AppSpec,
    c: &Conventions,
) -> Vec<Box<dyn Node>> {
    let removal = app.and_then(|app| app.removal.as_ref());
    let mut nodes = match removal {
        // A restore has not succeeded, and this takes its place.
        Some(_) if spec.access_key => of_restore(removal, spec, c),
        _ => of_spec(spec, c),
    };
    if let (true, Some(app)) = (remove, app) {
        add_leftovers(&mut nodes, drop_key, app, spec, c);
    }
    nodes
}

/// What jobs of the app have made, or may have made for an earlier spec, and `spec` does not name is to go.
fn add_leftovers(
    nodes: &mut Vec<Box<dyn Node>>,
    drop_key: bool,
    app: &App,
    spec: &AppSpec,
    c: &Conventions,
) {
    if spec.setup.is_some() {
        nodes.extend(left_of(nodes, app, spec, c));
        return;
    }
    let mut before = crate::provision::dropped::dropped(app)
        .after(&app.spec, spec)
        .as_spec(spec);
    before.buckets.extend(spec.buckets.iter().cloned());
    add_absent(
        nodes,
        &AppSpec {
            access_key: drop_key,
            ..before
        },
        c,
    );
    // What is on the user under the names of other conventions.
    for id in app
        .resources
        .iter()
        .filter(|it| it.owned.is_some())
        .map(|it| &it.resource)
    {
        if !nodes.iter().any(|node| node.id() == *id) {
            nodes.extend(unmanaged::node(id, spec, c));
        }
    }
}

/// The nodes that take away what the app has, or had by an earlier spec, and `spec`, whose graph is `nodes`, does not
/// name.
pub(crate) fn leftovers(
    mut nodes: Vec<Box<dyn Node>>,
    app: &App,
    spec: &AppSpec,
    c: &Conventions,
) -> Vec<Box<dyn Node>> {
    let named = nodes.len();
    add_leftovers(&mut nodes, false, app, spec, c);
    let others = nodes.split_off(named);
    let keys = app.keys.iter().map(|key| {
        let goal = KeyGoal::Single(key.access_key_id.clone());
        absent(AccessKey::of(spec, goal))
    });
    keys.chain(others).collect()
}

/// What an app with this spec has, by either media policy, is to go, but for what is in the graph already; in the
/// reverse of the order in which it was made.
fn add_absent(nodes: &mut Vec<Box<dyn Node>>, spec: &AppSpec, c: &Conventions) {
    let (by_one, by_other) = (
        spec.clone(),
        AppSpec {
            media_access: spec.media_access.other(),
            ..spec.clone()
        },
    );
    // A spec with identities may have had a user before.
    let with_user = |spec: &AppSpec| AppSpec {
        lists: Lists::default(),
        ..spec.clone()
    };
    let specs = [&by_one, &by_other].map(|spec| [spec.clone(), with_user(spec)]);
    let gone = specs
        .iter()
        .flatten()
        .flat_map(|spec| graph(spec, c, Want::Absent));
    let mut added: Vec<Box<dyn Node>> = Vec::new();
    for node in gone {
        if !nodes
            .iter()
            .chain(&added)
            .any(|there| there.id() == node.id())
        {
            added.push(node);
        }
    }
    // What was created last depends on what was created first.
    let place = |node: &dyn Node| KINDS.iter().position(|kind| node.id().kind() == *kind);
    added.sort_by_key(|node| std::cmp::Reverse(place(node.as_ref())));
    nodes.extend(added);
}

/// What the spec asks for, with the keys active that the removal deactivated.
fn of_restore(removal: Option<&Removal>, spec: &AppSpec, c: &Conventions) -> Vec<Box<dyn Node>> {
    let switched_off = removal
        .map(|removal| removal.switched_off.iter().cloned().collect())
        .unwrap_or_default();
    let key = AccessKey::of(
        spec,
        KeyGoal::Restored {
            switched_off,
            one: spec.access_key,
        },
    );
    let mut nodes = of_spec(spec, c);
    nodes.retain(|node| node.id() != ids::access_key(&spec.name));
    nodes.push(present(key));
    nodes
}

/// Everything of the app's goes, but for the buckets and repositories that stay: these are nobody's from then on.
fn of_removal(app: Option<&App>, spec: &AppSpec, c: &Conventions) -> Vec<Box<dyn Node>> {
    let Some((app, removal)) = app.and_then(|app| Some((app, app.removal.as_ref()?))) else {
        return Vec::new();
    };
    let dropped = crate::provision::dropped::dropped(app);
    let all = dropped.after(&app.spec, &Dropped::default().as_spec(spec));
    let mut nodes = Vec::new();
    add_absent(
        &mut nodes,
        &AppSpec {
            access_key: true,
            ..all.as_spec(spec)
        },
        c,
    );
    let data = |data: &Dropped, want| {
        let spec = AppSpec {
            media_access: MediaAccess::Shared,
            ..data.as_spec(spec)
        };
        graph(&spec, c, want)
    };
    let ids = |nodes: &[Box<dyn Node>]| -> BTreeSet<ResourceId> {
        nodes.iter().map(|node| node.id()).collect()
    };
    let mut left = removal.leaves(&app.spec, &dropped);
    left.lists.retain(|field, _| list_holds_data(field));
    let (stays, without_data) = (
        data(&left, Want::Released),
        data(&Dropped::default(), Want::Absent),
    );
    let (staying, without_data) = (ids(&stays), ids(&without_data));
    nodes.retain(|node| !staying.contains(&node.id()) || without_data.contains(&node.id()));
    nodes.extend(
        stays
            .into_iter()
            .filter(|node| !without_data.contains(&node.id()) && node.holds_data()),
    );
    nodes
}
