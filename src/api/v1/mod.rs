//! The endpoints of version 1.

pub mod apps;
pub mod audit;
pub mod credentials;
pub mod drift;
pub mod export_app;
pub mod identity;
pub mod jobs;
pub mod list_background_tasks;
pub mod lifecycle_simulation;
pub mod remove_app;
pub mod tokens;
pub mod update_app;
