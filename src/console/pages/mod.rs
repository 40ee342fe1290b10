//! The pages, one file each: what a page shows, and the actions of its forms.

pub mod access;
pub mod account;
pub mod accounts;
pub mod app;
pub mod app_actions;
pub mod approvals;
pub mod apps;
pub mod audit;
pub mod change_setup;
pub mod chat;
pub mod claim;
pub mod claim_password;
pub mod hooks;
pub mod job;
pub mod jobs;
pub mod keys;
pub mod new_app;
pub mod overview;
pub mod remove_app;
pub mod repair_setup;
pub mod sessions;
pub mod setup;
pub mod webhook;
pub mod webhooks;
