//! Problem documents (RFC 9457): the body of every error response.
//!
//! Invariants:
//! - Every error has one code, and every code one status and one title.
//! - The client sees what is wrong and what to do next. Internal details stay in the log.

mod code;
mod complete;
mod document;
mod error;
mod refusal;
mod use_case;

pub use self::code::Code;
pub use self::complete::{complete, method_not_allowed, not_found, of_panic};
pub use self::document::Problem;
pub use self::error::{ApiError, Limit};
