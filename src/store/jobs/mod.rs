//! Jobs: accepted, claimed under a lease, finished by the holder of the lease, and read.

pub mod approve;
pub mod cancel_and_retry;
pub mod claim;
pub mod enqueue;
pub mod finish;
pub mod query;
