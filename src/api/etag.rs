//! The entity tag of an app, and the conditional headers that name it (RFC 9110, sections 8.8.3 and 13.1).
//!
//! Rejected: the `headers` crate. It would turn on a feature of a dependency of the AWS SDK (see
//! docs/decisions/0023-request-fields-stay-with-our-reader.md).

use std::fmt;

use axum::http::header::{IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::api::problem::ApiError;
use crate::domain::app::App;
use crate::domain::validation::FieldError;
use crate::store::fingerprint;

/// A strong entity tag, without its quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ETag(String);

impl ETag {
    /// The entity tag of an app. It changes with everything that the app's representation shows.
    ///
    /// # Errors
    /// When the app cannot be serialized.
    pub fn of(app: &App) -> Result<Self, ApiError> {
        // Resources change while a job runs, without a new version of the record.
        let shown = serde_json::to_vec(app).map_err(|_| ApiError::Defect)?;
        let fingerprint = fingerprint(&[&shown]);
        Ok(Self(format!("{}-{fingerprint:.16}", app.version)))
    }

    /// The value of the `ETag` header.
    ///
    /// # Errors
    /// When the tag is not ASCII, which does not happen.
    pub fn header(&self) -> Result<HeaderValue, ApiError> {
        HeaderValue::from_str(&self.to_string()).map_err(|_| ApiError::Defect)
    }
}

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}

/// The value of If-Match or If-None-Match.
#[derive(Debug, PartialEq, Eq)]
pub enum Condition {
    /// `*`: any app that exists.
    Any,
    /// Entity tags without their quotes, and whether each is weak.
    Tags(Vec<(String, bool)>),
}

impl Condition {
    /// The condition in If-Match, if it is given.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn if_match(headers: &HeaderMap) -> Result<Option<Self>, ApiError> {
        Self::in_header(headers, &IF_MATCH)
    }

    /// The condition in If-None-Match, if it is given.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn if_none_match(headers: &HeaderMap) -> Result<Option<Self>, ApiError> {
        // An empty list names no tag, so the app is returned.
        if headers
            .get_all(IF_NONE_MATCH)
            .iter()
            .all(HeaderValue::is_empty)
        {
            return Ok(None);
        }
        Self::in_header(headers, &IF_NONE_MATCH)
    }

    fn in_header(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Self>, ApiError> {
        let values: Vec<&HeaderValue> = headers.get_all(name).iter().collect();
        if values.is_empty() {
            return Ok(None);
        }
        let texts: Option<Vec<&str>> = values.iter().map(|value| value.to_str().ok()).collect();
        texts
            .and_then(|texts| Self::parse(&texts.join(",")))
            .map(Some)
            .ok_or_else(|| {
                ApiError::Parameters(vec![FieldError::new(
                    name.as_str(),
                    "must be * or a list of entity tags, each in double quotes",
                )])
            })
    }

    fn parse(text: &str) -> Option<Self> {
        if text.trim() == "*" {
            return Some(Self::Any);
        }
        let (mut tags, mut rest) = (Vec::new(), text.trim());
        while !rest.is_empty() {
            let weak = rest.starts_with("W/");
            let (tag, after) = rest
                .trim_start_matches("W/")
                .strip_prefix('"')?
                .split_once('"')?;
            tags.push((tag.to_owned(), weak));
            let after = after.trim_start();
            rest = match after.strip_prefix(',') {
                Some(next) => next.trim_start_matches([',', ' ', '\t']),
                None if after.is_empty() => "",
                None => return None,
            };
        }
        (!tags.is_empty()).then_some(Self::Tags(tags))
    }

    /// Strong comparison, for If-Match: a weak tag never matches.
    pub fn matches(&self, etag: &ETag) -> bool {
        match self {
            Self::Any => true,
            Self::Tags(tags) => tags.iter().any(|(tag, weak)| !weak && *tag == etag.0),
        }
    }

    /// Weak comparison, for If-None-Match. A proxy that compresses a response makes its tag weak.
    pub fn matches_weakly(&self, etag: &ETag) -> bool {
        match self {
            Self::Any => true,
            Self::Tags(tags) => tags.iter().any(|(tag, _)| *tag == etag.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_any_or_a_list_of_tags() {
        let tag = |text: &str, weak| (text.to_owned(), weak);
        assert_eq!(Condition::parse(" * "), Some(Condition::Any));
        assert_eq!(
            Condition::parse("\"a\", W/\"b,c\" ,\"\""),
            Some(Condition::Tags(vec![
                tag("a", false),
                tag("b,c", true),
                tag("", false)
            ]))
        );
        for text in ["", "a", "\"a", "\"a\" \"b\"", "*, \"a\"", "W/a"] {
            assert_eq!(Condition::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_weak_tag_matches_if_none_match_only() {
        let etag = ETag("1-a".to_owned());
        for (text, strong, weak) in [
            ("*", true, true),
            ("\"1-a\"", true, true),
            ("\"0-b\", \"1-a\"", true, true),
            ("W/\"1-a\"", false, true),
            ("\"2-a\"", false, false),
        ] {
            let condition = Condition::parse(text).unwrap();
            assert_eq!(condition.matches(&etag), strong, "{text}");
            assert_eq!(condition.matches_weakly(&etag), weak, "{text}");
        }
    }
}
