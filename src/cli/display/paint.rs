//! Colours, where they are wanted: on a terminal that shows them, unless NO_COLOR is set (<https://no-color.org>).

use std::io::{self, IsTerminal as _};

/// What a colour says: what is added, changed, removed, or of less interest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Color {
    Green,
    Yellow,
    Red,
    Dim,
    Bold,
}

/// Paints text for one of the two streams.
#[derive(Debug, Clone, Copy)]
pub struct Paint {
    is_on: bool,
}

impl Paint {
    /// For standard error.
    pub fn stderr() -> Self {
        Self::when(io::stderr().is_terminal())
    }

    /// For standard output.
    pub fn stdout() -> Self {
        Self::when(io::stdout().is_terminal())
    }

    fn when(is_terminal: bool) -> Self {
        let is_refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            is_on: is_terminal && !is_refused,
        }
    }

    #[cfg(test)]
    pub fn off() -> Self {
        Self { is_on: false }
    }

    pub fn text(self, color: Color, text: &str) -> String {
        let code = match color {
            Color::Green => 32,
            Color::Yellow => 33,
            Color::Red => 31,
            Color::Dim => 2,
            Color::Bold => 1,
        };
        if self.is_on {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// A text without control characters, which could move the cursor or change what is shown.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
