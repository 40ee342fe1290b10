//! What is observed of a resource, what is wanted of it, and the changes that lead from one to the other.

use std::fmt::Display;

use serde_json::Value;

use crate::aws::{AwsError, ErrorKind};
use crate::domain::plan::Action;
use crate::provision::fault::Fault;

/// What is there.
#[derive(Debug, Clone, PartialEq)]
pub enum Observation<T> {
    /// Nothing.
    Absent,
    /// This app's, or something that all apps share.
    Ours(T),
    /// Somebody else's.
    Foreign {
        /// Whose, where that can be told; nobody takes over what has an owner.
        owner: Option<String>,
        /// What adopting it would start from.
        seen: T,
    },
}

/// What is wanted of a thing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Want {
    /// That it is there, as the spec says.
    #[default]
    Present,
    /// That it is not there any more; what was adopted is given back.
    Absent,
    /// That it stays in AWS and is nobody's: our tags come off.
    Released,
}

/// The changes that would bring what is there to what is wanted, and what a person should know.
#[derive(Debug, Clone, PartialEq)]
pub struct Changes<C> {
    /// In an order that works.
    pub changes: Vec<C>,
    /// In people's words.
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

/// What a change met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It is made.
    Done,
    /// A create met a thing by that name: look again, it may be our own.
    MetExisting,
    /// One part of a long change is made: look again for what is left of it.
    More,
}

impl Applied {
    /// What an answer to a deletion means: not found is success.
    ///
    /// # Errors
    /// Any other refusal.
    pub fn gone<T>(answer: Result<T, AwsError>) -> Result<Self, Fault> {
        match answer {
            Err(error) if error.kind != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(Self::Done),
        }
    }
}

/// One AWS call that changes something. Its text says what it does, as plans and events show it.
pub trait Change: Display + Clone + Send + Sync {
    /// What kind of change.
    fn action(&self) -> Action;
    /// What is there before, in people's terms.
    fn before(&self) -> Option<Value> {
        None
    }
    /// What is there after.
    fn after(&self) -> Option<Value> {
        None
    }
    /// The command a person would type for it, as the guide does it.
    fn aws_cli(&self) -> String;
    /// Whether the command's answer shows a secret, so that no script should run it.
    fn shows_secret(&self) -> bool {
        false
    }
}
