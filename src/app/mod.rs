//! The use cases that the API, the command line and background tasks share.

pub mod service;
