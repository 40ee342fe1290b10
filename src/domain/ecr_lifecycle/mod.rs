//! ECR lifecycle policies: parsed once, compared by meaning, evaluated.
//!
//! Invariants:
//! - A [`LifecyclePolicy`] that exists is one that ECR takes, as far as ECR's documents say.
//! - Its rules are sorted by priority; the prefixes or patterns of a rule are a set.
//! - About an image decides the first rule that selects it, and no other.
//!
//! The facts are those of the Amazon ECR User Guide: "Lifecycle policy properties", "Lifecycle
//! policy evaluation rules" and "Examples of lifecycle policies". The tests hold its examples.

mod evaluate;
mod image;
mod parse;
mod policy;
mod rule;

pub mod protected_tag;
pub mod simulation;

pub use self::evaluate::{Evaluation, Finding, Outcome};
pub use self::image::Image;
pub use self::policy::{Lifecycle, LifecyclePolicy};
pub use self::rule::Reason;

/// One problem in a caller's document, at a JSON pointer that begins at the document's root, as
/// `/rules/3/selection/countType`.
pub use crate::domain::validation::FieldError as DocumentError;

#[cfg(test)]
mod tests;
