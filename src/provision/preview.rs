//! The plan of one resource: the path of a job without its last step.

use crate::domain::job::JobErrorCode;
use crate::domain::plan::{Action, PlannedChange};
use crate::domain::resource_id::ResourceId;
use crate::provision::change::{Change, Want};
use crate::provision::context::ReconcileContext;
use crate::provision::fault::Fault;
use crate::provision::reconcile::{look, planned};
use crate::provision::resource::Resource;

/// What would be changed about one resource.
#[derive(Debug, Clone, PartialEq)]
pub struct Preview {
    /// One entry per change, or one that says why there is none.
    pub changes: Vec<PlannedChange>,
    /// What a person should know.
    pub warnings: Vec<String>,
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
            Want::Present => "No change: matches the spec.",
            Want::Absent => "No change: absent or retained.",
            Want::Released => "No change: retained.",
        };
        changes.push(PlannedChange::of(id, Action::None, detail));
    }
    Ok(Preview { changes, warnings })
}

fn planned_change(id: &ResourceId, change: &impl Change) -> PlannedChange {
    let action = change.action();
    PlannedChange {
        before: change.before(),
        after: change.after(),
        aws_cli: (action != Action::None).then(|| change.aws_cli()),
        ..PlannedChange::of(id.clone(), action, change.to_string())
    }
}

fn stands_in_the_way(id: &ResourceId, fault: &Fault) -> PlannedChange {
    let error = fault.job_error().cloned();
    let conflict = error
        .as_ref()
        .is_some_and(|job_error| job_error.code == JobErrorCode::Conflict);
    let detail = match (&error, fault) {
        (Some(job_error), _) => job_error.detail.clone(),
        (None, Fault::Wait { why, .. }) => why.clone(),
        (None, _) => "AWS could not be queried.".to_owned(),
    };
    let action = if conflict {
        Action::Conflict
    } else {
        Action::Blocked
    };
    PlannedChange {
        error,
        ..PlannedChange::of(id.clone(), action, detail)
    }
}
