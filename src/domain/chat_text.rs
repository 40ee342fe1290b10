//! Text of chat messages, in the markup of a platform.
//!
//! Invariant: what comes from elsewhere is shown as it is. It makes no link, and mentions nobody.

use crate::domain::chat::Platform;

/// The longest text of a message: Slack accepts 3000 characters in a section
/// (<https://docs.slack.dev/reference/block-kit/blocks/section-block>).
const MAX_TEXT: usize = 2900;

/// A text that grows line by line.
#[derive(Debug, Clone)]
pub struct ChatText {
    platform: Platform,
    text: String,
    /// Lines that no longer fitted.
    left_out: usize,
}

impl ChatText {
    /// An empty text.
    pub fn new(platform: Platform) -> Self {
        Self {
            platform,
            text: String::new(),
            left_out: 0,
        }
    }

    /// A text of one plain line.
    pub fn of(platform: Platform, line: &str) -> Self {
        let mut text = Self::new(platform);
        let line = text.plain(line);
        text.line(&line);
        text
    }

    /// Adds a line of marked-up parts. What is longer than a message may be is left out, and counted.
    pub fn line(&mut self, parts: &str) {
        let length = self.text.chars().count() + parts.chars().count() + 1;
        if self.left_out > 0 || length > MAX_TEXT {
            self.left_out += 1;
            return;
        }
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(parts);
    }

    /// Whether lines are left out.
    pub fn is_cut(&self) -> bool {
        self.left_out > 0
    }

    /// Text as it is.
    pub fn plain(&self, text: &str) -> String {
        let text = text.replace(['\n', '\r'], " ");
        match self.platform {
            // <https://docs.slack.dev/messaging/formatting-message-text#escaping>
            Platform::Slack => text
                .replace('&', "&amp;")
                .replace('<', "&lt;")
                .replace('>', "&gt;"),
            // A character of no width after it keeps an @ from being a mention.
            Platform::Mattermost => {
                let is_markup = |c: char| "\\`*_{}[]()<>#+!|~".contains(c);
                let mut escaped = String::with_capacity(text.len());
                for c in text.chars() {
                    if is_markup(c) {
                        escaped.push('\\');
                    }
                    escaped.push(c);
                    if c == '@' {
                        escaped.push('\u{200b}');
                    }
                }
                escaped
            }
        }
    }

    /// Text that stands out.
    pub fn bold(&self, text: &str) -> String {
        match self.platform {
            Platform::Slack => format!("*{}*", self.plain(text)),
            Platform::Mattermost => format!("**{}**", self.plain(text)),
        }
    }

    /// Text in the letters of code.
    pub fn code(&self, text: &str) -> String {
        let text = text.replace('`', "'").replace(['\n', '\r'], " ");
        match self.platform {
            Platform::Slack => format!("`{}`", self.plain(&text)),
            Platform::Mattermost => format!("`{text}`"),
        }
    }

    /// A link to a page of this service.
    pub fn link(&self, url: &str, label: &str) -> String {
        match self.platform {
            Platform::Slack => format!("<{url}|{}>", self.plain(label)),
            Platform::Mattermost => format!("[{}]({url})", self.plain(label)),
        }
    }

    /// The whole text.
    pub fn finish(mut self) -> String {
        if self.left_out > 0 {
            let more = format!("… and {} more lines", self.left_out);
            self.text.push('\n');
            self.text.push_str(&more);
        }
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_elsewhere_links_and_mentions_nothing() {
        let slack = ChatText::new(Platform::Slack);
        assert_eq!(
            slack.plain("<!channel> & <http://x|y>"),
            "&lt;!channel&gt; &amp; &lt;http://x|y&gt;"
        );
        assert_eq!(slack.code("a`b\nc"), "`a'b c`");
        let mattermost = ChatText::new(Platform::Mattermost);
        assert_eq!(
            mattermost.plain("@all [x](y)"),
            "@\u{200b}all \\[x\\]\\(y\\)"
        );
        assert_eq!(mattermost.link("https://s/x", "x"), "[x](https://s/x)");
    }

    #[test]
    fn a_long_text_ends_with_a_count() {
        let mut text = ChatText::new(Platform::Slack);
        for _ in 0..100 {
            text.line(&"x".repeat(99));
        }
        let text = text.finish();
        assert!(
            text.chars().count() < 3000 && text.ends_with("and 71 more lines"),
            "{text}"
        );
    }
}
