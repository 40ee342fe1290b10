//! The use cases that the API, the command line and background tasks share.

pub mod background;
pub mod credentials;
pub mod drift;
pub mod error;
pub mod find;
pub mod inspect;
pub mod onboard;
pub mod plan;
pub mod rotate;
pub mod service;
