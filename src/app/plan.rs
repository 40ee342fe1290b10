//! Plans: what a job would do now.

use crate::app::error::UseCaseError;
use crate::app::inspect::read_only_context;
use crate::app::service::Service;
use crate::domain::app::App;
use crate::domain::plan::Plan;
use crate::domain::spec::AppSpec;
use crate::domain::task::Task;
use crate::provision::graph::nodes;
use crate::provision::plan::plan;
use crate::provision::resource::Want;
use crate::provision::retained::{is_taken_away, retained};

/// The ids of the resources that a task walks.
pub fn steps_of(
    service: &Service,
    task: &Task,
    app: Option<&App>,
    spec: &AppSpec,
) -> Result<Vec<String>, UseCaseError> {
    let account = service
        .account(&spec.account)
        .ok_or(UseCaseError::NoSuch("such account"))?;
    Ok(nodes(task, app, spec, &service.conventions(&account))
        .iter()
        .map(|node| node.id())
        .collect())
}

/// What a job with this task would take away now; its warnings say what goes with it.
pub async fn plan_of_removals(
    service: &Service,
    task: &Task,
    spec: &AppSpec,
    app: Option<&App>,
) -> Result<Plan, UseCaseError> {
    let account = service
        .account(&spec.account)
        .ok_or(UseCaseError::NoSuch("such account"))?;
    let mut nodes = nodes(task, app, spec, &service.conventions(&account));
    nodes.retain(|node| node.want() == Want::Absent);
    let cx = read_only_context(service, account, task, spec, app).await?;
    Ok(plan(spec, &nodes, &cx).await)
}

/// What a job with this task would do now.
pub async fn plan_of(
    service: &Service,
    task: &Task,
    spec: &AppSpec,
    app: Option<&App>,
) -> Result<Plan, UseCaseError> {
    let account = service
        .account(&spec.account)
        .ok_or(UseCaseError::NoSuch("such account"))?;
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
