//! The target of a policy, and its observed state.

use crate::domain::iam_policy::PolicyDocument;
use crate::domain::spec::{AppSpec, MediaAccess};
use crate::provision::conventions::Conventions;
use crate::provision::tags::{self, Tags};

/// A media policy.
#[derive(Debug, Clone)]
pub struct Policy {
    pub(super) name: String,
    pub(super) document: PolicyDocument,
    pub(super) default_arn: String,
    /// `None` for the shared policy, which belongs to the account.
    pub(super) tags: Option<Tags>,
}

/// The observed policy.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenPolicy {
    pub(super) arn: String,
    pub(super) description: Option<String>,
    /// The document of the default version. `None` if it cannot be parsed.
    pub(super) document: Option<PolicyDocument>,
    pub(super) tags: Tags,
    pub(super) made_by_us: bool,
    /// Versions other than the default version, oldest first.
    pub(super) old_versions: Vec<String>,
    /// Tags that the spec no longer includes.
    pub(super) dropped: Vec<String>,
}

impl Policy {
    /// The media policy of each mode, whether or not the spec asks for it: told by name, with a document that is not for use.
    pub fn of_each_mode(spec: &AppSpec, conventions: &Conventions) -> [Self; 2] {
        let document = || PolicyDocument::media_shared(&conventions.partition);
        [MediaAccess::Shared, MediaAccess::Scoped]
            .map(|mode| Self::of_mode(mode, document(), spec, conventions))
    }

    pub(super) fn of_mode(
        mode: MediaAccess,
        document: PolicyDocument,
        spec: &AppSpec,
        conventions: &Conventions,
    ) -> Self {
        let (name, tags) = match mode {
            MediaAccess::Shared => (conventions.policy.to_string(), None),
            MediaAccess::Scoped => (
                format!("{}-{}", conventions.policy, spec.name),
                Some(tags::wanted(spec, conventions)),
            ),
        };
        let default_arn = format!(
            "arn:{}:iam::{}:policy/{name}",
            conventions.partition, conventions.account_id
        );
        Self {
            name,
            document,
            default_arn,
            tags,
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its ARN, unless it was made under a path by somebody else.
    pub fn default_arn(&self) -> &str {
        &self.default_arn
    }
}

impl SeenPolicy {
    /// Its path and name, as its ARN has them after the word `policy`.
    fn path_and_name(&self) -> (&str, &str) {
        let path_and_name = self
            .arn
            .find(":policy/")
            .map_or("/", |at| &self.arn[at + ":policy".len()..]);
        path_and_name.split_at(path_and_name.rfind('/').map_or(0, |at| at + 1))
    }

    pub(super) fn path(&self) -> &str {
        self.path_and_name().0
    }

    pub(super) fn name(&self) -> &str {
        self.path_and_name().1
    }
}
