//! What runs without being asked for: the dispatcher of jobs and the background tasks.

mod access_key_store;
mod approved_plan;
mod attempt;
mod chat;
mod dispatcher;
mod driver;
mod job_times;
mod lease_renewal;
mod reporter;
pub mod tasks;
mod waiting;
mod webhook_sender;
mod webhook_verdict;

use std::sync::Arc;

use crate::app::service::Service;

/// Starts the dispatcher and the background tasks of a service.
pub fn start(service: &Arc<Service>) {
    service.tasks.spawn(dispatcher::dispatch(service.clone()));
    tasks::start_all(service);
}
