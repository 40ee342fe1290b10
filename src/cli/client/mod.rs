//! A client of the API: where the service is, who asks, and what the answers mean.

mod api;
mod connection;
mod error;
mod event_stream;
mod follow;
mod paging;
mod request;
mod saved_login;

pub use api::{Api, Reply};
pub use connection::ConnectionArgs;
pub use error::ClientError;
pub use event_stream::JobProgress;
pub use follow::{Interest, follow};
pub use paging::{PageArgs, list};
pub use request::{IdempotencyArgs, Request, segment};
pub use saved_login::SavedLogin;
