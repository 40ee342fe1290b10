//! What people and programs see: data on standard output, everything else on standard error.
//!
//! Invariant: control characters in what the service sends do not reach a terminal.

mod format;
mod job;
mod paint;
mod plan;
mod progress;
mod streams;
mod table;

pub use format::{Format, print_value};
pub use job::{conclude_job, print_job, print_steps};
pub use paint::{Paint, printable};
pub use plan::{Counts, PlanView, plan_markdown, plan_text};
pub use progress::observed;
pub use streams::{ask, ask_for_name, note, out, warn};
pub use table::{Column, details, print_list, table, text_at};
