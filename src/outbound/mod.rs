//! HTTP requests to servers that somebody else names: issuers of ID tokens, forges, receivers of webhooks, and chat
//! platforms.
//!
//! Invariants:
//! - No redirect is followed, and no proxy of the environment is used.
//! - An address is checked when the connection to it is made, so a name cannot lead elsewhere after the check.

mod address;
mod client;
mod connector;
mod form;

pub use address::{AddressPolicy, Cidr};
pub use client::{FullReply, HttpClient, PostError, Reply, client, get, post, send};
pub use connector::{Connector, Resolver};
pub use form::{encoded, form};
