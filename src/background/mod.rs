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
