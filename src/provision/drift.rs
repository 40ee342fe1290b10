//! A look for drift: the plan of a repair, with what it would leave.

use std::collections::BTreeSet;

use crate::domain::app::App;
use crate::domain::drift::{DriftReport, Unexpected, is_difference, keeps_from_looking};
use crate::domain::job::JobError;
use crate::domain::plan::{Action, PlannedChange};
use crate::domain::retained::RepairRequest;
use crate::provision::context::ReconcileContext;
use crate::provision::conventions::Conventions;
use crate::provision::fault::Fault;
use crate::provision::ids;
use crate::provision::node::Node;
use crate::provision::plan::plan;
use crate::provision::retained::retained;
use crate::provision::unmanaged;
use crate::provision::unmanaged::Extra;

/// Checks an app for drift, given the nodes that a repair would execute. Changes nothing.
pub async fn look(
    app: &App,
    nodes: &[Box<dyn Node>],
    conventions: &Conventions,
    cx: &ReconcileContext,
) -> DriftReport {
    let checked_at = cx.clock.now();
    let plan = plan(&app.spec, nodes, cx).await;
    let changes: Vec<PlannedChange> = plan
        .changes
        .into_iter()
        .filter(|change| change.action != Action::None)
        .collect();
    let troubles = changes
        .iter()
        .filter(|change| change.action == Action::Blocked)
        .filter_map(|change| change.error.as_ref());
    let mut error = troubles
        .filter(|job_error| keeps_from_looking(job_error))
        .map(|job_error| of_a_look(job_error.clone()))
        .next();
    let retained = retained(app, conventions).resources;
    // What jobs of the app have made is not unexpected.
    let known = |extra: &Extra| {
        retained
            .iter()
            .map(|it| &it.resource)
            .chain(changes.iter().map(|change| &change.resource))
            .any(|id| *id == extra.resource)
    };
    let mut unexpected = Vec::new();
    let of_user = has_its_user(app, &changes);
    match unmanaged::extras(&app.spec, conventions, cx, of_user).await {
        Ok(extras) => unexpected.extend(
            extras
                .into_iter()
                .filter(|extra| !known(extra))
                .map(|extra| told(extra, app, cx)),
        ),
        Err(fault) => error = error.or_else(|| Some(trouble_of(&fault))),
    }
    let drifted = changes.iter().any(is_difference) || unexpected.iter().any(|it| !it.adopted);
    let (name, warnings) = (app.spec.name.clone(), plan.warnings);
    DriftReport {
        app: name,
        checked_at,
        drifted,
        changes,
        unexpected,
        retained,
        warnings,
        error,
        repair: None,
    }
}

/// Whether the user exists and belongs to this app. Resources on the user of another owner are not reported. The set-up of
/// an account has no user of its own.
fn has_its_user(app: &App, changes: &[PlannedChange]) -> bool {
    if app.spec.setup.is_some() {
        return false;
    }
    let id = ids::user(&app.spec.name);
    let stands = |change: &PlannedChange| {
        !matches!(
            change.action,
            Action::Create | Action::Conflict | Action::Blocked
        )
    };
    changes
        .iter()
        .filter(|change| change.resource == id)
        .all(stands)
}

/// An adopted user or role may have had the resource before. AWS reports the creation time of access keys only.
fn told(extra: Extra, app: &App, cx: &ReconcileContext) -> Unexpected {
    let adopted = !cx.is_created_by_app(&extra.of)
        && extra
            .since
            .is_none_or(|since| since <= app.summary.created_at);
    let detail = match adopted {
        true => {
            let of = if extra.of.kind() == ids::ROLE {
                "role"
            } else {
                "user"
            };
            format!(
                "{}. Slipway did not create it. It may predate the app, because the app's {of} was adopted.",
                extra.detail
            )
        }
        false => format!("{}. Slipway did not create it.", extra.detail),
    };
    let remove = BTreeSet::from([extra.resource.clone()]);
    Unexpected {
        resource: extra.resource,
        detail,
        since: extra.since,
        adopted,
        removal_request: RepairRequest { remove },
    }
}

fn trouble_of(fault: &Fault) -> JobError {
    let waiting = || JobError {
        code: crate::domain::job::JobErrorCode::Unavailable,
        detail: "AWS could not be queried.".into(),
        remedy: None,
        retryable: true,
        aws: None,
    };
    of_a_look(fault.job_error().cloned().unwrap_or_else(waiting))
}

/// Turns an error of a drift check into one that does not tell the reader to retry a job.
fn of_a_look(job_error: JobError) -> JobError {
    let remedy = match &job_error.remedy {
        Some(remedy) => remedy.replace("retry the job", "run the drift check again"),
        None => {
            "Run the drift check again later (POST /v1/apps/{app}/drift), or wait for the next scheduled check."
                .into()
        }
    };
    JobError {
        remedy: Some(remedy),
        ..job_error
    }
}
