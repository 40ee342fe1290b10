//! Requests the removal of apps whose quarantine is over.
//!
//! Invariant: a removal is a job like any other. An app has one job at a time, so two requests are one removal.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use crate::app::service::Service;
use crate::background::driver::{BackgroundTask, NextRun};
use crate::domain::app::App;
use crate::domain::task::Task;
use crate::store::{JobRequest, Refusal, StoreError};

pub struct StartDueRemovals {
    period: Duration,
}

impl StartDueRemovals {
    pub fn new(service: &Service) -> Self {
        Self {
            period: service.timing.poll,
        }
    }
}

impl BackgroundTask for StartDueRemovals {
    fn name(&self) -> &'static str {
        "start_due_removals"
    }

    fn period(&self) -> Duration {
        self.period
    }

    fn activate<'a>(
        &'a mut self,
        service: &'a Arc<Service>,
    ) -> BoxFuture<'a, Result<NextRun, StoreError>> {
        async {
            for app in service.store.due_removals().await? {
                start_removal(service, &app).await?;
            }
            Ok(NextRun::AfterPeriod)
        }
        .boxed()
    }
}

async fn start_removal(service: &Service, app: &App) -> Result<(), StoreError> {
    let Some(request) = removal_of(service, app).await? else {
        return Ok(());
    };
    match service.store.enqueue(request, None).await? {
        Ok(_) => tracing::info!(app = %app.spec.name, "quarantine over; removal started"),
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
            tracing::error!(app = %app.spec.name, ?refusal, "the app's removal cannot start")
        }
    }
    Ok(())
}

async fn removal_of(service: &Service, app: &App) -> Result<Option<JobRequest>, StoreError> {
    let Some(account) = service.account(&app.spec.account).await? else {
        return Ok(None);
    };
    let nodes = crate::provision::graph::nodes(
        &Task::Remove,
        Some(app),
        &app.spec,
        &service.conventions(&account),
    );
    let steps = nodes.iter().map(|node| node.id()).collect();
    let requested_by = app
        .removal
        .as_ref()
        .map(|removal| removal.requested_by.clone())
        .unwrap_or_default();
    // For this version alone: a restore in between has another.
    Ok(Some(JobRequest {
        if_version: Some(app.version),
        ..JobRequest::new(app.spec.name.clone(), Task::Remove, steps, requested_by)
    }))
}
