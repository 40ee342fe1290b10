//! The cookies of sessions and of sign-ins under way.
//!
//! Invariants:
//! - By TLS, a cookie has the prefix `__Host-`: no other host, such as one beside it in the same domain, can set it. A cookie
//!   of that name without the prefix is not read.
//! - No script reads a cookie, and no other site's request has one unless a person follows a link.

use axum::http::{HeaderMap, HeaderValue, header};
use cookie::time::Duration;
use cookie::{Cookie, SameSite};

use crate::app::service::Service;
use crate::app::sign_in::SIGN_IN_TIMEOUT;

/// The names of the cookies of this service.
#[derive(Debug, Clone, Copy)]
pub struct Cookies {
    is_secure: bool,
}

impl Cookies {
    /// The cookies of a service. `None` if nobody can sign in.
    pub fn of(service: &Service) -> Option<Self> {
        let sign_in = service.sign_in.as_ref()?;
        Some(Self {
            is_secure: sign_in.public_url.is_secure(),
        })
    }

    fn session_name(self) -> &'static str {
        if self.is_secure {
            "__Host-slipway_session"
        } else {
            "slipway_session"
        }
    }

    fn sign_in_name(self) -> &'static str {
        if self.is_secure {
            "__Host-slipway_sign_in"
        } else {
            "slipway_sign_in"
        }
    }

    /// What the browser has as its session.
    pub fn session(self, headers: &HeaderMap) -> Option<String> {
        value(headers, self.session_name())
    }

    /// What the browser has as its sign-in under way.
    pub fn sign_in(self, headers: &HeaderMap) -> Option<String> {
        value(headers, self.sign_in_name())
    }

    /// Sets the session. The browser drops it when it closes.
    pub fn set_session(self, key: &str) -> Option<HeaderValue> {
        self.header(self.session_name(), key, None)
    }

    /// Sets the sign-in under way.
    pub fn set_sign_in(self, sealed: &str) -> Option<HeaderValue> {
        let age = Duration::try_from(SIGN_IN_TIMEOUT).ok();
        self.header(self.sign_in_name(), sealed, age)
    }

    /// Removes the session.
    pub fn clear_session(self) -> Option<HeaderValue> {
        self.header(self.session_name(), "", Some(Duration::ZERO))
    }

    /// Removes the sign-in under way.
    pub fn clear_sign_in(self) -> Option<HeaderValue> {
        self.header(self.sign_in_name(), "", Some(Duration::ZERO))
    }

    fn header(self, name: &str, value: &str, age: Option<Duration>) -> Option<HeaderValue> {
        let mut cookie = Cookie::build((name, value))
            .path("/")
            .http_only(true)
            .secure(self.is_secure)
            .same_site(SameSite::Lax)
            .build();
        if let Some(age) = age {
            cookie.set_max_age(age);
        }
        cookie.to_string().parse().ok()
    }
}

/// The value of the only cookie by this name. Two of them are none: somebody has added one.
fn value(headers: &HeaderMap, name: &str) -> Option<String> {
    let lines = headers.get_all(header::COOKIE).iter();
    let cookies = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(Cookie::split_parse)
        .filter_map(Result::ok);
    let mut named = cookies.filter(|cookie| cookie.name() == name);
    let first = named.next()?;
    let is_only = named.next().is_none();
    (is_only && !first.value().is_empty()).then(|| first.value().to_owned())
}
