//! Takes apps apart whose quarantine is over.
//!
//! Invariant: a removal is a job like any other, asked for once its time has come; asking twice is one job, for an
//! app has one at a time.

use crate::app::service::Service;
use crate::domain::app::App;
use crate::domain::task::Task;
use crate::store::{JobRequest, Refusal, StoreError};
use std::sync::Arc;

/// Runs until the service stops.
pub async fn run(service: Arc<Service>) {
    loop {
        if let Err(error) = remove_due(&service).await {
            tracing::warn!(%error, "apps whose quarantine is over could not be looked for; trying again");
        }
        tokio::select! {
            () = tokio::time::sleep(service.timing.poll) => {}
            () = service.tasks.stopping() => return,
        }
    }
}

async fn remove_due(service: &Service) -> Result<(), StoreError> {
    for app in service.store.due_removals().await? {
        let Some(ask) = removal_of(service, &app) else {
            continue;
        };
        match service.store.enqueue(ask, None).await? {
            Ok(_) => {
                tracing::info!(app = %app.spec.name, "the quarantine is over; the app is taken apart")
            }
            // It was restored, or another replica was first.
            Err(
                Refusal::Active(_)
                | Refusal::RemovalBegun(..)
                | Refusal::NotBeingRemoved
                | Refusal::NoApp
                | Refusal::Removed(..)
                | Refusal::Changed,
            ) => {}
            Err(refusal) => {
                tracing::error!(app = %app.spec.name, ?refusal, "the app cannot be taken apart")
            }
        }
    }
    Ok(())
}

fn removal_of(service: &Service, app: &App) -> Option<JobRequest> {
    let account = service.account(&app.spec.account)?;
    let nodes = crate::provision::graph::nodes(
        &Task::Remove,
        Some(app),
        &app.spec,
        &service.conventions(&account),
    );
    let steps = nodes.iter().map(|node| node.id()).collect();
    let asked_by = app
        .removal
        .as_ref()
        .map(|removal| removal.requested_by.clone())
        .unwrap_or_default();
    // For this version alone: a restore in between has another.
    Some(JobRequest {
        if_version: Some(app.version),
        ..JobRequest::new(app.spec.name.clone(), Task::Remove, steps, asked_by)
    })
}
