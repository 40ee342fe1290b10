//! The app's bucket: blocked for public access, with CORS rules for the pages that may upload.
//!
//! Invariants:
//! - Changes of one bucket are made one after another: S3 rejects concurrent ones with `OperationAborted` (Amazon S3
//!   API Reference). Public access is blocked before any change that could open the bucket.
//! - In us-east-1, CreateBucket returns 200 for an existing bucket of the same account and resets its ACLs. There the
//!   bucket is observed first, and 200 does not prove that the call created it.
//! - Every call except CreateBucket includes the account that must own the bucket.
//! - The existing CORS rules and tags of an adopted bucket are kept.

mod change;
mod contents;
mod cors;
mod resource;
mod settings;
mod state;

pub use self::change::BucketChange;
pub use self::state::{Bucket, Contents, Cors, SeenBucket};

#[cfg(test)]
mod tests;
