//! The URL of a server that the settings name.

use std::fmt;

use http::Uri;
use serde::Deserialize;

/// An `https` URL, or an `http` one that the administrator has chosen, without a query.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ServiceUrl(String);

impl ServiceUrl {
    /// Parses a URL. A final slash is left out.
    ///
    /// # Errors
    /// When it is not the URL of a server.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text} is not a URL such as https://chat.example.com");
        let url: Uri = text.parse().map_err(|_| wrong())?;
        let is_http = matches!(url.scheme_str(), Some("https" | "http"));
        let has_user = url
            .authority()
            .is_none_or(|authority| authority.as_str().contains('@'));
        if !is_http || has_user || url.query().is_some() || text.contains('#') {
            return Err(wrong());
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }

    /// Slack's own.
    pub fn of_slack() -> Self {
        Self("https://slack.com/api".to_owned())
    }

    /// The URL of something below it.
    pub fn join(&self, path: &str) -> String {
        format!("{}/{path}", self.0)
    }

    /// Whether another URL leads to the same server.
    pub fn has_origin_of(&self, other: &str) -> bool {
        origin(&self.0).is_some_and(|own| origin(other) == Some(own))
    }

    /// Whether another URL leads by https to the host `name` beside this one: to `hooks.slack.com` for `slack.com`.
    pub fn has_beside(&self, name: &str, other: &str) -> bool {
        let host = |url: &str| url.parse::<Uri>().ok()?.host().map(str::to_ascii_lowercase);
        let expected = host(&self.0).map(|host| format!("https://{name}.{host}"));
        expected.is_some_and(|expected| origin(&expected) == origin(other))
    }
}

/// Scheme, host and port.
fn origin(url: &str) -> Option<(String, String, u16)> {
    let url: Uri = url.parse().ok()?;
    let default_port = match url.scheme_str()? {
        "https" => 443,
        "http" => 80,
        _ => return None,
    };
    if url.authority()?.as_str().contains('@') {
        return None;
    }
    Some((
        url.scheme_str()?.to_owned(),
        url.host()?.to_ascii_lowercase(),
        url.port_u16().unwrap_or(default_port),
    ))
}

impl TryFrom<String> for ServiceUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl fmt::Display for ServiceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_knows_its_own_server_and_those_beside_it() {
        let slack = ServiceUrl::of_slack();
        assert_eq!(
            slack.join("chat.update"),
            "https://slack.com/api/chat.update"
        );
        assert!(slack.has_beside("hooks", "https://hooks.slack.com/commands/1/2"));
        assert!(slack.has_origin_of("https://SLACK.com:443/x"));
        for other in [
            "https://hooks.slack.com.example.com/",
            "http://hooks.slack.com/",
            "https://hooks.slack.com:444/",
            "https://hooks.slack.com@example.com/",
            "https://example.com/hooks.slack.com",
            "nonsense",
        ] {
            assert!(!slack.has_beside("hooks", other), "{other}");
            assert!(!slack.has_origin_of(other), "{other}");
        }
        for wrong in [
            "chat.example.com",
            "ftp://x",
            "https://a@b",
            "https://x/?y",
            "",
        ] {
            assert!(ServiceUrl::parse(wrong).is_err(), "{wrong}");
        }
        let trailing = ServiceUrl::parse("http://127.0.0.1:8065/").unwrap();
        assert_eq!(
            trailing.join("api/v4/posts"),
            "http://127.0.0.1:8065/api/v4/posts"
        );
    }
}
