//! What a job of an account's set-up walks: the nodes of its spec, and those of what the spec does not include any more.
//!
//! Invariants:
//! - What belongs to a person or to the account that the spec still names is exact: a person who leaves a group in the
//!   spec leaves it in AWS.
//! - A person, a group or a setting that the spec does not name any more is retained until its removal is requested.

use crate::domain::account_setup::AccountSetup;
use crate::domain::app::App;
use crate::domain::resource_id::ResourceId;
use crate::domain::spec::AppSpec;
use crate::provision::change::Want;
use crate::provision::conventions::Conventions;
use crate::provision::ids;
use crate::provision::kinds::{KINDS, graph, recorded};
use crate::provision::node::Node;

/// What a job with this spec walks. With `remove`, what the spec does not name any more goes.
pub fn of_setup(
    remove: bool,
    app: Option<&App>,
    spec: &AppSpec,
    setup: &AccountSetup,
    c: &Conventions,
) -> Vec<Box<dyn Node>> {
    let mut nodes = graph(spec, c, Want::Present);
    if let Some(app) = app {
        let mut left = left_of(&nodes, app, spec, c);
        left.retain(|node| remove || is_part_of_named(&node.id(), setup));
        nodes.extend(left);
    }
    nodes
}

/// What is recorded of a set-up and not in the graph, what was created last first.
pub fn left_of(
    nodes: &[Box<dyn Node>],
    app: &App,
    spec: &AppSpec,
    c: &Conventions,
) -> Vec<Box<dyn Node>> {
    let is_named = |id: &ResourceId| nodes.iter().any(|node| node.id() == *id);
    let ids = app.resources.iter().map(|it| &it.resource);
    let left = ids.filter(|id| !is_named(id));
    let mut left: Vec<_> = left.filter_map(|id| recorded(id, spec, c)).collect();
    let place = |node: &dyn Node| KINDS.iter().position(|kind| node.id().kind() == *kind);
    left.sort_by_key(|node| std::cmp::Reverse(place(node.as_ref())));
    left
}

/// Whether a resource belongs to a person, or to a setting, that the spec names with another value.
fn is_part_of_named(id: &ResourceId, setup: &AccountSetup) -> bool {
    match id.kind() {
        ids::ACCOUNT_ALIAS => setup.spec.alias.is_some(),
        ids::LOGIN_PROFILE => setup.person(id.name()).is_some(),
        ids::MEMBERSHIP => {
            let (_, user) = id.name().split_once('/').unwrap_or_default();
            setup.person(user).is_some()
        }
        _ => false,
    }
}
