//! The URL at which browsers reach this service.

use std::fmt;

use http::Uri;
use serde::Deserialize;

/// An origin: `https`, or `http` on this machine, without a path.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PublicUrl(String);

impl PublicUrl {
    /// Parses a URL. A final slash and the default port are left out, as browsers do in an origin.
    ///
    /// # Errors
    /// When it is not the URL of a server that browsers can reach safely.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let says = "must be an https URL without a path, such as https://slipway.example.com; http is only for 127.0.0.1, [::1] and localhost";
        let url: Uri = text.parse().map_err(|_| says)?;
        let (Some(scheme), Some(authority)) = (url.scheme_str(), url.authority()) else {
            return Err(says);
        };
        let has_path = url.path() != "/" || url.query().is_some() || text.contains('#');
        if has_path || authority.as_str().contains('@') {
            return Err(says);
        }
        let host = authority.host().to_ascii_lowercase();
        let default_port = match scheme {
            "https" => 443,
            "http" if ["127.0.0.1", "[::1]", "localhost"].contains(&host.as_str()) => 80,
            _ => return Err(says),
        };
        let port = match authority.port_u16() {
            Some(port) if port != default_port => format!(":{port}"),
            _ => String::new(),
        };
        Ok(Self(format!("{scheme}://{host}{port}")))
    }

    /// Whether browsers reach it by TLS.
    pub fn is_secure(&self) -> bool {
        self.0.starts_with("https:")
    }

    /// The origin, as browsers send it.
    pub fn origin(&self) -> &str {
        &self.0
    }

    /// The URL of a path of this service.
    pub fn join(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }
}

impl TryFrom<String> for PublicUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).map_err(|why| format!("SLIPWAY_PUBLIC_URL {why}"))
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_url_is_an_origin_that_browsers_reach_by_tls_or_on_this_machine() {
        for (text, origin) in [
            ("https://slipway.example.com", "https://slipway.example.com"),
            (
                "https://Slipway.Example.com:443/",
                "https://slipway.example.com",
            ),
            ("https://slipway:8443", "https://slipway:8443"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://[::1]:8080/", "http://[::1]:8080"),
            ("http://localhost:80", "http://localhost"),
        ] {
            assert_eq!(PublicUrl::parse(text).unwrap().origin(), origin);
        }
        for text in [
            "",
            "slipway.example.com",
            "http://slipway.example.com",
            "http://127.0.0.1.example.com",
            "https://slipway.example.com/path",
            "https://slipway.example.com/?q",
            "https://slipway.example.com#f",
            "https://ann@slipway.example.com",
            "ftp://localhost",
            "/path",
        ] {
            assert!(PublicUrl::parse(text).is_err(), "{text}");
        }
    }
}
