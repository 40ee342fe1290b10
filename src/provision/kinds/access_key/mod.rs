//! The app's access key. Its create is the one call that cannot be repeated: `CreateAccessKey` takes only the name of
//! the user, returns the secret once, and a user has at most two keys.
//!
//! 1. An intent is recorded with the IDs of the user's keys, in one commit.
//! 2. The call is made with one attempt.
//! 3. The secret is sealed and committed with the ID of the key.
//! 4. If the response is lost, the intent stays open. The keys are then listed twice, because the list is eventually
//!    consistent. A key is deleted if it is neither in the intent nor recorded, was created after the intent and before
//!    the call had certainly ended, was never used, and belongs to a user that a job of this app created: nobody knows
//!    its secret.
//! 5. In any doubt, a person has to decide, who gets the IDs of the keys. A key that may be in use is never deleted. No
//!    key is created beside an active one without a record: the database may be an older backup.
//!
//! Invariants:
//! - When a step that may create a key is done, the app has the key, and its secret is sealed.
//! - Keys that an adopted user had before are changed only if a person names them, or removes the app with its adopted
//!   resources.
//! - A key is recorded before a removal deactivates it, so that a restore knows it.

mod change;
mod faults;
mod keys;
mod lost_answer;
mod planning;
mod resource;
mod state;

pub use self::change::{AccessKeyChange, SwitchTo};
pub use self::state::{AccessKey, KeyGoal, Lost, SeenKeys};

#[cfg(test)]
mod tests;
