//! The app's access key: the one create that cannot be repeated.
//!
//! `CreateAccessKey` takes only the user's name, answers the secret once, and a user has two keys at
//! most. So:
//!
//! 1. the ids of the user's keys are written down with the intent, in one commit;
//! 2. the call is made with one attempt;
//! 3. the secret is sealed and committed with the key's id;
//! 4. after a lost answer (the intent is still open) the keys are listed, and after a while listed
//!    again, because the list is eventually consistent; a key that is not in the written list, not in
//!    our records, made after the intent, never used, and on a user that we made, is deleted, for
//!    nobody knows its secret; one made later than the call can have taken effect is not its key;
//! 5. in any doubt a person is asked, with the key's ids. A key that may be in use is never deleted; and none is made
//!    beside a live one on a user of ours that no record tells of: the record may be an older copy of the database.
//!
//! Invariants:
//! - When a step that may make a key is done, the app has the key of ours that was wanted, and its secret is sealed.
//! - Keys that were on a user before it was adopted are touched only where a person names them, or has the app
//!   removed with what was adopted.
//! - A key is recorded before a removal deactivates it, so that a restore knows it.

mod change;
mod faults;
mod keys;
mod lost_answer;
mod planning;
mod resource;
mod state;

pub use self::change::AccessKeyChange;
pub use self::state::{AccessKey, KeyGoal, Lost, SeenKeys};

#[cfg(test)]
mod tests;
