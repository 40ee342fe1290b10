//! The API of a forge: which commit is the head of a repository's default branch, and a file at a commit.
//!
//! Invariant: a repository is named by its id. A name may by now be that of another one.

use std::time::Duration;

use hyper::header::{ACCEPT, AUTHORIZATION, HeaderName, USER_AGENT};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::app::service::Service;
use crate::domain::hooks::event::Source;
use crate::outbound::{AddressPolicy, Connector, HttpClient, client, encoded, get};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// A larger file is no `slipway.yaml`.
const MAX_BODY: usize = 256 * 1024;
const AGENT: &str = concat!("slipway/", env!("CARGO_PKG_VERSION"));

/// Why a forge has not answered as it should. A later attempt may go well.
#[derive(Debug, thiserror::Error)]
#[error("{url}: {why}")]
pub struct ForgeError {
    url: String,
    why: String,
}

/// A repository, as its forge has it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Whether it is archived.
    pub archived: bool,
    /// The newest commit of the default branch. `None` for an empty repository.
    pub commit: Option<String>,
}

/// The API of a forge.
pub struct Forge<'s> {
    is_gitlab: bool,
    base: &'s str,
    token: Option<&'s SecretString>,
    client: Option<HttpClient>,
}

#[derive(Deserialize)]
struct Found {
    default_branch: Option<String>,
    #[serde(default)]
    archived: bool,
}

#[derive(Deserialize)]
struct GitLabCommit {
    id: String,
}

impl<'s> Forge<'s> {
    /// The API of a source; `None` if it has none.
    pub fn of(service: &'s Service, source: &Source) -> Option<Self> {
        let settings = &service.settings;
        let (is_gitlab, forge, public, token) = match source {
            Source::GitHub => (
                false,
                settings.hooks.github.as_ref()?,
                "https://api.github.com",
                &settings.github_token,
            ),
            Source::GitLab => (
                true,
                settings.hooks.gitlab.as_ref()?,
                "https://gitlab.com/api/v4",
                &settings.gitlab_token,
            ),
            Source::Standard(_) => return None,
        };
        Some(Self {
            is_gitlab,
            base: forge
                .api_url
                .as_deref()
                .unwrap_or(public)
                .trim_end_matches('/'),
            token: token.as_ref(),
            // The administrator has chosen the address, so it may be a private one.
            client: client(Connector::new(AddressPolicy::any(), None)),
        })
    }

    /// The repository by this id, and its newest commit.
    ///
    /// # Errors
    /// When the forge does not tell.
    pub async fn head(&self, id: &str) -> Result<Head, ForgeError> {
        let url = self.repository(id);
        let found: Found = self.json(&url).await?;
        let archived = found.archived;
        let Some(branch) = found.default_branch else {
            let commit = None;
            return Ok(Head { archived, commit });
        };
        let branch = encoded(&branch);
        let commit = if self.is_gitlab {
            let url = format!("{url}/repository/commits/{branch}");
            let found: GitLabCommit = self.json(&url).await?;
            Some(found.id)
        } else {
            let url = format!("{url}/commits/{branch}");
            let (status, body) = self.get(&url, "application/vnd.github.sha").await?;
            // GitHub says so of a repository without commits.
            let is_empty = status == 409;
            let sha = String::from_utf8_lossy(&body).trim().to_owned();
            match status {
                200 => Some(sha),
                _ if is_empty => None,
                _ => return Err(unexpected(&url, status)),
            }
        };
        let is_sha = |sha: &String| sha.len() >= 40 && sha.chars().all(|c| c.is_ascii_hexdigit());
        match commit {
            Some(sha) if !is_sha(&sha) => Err(ForgeError {
                url,
                why: "the commit has no SHA".into(),
            }),
            commit => Ok(Head { archived, commit }),
        }
    }

    /// A file at a commit; `None` if there is none.
    ///
    /// # Errors
    /// When the forge does not tell.
    pub async fn file(
        &self,
        id: &str,
        path: &str,
        commit: &str,
    ) -> Result<Option<String>, ForgeError> {
        let (repository, file) = (self.repository(id), encoded(path));
        let url = if self.is_gitlab {
            format!("{repository}/repository/files/{file}/raw?ref={commit}")
        } else {
            format!("{repository}/contents/{path}?ref={commit}")
        };
        let (status, body) = self.get(&url, "application/vnd.github.raw+json").await?;
        match status {
            200 => String::from_utf8(body).map(Some).map_err(|_| ForgeError {
                url,
                why: "the file is not a text".into(),
            }),
            404 => Ok(None),
            status => Err(unexpected(&url, status)),
        }
    }

    fn repository(&self, id: &str) -> String {
        let kind = if self.is_gitlab {
            "projects"
        } else {
            "repositories"
        };
        format!("{}/{kind}/{}", self.base, encoded(id))
    }

    async fn json<T: DeserializeOwned>(&self, url: &str) -> Result<T, ForgeError> {
        let (status, body) = self.get(url, "application/json").await?;
        if status != 200 {
            return Err(unexpected(url, status));
        }
        serde_json::from_slice(&body).map_err(|error| ForgeError {
            url: url.to_owned(),
            why: error.to_string(),
        })
    }

    async fn get(&self, url: &str, accept: &str) -> Result<(u16, Vec<u8>), ForgeError> {
        let failed = |why: String| ForgeError {
            url: url.to_owned(),
            why,
        };
        let client = self.client.as_ref();
        let client = client
            .ok_or_else(|| failed("this machine has no certificates of authorities".to_owned()))?;
        let mut headers: Vec<(HeaderName, String)> =
            vec![(ACCEPT, accept.to_owned()), (USER_AGENT, AGENT.to_owned())];
        if let Some(token) = self.token {
            let bearer = format!("Bearer {}", token.expose_secret());
            headers.push((AUTHORIZATION, bearer));
        }
        let (status, body) = get(client, url, headers, MAX_BODY, REQUEST_TIMEOUT)
            .await
            .map_err(|error| failed(error.to_string()))?;
        Ok((status, body.to_vec()))
    }
}

fn unexpected(url: &str, status: u16) -> ForgeError {
    let why = match status {
        401 | 403 | 404 => {
            format!("the forge answers {status}. Its token must be able to read the repository")
        }
        status => format!("the forge answers {status}"),
    };
    ForgeError {
        url: url.to_owned(),
        why,
    }
}
