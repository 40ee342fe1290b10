//! The settings of the service. docs/configuration.md describes them.
//!
//! Invariant: a misspelt setting is an error, in the file and in the environment; secrets are never shown, not even in
//! debug form.

mod checks;
mod environment;
mod load;
mod settings;

pub use self::settings::{Cidrs, Regions, Settings};

#[cfg(test)]
mod tests;
