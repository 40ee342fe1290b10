//! What runs without being asked for: the dispatcher of jobs and the background tasks.

pub mod access_key_store;
pub mod advance_rotations;
pub mod attempt;
pub mod check_drift;
pub mod dispatcher;
pub mod keeper;
pub mod reencrypt;
pub mod reporter;
pub mod start_due_removals;

use std::sync::Arc;

use crate::app::service::Service;
use crate::domain::spec::default_account;

/// Starts the dispatcher and the background tasks of a service.
pub fn start(service: &Arc<Service>) {
    service.tasks.spawn(dispatcher::dispatch(service.clone()));
    service.tasks.spawn(keeper::keep(service.clone()));
    service.tasks.spawn(keeper::forget(service.clone()));
    service
        .tasks
        .spawn(start_due_removals::run(service.clone()));
    service.tasks.spawn(advance_rotations::run(service.clone()));
    service
        .tasks
        .spawn(check_drift::watch(service.clone(), default_account()));
}
