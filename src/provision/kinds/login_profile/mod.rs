//! The console password of a person: a login profile, whose password has to be changed at the first sign-in.
//!
//! Invariants:
//! - A password is recorded, sealed, before AWS is asked to set it. `CreateLoginProfile` is sent once for each record.
//! - After a lost response the same password is set again, if the profile was created while the call can have taken
//!   effect. Nobody can have claimed it by then.
//! - A password that AWS has confirmed is never set again, and one that somebody else has set is left alone.

mod change;
mod password;
mod resource;
mod state;

pub use self::resource::LoginProfile;
