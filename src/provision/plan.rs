//! Plans: the path of a job without its last step.

use std::collections::BTreeSet;

use futures::future::join_all;

use crate::domain::plan::{Action, Plan, PlannedChange};
use crate::domain::resource_id::ResourceId;
use crate::domain::spec::AppSpec;
use crate::provision::context::ReconcileContext;
use crate::provision::execute::before;
use crate::provision::node::Node;
use crate::provision::preview::Preview;

/// What a job that walks these nodes would do now. Changes nothing.
pub async fn plan(spec: &AppSpec, nodes: &[Box<dyn Node>], cx: &ReconcileContext) -> Plan {
    let previews = join_all(nodes.iter().map(|node| node.preview(cx))).await;
    let (mut changes, mut warnings) = (Vec::new(), Vec::new());
    let mut out_of_reach = BTreeSet::new();
    for (node, preview) in nodes.iter().zip(previews) {
        let preview = match before(node.as_ref(), nodes)
            .into_iter()
            .find(|need| out_of_reach.contains(need))
        {
            Some(need) => not_reached(&node.id(), &need),
            None => preview,
        };
        if preview
            .changes
            .iter()
            .any(|change| matches!(change.action, Action::Conflict | Action::Blocked))
        {
            out_of_reach.insert(node.id());
        }
        changes.extend(preview.changes);
        warnings.extend(preview.warnings);
    }
    let calls = changes
        .iter()
        .filter(|change| {
            matches!(
                change.action,
                Action::Create | Action::Update | Action::Delete
            )
        })
        .count();
    Plan {
        app: spec.name.clone(),
        spec: spec.clone(),
        changes,
        warnings,
        calls,
    }
}

/// The preview of a resource that the job would skip. What nodes need comes before them in the graph.
fn not_reached(id: &ResourceId, need: &ResourceId) -> Preview {
    let detail = format!("depends on {need}");
    Preview {
        changes: vec![PlannedChange::of(id.clone(), Action::Blocked, detail)],
        warnings: Vec::new(),
    }
}
