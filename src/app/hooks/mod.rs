//! Incoming webhooks: deliveries are received at once and handled later, by the same use cases as requests.

pub mod forge;
pub mod handle;
pub mod list;
pub mod receive;
