//! The client commands, a file for each group.

pub mod account;
pub mod account_setup;
pub mod app;
pub mod app_change;
pub mod app_open;
pub mod app_show;
pub mod app_spec;
pub mod audit;
pub mod claim;
pub mod device_login;
pub mod job;
pub mod key;
pub mod lifecycle;
pub mod login;
pub mod manifest;
pub mod plan_and_apply;
pub mod plans;
pub mod report;
pub mod review;
pub mod secret_output;
pub mod spec_file;
pub mod token;
pub mod trust_rule;
