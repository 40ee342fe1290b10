//! The kernel: brings AWS resources to what a spec asks for.

pub mod backoff;
pub mod context;
pub mod drift;
pub mod execute;
pub mod export;
pub mod fault;
pub mod graph;
pub mod inspect;
pub mod kinds;
pub mod node;
pub mod ownership;
pub mod permissions;
pub mod plan;
pub mod reconcile;
pub mod render;
pub mod repository_contents;
pub mod repository_images;
pub mod resource;
pub mod retained;
pub mod rotation_rules;
pub mod unmanaged;
pub mod user_dependencies;
pub mod user_keys;
