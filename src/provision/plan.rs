//! Plans: the path of a job without its last step.

use std::collections::BTreeSet;

use futures::future::join_all;

use crate::domain::job::JobErrorCode;
use crate::domain::plan::{Action, Plan, PlannedChange};
use crate::domain::spec::AppSpec;
use crate::provision::context::ReconcileContext;
use crate::provision::execute::before;
use crate::provision::fault::Fault;
use crate::provision::node::Node;
use crate::provision::reconcile::{look, planned};
use crate::provision::resource::{Change, Resource, Want};

/// What would be changed about one resource.
#[derive(Debug, Clone, PartialEq)]
pub struct Preview {
    /// One entry per change, or one that says why there is none.
    pub changes: Vec<PlannedChange>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

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

/// What would be changed about `resource`.
pub async fn preview<R: Resource>(resource: &R, cx: &ReconcileContext) -> Preview {
    match changes(resource, cx).await {
        Ok(preview) => preview,
        Err(fault) => Preview {
            changes: vec![stands_in_the_way(&resource.id(), &fault)],
            warnings: Vec::new(),
        },
    }
}

async fn changes<R: Resource>(resource: &R, cx: &ReconcileContext) -> Result<Preview, Fault> {
    let seen = look(resource, cx).await?;
    let foreseen = resource.preflight_warnings(cx, seen.as_ref()).await?;
    let id = resource.id();
    let planned = match planned(resource, cx, seen.as_ref()) {
        Ok(planned) => planned,
        Err(fault) => {
            return Ok(Preview {
                changes: vec![stands_in_the_way(&id, &fault)],
                warnings: foreseen,
            });
        }
    };
    let warnings = planned.warnings.into_iter().chain(foreseen).collect();
    let mut changes: Vec<PlannedChange> = planned
        .changes
        .iter()
        .map(|change| planned_change(&id, change))
        .collect();
    if changes.is_empty() {
        let detail = match cx.want {
            Want::Present => "is as the spec says",
            Want::Absent => "is not there, or stays",
            Want::Released => "stays as it is",
        };
        let (resource, detail) = (id.clone(), detail.to_owned());
        changes.push(PlannedChange {
            resource,
            action: Action::None,
            detail,
            before: None,
            after: None,
            aws_cli: None,
            error: None,
        });
    }
    Ok(Preview { changes, warnings })
}

fn planned_change(id: &str, change: &impl Change) -> PlannedChange {
    let action = change.action();
    PlannedChange {
        resource: id.to_owned(),
        action,
        detail: change.to_string(),
        before: change.before(),
        after: change.after(),
        aws_cli: (action != Action::None).then(|| change.aws_cli()),
        error: None,
    }
}

/// The preview of a resource that the job would skip. What nodes need comes before them in the graph.
fn not_reached(id: &str, need: &str) -> Preview {
    let detail = format!("needs {need}");
    let change = PlannedChange {
        resource: id.to_owned(),
        action: Action::Blocked,
        detail,
        before: None,
        after: None,
        aws_cli: None,
        error: None,
    };
    Preview {
        changes: vec![change],
        warnings: Vec::new(),
    }
}

fn stands_in_the_way(id: &str, fault: &Fault) -> PlannedChange {
    let error = fault.job_error().cloned();
    let conflict = error
        .as_ref()
        .is_some_and(|job_error| job_error.code == JobErrorCode::Conflict);
    let detail = match (&error, fault) {
        (Some(job_error), _) => job_error.detail.clone(),
        (None, Fault::Wait { why, .. }) => why.clone(),
        (None, _) => "cannot be looked at now".to_owned(),
    };
    let action = if conflict {
        Action::Conflict
    } else {
        Action::Blocked
    };
    PlannedChange {
        resource: id.to_owned(),
        action,
        detail,
        before: None,
        after: None,
        aws_cli: None,
        error,
    }
}
