//! Previews of a task: what its job would do now.

use crate::app::error::UseCaseError;
use crate::app::find::account;
use crate::app::inspect::read_only_context;
use crate::app::service::Service;
use crate::domain::app::App;
use crate::domain::plan::Plan;
use crate::domain::spec::AppSpec;
use crate::domain::task::Task;
use crate::provision::change::Want;
use crate::provision::graph::nodes;
use crate::provision::plan::plan;
use crate::provision::retained::{is_taken_away, retained};

/// What a job with this task would do now.
///
/// # Errors
/// When the spec's account is not registered, or the database is not available.
pub async fn preview(
    service: &Service,
    task: &Task,
    spec: &AppSpec,
    app: Option<&App>,
) -> Result<Plan, UseCaseError> {
    let account = account(service, &spec.account).await?;
    let conventions = service.conventions(&account);
    let nodes = nodes(task, app, spec, &conventions);
    let cx = read_only_context(service, account, task, spec, app).await?;
    let mut plan = plan(spec, &nodes, &cx).await;
    if let (Some(app), true) = (app, *task != Task::Remove) {
        let after = App {
            spec: spec.clone(),
            dropped: app.dropped.after(&app.spec, spec),
            ..app.clone()
        };
        let after = service.store.with_record(after).await?;
        plan.warnings
            .extend(retained(&after, &conventions).told(|id| is_taken_away(id, &nodes)));
    }
    Ok(plan)
}

/// What a job with this task would remove now. The warnings say which data would be deleted with it.
///
/// # Errors
/// As [`preview`].
pub async fn preview_removals(
    service: &Service,
    task: &Task,
    spec: &AppSpec,
    app: Option<&App>,
) -> Result<Plan, UseCaseError> {
    let account = account(service, &spec.account).await?;
    let mut nodes = nodes(task, app, spec, &service.conventions(&account));
    nodes.retain(|node| node.want() == Want::Absent);
    let cx = read_only_context(service, account, task, spec, app).await?;
    Ok(plan(spec, &nodes, &cx).await)
}
