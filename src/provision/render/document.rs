//! What all exported files have in common.

use crate::domain::names::{AppName, Region};

/// What a file is of.
#[derive(Debug, Clone)]
pub struct Head {
    /// The app.
    pub app: AppName,
    /// The account's 12 digits.
    pub account: String,
    /// The app's region.
    pub region: Region,
}

/// A text as comment lines of HCL and shells: no line of it can be anything else.
pub fn comment(text: &str) -> String {
    text.lines()
        .map(|line| {
            if line.is_empty() {
                "#\n".to_owned()
            } else {
                format!("# {line}\n")
            }
        })
        .collect()
}
