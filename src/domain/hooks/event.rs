//! What happened to a repository, as far as Slipway acts on it.

use std::fmt;

use serde::{Deserialize, Serialize};
use strum::Display;

/// Who sends: a forge, or another source that is named in the settings.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Source {
    /// GitHub, or a GitHub Enterprise server.
    GitHub,
    /// GitLab.
    GitLab,
    /// A source of Standard Webhooks, by its name in the settings.
    Standard(String),
}

impl Source {
    /// The source that a text of [`Source::to_string`] names.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "github" => Some(Self::GitHub),
            "gitlab" => Some(Self::GitLab),
            other => Some(Self::Standard(other.strip_prefix("standard/")?.to_owned())),
        }
    }

    /// Whether a name begins as those of repositories do in jobs and in the audit.
    pub fn is_actor(name: &str) -> bool {
        let prefixes = ["github:", "gitlab:", "standard/"];
        prefixes.iter().any(|prefix| name.starts_with(prefix))
    }

    /// Its kind, as a label of metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::GitHub => "github",
            Self::GitLab => "gitlab",
            Self::Standard(_) => "standard",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Standard(name) => write!(f, "standard/{name}"),
            forge => f.write_str(forge.kind()),
        }
    }
}

/// A repository, as its forge knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repository {
    /// Never given to another repository, unlike the name.
    pub id: String,
    /// The organization or user that it belongs to.
    pub owner_id: Option<String>,
    /// Owner and name, such as `acme/shop`. For people.
    pub full_name: String,
}

impl Repository {
    /// The name without the owner.
    pub fn name(&self) -> &str {
        let name = self.full_name.rsplit_once('/').map(|(_, name)| name);
        name.unwrap_or(&self.full_name)
    }
}

/// What happened.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Display,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum EventKind {
    /// The repository is new.
    Created,
    /// Its default branch has new commits, which may change `slipway.yaml`.
    Pushed,
    /// It was archived.
    Archived,
}

/// What happened to which repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoryEvent {
    /// What happened.
    pub kind: EventKind,
    /// The repository.
    pub repository: Repository,
    /// The commit that was pushed.
    #[serde(default)]
    pub commit: Option<String>,
}

impl RepositoryEvent {
    /// Whether ids, name and commit look like those of a forge. They are written to the log and the audit.
    pub fn is_plausible(&self) -> bool {
        let is_text = |text: &str, most: usize| {
            (1..=most).contains(&text.len()) && text.chars().all(|c| c.is_ascii_graphic())
        };
        let is_commit = |text: &String| {
            (40..=64).contains(&text.len()) && text.chars().all(|c| c.is_ascii_hexdigit())
        };
        let Repository {
            id,
            owner_id,
            full_name,
        } = &self.repository;
        is_text(id, 64)
            && owner_id.as_ref().is_none_or(|id| is_text(id, 64))
            && is_text(full_name, 255)
            && self.commit.as_ref().is_none_or(is_commit)
    }
}
