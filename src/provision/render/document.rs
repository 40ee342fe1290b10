//! What all exported files have in common.

use crate::domain::names::{AppName, Region};

/// The subject of a file.
#[derive(Debug, Clone)]
pub struct Head {
    pub app: AppName,
    /// The account ID, 12 digits.
    pub account: String,
    /// The app's region.
    pub region: Region,
}

/// Renders a text as comment lines of HCL and shells. No line of it can be anything else.
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
