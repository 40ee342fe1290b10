//! The app's image repository.
//!
//! Invariant: a repository by the wanted name that does not carry the app's tag is foreign.

mod change;
mod images;
mod resource;
mod state;

pub use self::change::RepositoryChange;
pub use self::state::{Repository, SeenRepository};
