//! Ids of resources.
//!
//! Invariant: an id is `kind/name`, where the kind has no slash. This is the only place that takes an id apart.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The id of a resource, such as `s3:bucket/acme-shop-media`: its kind and its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ResourceId(String);

/// A text that is not the id of a resource.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a resource ID. A resource ID consists of a kind and a name, such as s3:bucket/acme-shop-media"
)]
pub struct InvalidResourceId(String);

impl ResourceId {
    pub fn new(kind: &str, name: impl fmt::Display) -> Self {
        Self(format!("{kind}/{name}"))
    }

    /// # Errors
    /// When the text lacks a kind or a name.
    pub fn parse(text: &str) -> Result<Self, InvalidResourceId> {
        match text.split_once('/') {
            Some((kind, name)) if !kind.is_empty() && !name.is_empty() => Ok(Self(text.to_owned())),
            _ => Err(InvalidResourceId(text.to_owned())),
        }
    }

    fn parts(&self) -> (&str, &str) {
        self.0.split_once('/').unwrap_or((&self.0, ""))
    }

    pub fn kind(&self) -> &str {
        self.parts().0
    }

    pub fn name(&self) -> &str {
        self.parts().1
    }

    /// The name, if the id is of this kind.
    pub fn name_of(&self, kind: &str) -> Option<&str> {
        let (own, name) = self.parts();
        (own == kind).then_some(name)
    }

    /// Whether both name the same thing of IAM, which takes names that differ by case alone for the same.
    pub fn is_same_in_iam(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ResourceId {
    type Err = InvalidResourceId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl TryFrom<String> for ResourceId {
    type Error = InvalidResourceId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<ResourceId> for String {
    fn from(id: ResourceId) -> Self {
        id.0
    }
}

impl Borrow<str> for ResourceId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for ResourceId {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl PartialEq<&str> for ResourceId {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_kind_and_a_name() {
        let id = ResourceId::parse("ecr:repository/us-west-2/acme/web").unwrap();
        assert_eq!(
            (id.kind(), id.name()),
            ("ecr:repository", "us-west-2/acme/web")
        );
        assert_eq!(id, ResourceId::new("ecr:repository", "us-west-2/acme/web"));
        assert_eq!(id.name_of("ecr:repository"), Some("us-west-2/acme/web"));
        assert_eq!(id.name_of("ecr:repo"), None);
        assert_eq!(
            serde_json::to_string(&id).unwrap(),
            r#""ecr:repository/us-west-2/acme/web""#
        );
        for text in ["", "acme", "/acme", "iam:user/"] {
            assert!(ResourceId::parse(text).is_err(), "{text}");
        }
    }
}
