//! The app's bucket: private, closed to the public, open to the browsers that may upload.
//!
//! Invariants:
//! - Changes to one bucket go one after another: overlapping ones answer `OperationAborted` (Amazon S3
//!   API Reference). Public access is blocked before anything that could open the bucket.
//! - In us-east-1 creating one's own bucket again answers 200 and resets its ACLs, so there a look
//!   comes first, and 200 is no proof of creation.
//! - Every call but the create names the account that has to own the bucket.
//! - On an adopted bucket, CORS rules and tags that are there are kept.

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
