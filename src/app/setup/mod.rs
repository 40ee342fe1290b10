//! The set-up of an account: its alias, groups, people, password policy and access to billing.
//!
//! Invariant: a set-up is the subject of jobs as an app is. What is special about it is its spec, its kinds of resource,
//! and how it is shown.

pub mod apply;
pub mod claim;
pub mod drift;
pub mod find;
pub mod password;
pub mod view;
