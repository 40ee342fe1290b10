//! The console: the pages for people, rendered by the server.
//!
//! Invariants:
//! - A page calls the same use cases as the API, with the same caller, role and scope.
//! - Every page and action works without JavaScript. JavaScript only keeps a page up to date.
//! - No page holds a secret, except for the one answer to a claim and to the creation of a token.
//! - Nothing is loaded from elsewhere, and no script or style is inline.

mod assets;
mod form;
mod live;
mod page;
mod pages;
mod respond;
mod router;
mod view;

pub use router::router;
