//! The steps of a job in the order of their dependencies.

use std::collections::BTreeMap;

use crate::app::error::UseCaseError;
use crate::app::service::Service;
use crate::domain::job::{Job, Step};
use crate::domain::resource_id::ResourceId;
use crate::provision::change::Want;
use crate::provision::graph::nodes;

/// The steps of a job, by how many others they come after: those of one level can be done at once.
///
/// A job that has not started has no steps of its own yet; then its resources are all pending. The dependencies are those
/// of the app's present spec.
///
/// # Errors
/// When the database is not available.
pub async fn job_graph(service: &Service, job: &Job) -> Result<Vec<Vec<Step>>, UseCaseError> {
    let needs = dependencies(service, job).await?;
    let mut levels: Vec<Vec<Step>> = Vec::new();
    for step in &job.steps {
        let level = level_of(&step.resource, &needs, 0);
        if levels.len() <= level {
            levels.resize_with(level + 1, Vec::new);
        }
        levels[level].push(step.clone());
    }
    levels.retain(|level| !level.is_empty());
    Ok(levels)
}

/// What each resource comes after.
async fn dependencies(
    service: &Service,
    job: &Job,
) -> Result<BTreeMap<ResourceId, Vec<ResourceId>>, UseCaseError> {
    let mut after: BTreeMap<ResourceId, Vec<ResourceId>> = BTreeMap::new();
    let Some(app) = service.app(&job.app).await? else {
        return Ok(after);
    };
    let Some(account) = service.account(&job.account).await? else {
        return Ok(after);
    };
    let conventions = service.conventions(&account);
    for node in nodes(&job.task, Some(&app), &app.spec, &conventions) {
        for needed in node.needs() {
            // What is needed to exist is deleted last.
            let (later, earlier) = match node.want() {
                Want::Absent => (needed, node.id()),
                _ => (node.id(), needed),
            };
            after.entry(later).or_default().push(earlier);
        }
    }
    Ok(after)
}

/// The graph has a few levels only; the bound guards against a cycle.
fn level_of(id: &ResourceId, after: &BTreeMap<ResourceId, Vec<ResourceId>>, depth: usize) -> usize {
    let Some(earlier) = after.get(id).filter(|_| depth < 8) else {
        return 0;
    };
    let levels = earlier.iter().map(|id| level_of(id, after, depth + 1) + 1);
    levels.max().unwrap_or(0)
}
