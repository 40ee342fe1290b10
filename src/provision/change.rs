//! What is observed of a resource, what is wanted of it, and the changes that lead from one to the other.

use std::fmt::Display;

use serde_json::Value;

use crate::aws::{AwsError, ErrorKind};
use crate::domain::plan::Action;
use crate::provision::fault::Fault;

/// The observed state of a resource.
#[derive(Debug, Clone, PartialEq)]
pub enum Observation<T> {
    /// The resource does not exist.
    Absent,
    /// The resource belongs to this app, or is shared by all apps.
    Ours(T),
    /// The resource belongs to someone else.
    Foreign {
        /// The owner, if known. A resource with an owner cannot be adopted.
        owner: Option<String>,
        /// The state from which an adoption starts.
        seen: T,
    },
}

/// The target of a resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Want {
    /// The resource exists and matches the spec.
    #[default]
    Present,
    /// The resource does not exist. An adopted resource is released instead.
    Absent,
    /// The resource exists without an owner: the tags of Slipway are removed.
    Released,
}

/// The changes to the target, with warnings.
#[derive(Debug, Clone, PartialEq)]
pub struct Changes<C> {
    /// The changes, in a valid order.
    pub changes: Vec<C>,
    /// Warnings for people.
    pub warnings: Vec<String>,
}

impl<C> Changes<C> {
    /// Changes without a warning.
    pub fn of(changes: Vec<C>) -> Self {
        Self {
            changes,
            warnings: Vec::new(),
        }
    }
}

/// The result of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// The change is applied.
    Done,
    /// A create found an existing resource. It is observed again, because an earlier attempt may have created it.
    MetExisting,
    /// One part of a long change is applied. The resource is observed again to plan the rest.
    More,
}

impl Applied {
    /// Interprets the response to a delete. Not found counts as success.
    ///
    /// # Errors
    /// Any other AWS error.
    pub fn gone<T>(answer: Result<T, AwsError>) -> Result<Self, Fault> {
        match answer {
            Err(error) if error.kind != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(Self::Done),
        }
    }
}

/// A count with its noun, such as `1 image` or `2 images`.
pub fn counted<N: Display + PartialEq + From<u8>>(count: N, noun: &str) -> String {
    let plural = if count == N::from(1) { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// One AWS call that changes something. Its `Display` text appears in plans and events.
pub trait Change: Display + Clone + Send + Sync {
    /// The action of the change.
    fn action(&self) -> Action;
    /// The value before the change, for people.
    fn before(&self) -> Option<Value> {
        None
    }
    /// The value after the change.
    fn after(&self) -> Option<Value> {
        None
    }
    /// The equivalent AWS CLI command.
    fn aws_cli(&self) -> String;
    /// Whether the output of the command shows a secret, so that no script should run it.
    fn shows_secret(&self) -> bool {
        false
    }
}
