//! Reads the payloads of forges. They are signed, and still decide nothing but which repository it is about.

use serde::Deserialize;
use serde_json::Value;

use crate::domain::hooks::event::{EventKind, Repository, RepositoryEvent};
use crate::domain::manifest::MANIFEST;

/// The commit that a deleted branch has.
/// <https://docs.gitlab.com/user/project/integrations/webhook_events/#push-events>
const ZERO: &str = "0000000000000000000000000000000000000000";

#[derive(Deserialize)]
struct Commit {
    #[serde(default)]
    added: Vec<String>,
    #[serde(default)]
    modified: Vec<String>,
    #[serde(default)]
    removed: Vec<String>,
}

impl Commit {
    fn touches_manifest(&self) -> bool {
        let mut paths = self.added.iter().chain(&self.modified).chain(&self.removed);
        paths.any(|path| path == MANIFEST)
    }
}

#[derive(Deserialize)]
struct GitHub {
    action: Option<String>,
    repository: Option<GitHubRepository>,
    #[serde(rename = "ref")]
    git_ref: Option<String>,
    after: Option<String>,
    #[serde(default)]
    forced: bool,
    #[serde(default)]
    deleted: bool,
    #[serde(default)]
    commits: Vec<Commit>,
}

#[derive(Deserialize)]
struct GitHubRepository {
    id: u64,
    full_name: String,
    owner: Option<Owner>,
    default_branch: Option<String>,
}

#[derive(Deserialize)]
struct Owner {
    id: u64,
}

/// What a delivery of GitHub tells; `None` for what Slipway does not act on.
///
/// # Errors
/// When the payload lacks what GitHub documents.
pub fn of_github(event: &str, body: &Value) -> Result<Option<RepositoryEvent>, serde_json::Error> {
    if !matches!(event, "push" | "repository") {
        return Ok(None);
    }
    let payload = GitHub::deserialize(body)?;
    let Some(repository) = payload.repository else {
        return Ok(None);
    };
    let kind = match (event, payload.action.as_deref()) {
        ("repository", Some("created")) => EventKind::Created,
        ("repository", Some("archived")) => EventKind::Archived,
        ("push", _) => {
            let branch = repository.default_branch.as_deref();
            // A list without commits, as of a forced push, says nothing about the file.
            let may_touch = payload.forced
                || payload.commits.is_empty()
                || payload.commits.iter().any(Commit::touches_manifest);
            if payload.deleted || !may_touch || !is_default(payload.git_ref.as_deref(), branch) {
                return Ok(None);
            }
            EventKind::Pushed
        }
        _ => return Ok(None),
    };
    Ok(Some(RepositoryEvent {
        kind,
        repository: Repository {
            id: repository.id.to_string(),
            owner_id: repository.owner.map(|owner| owner.id.to_string()),
            full_name: repository.full_name,
        },
        commit: payload.after.filter(|_| kind == EventKind::Pushed),
    }))
}

#[derive(Deserialize)]
struct GitLab {
    object_kind: Option<String>,
    #[serde(rename = "ref")]
    git_ref: Option<String>,
    after: Option<String>,
    project_id: Option<u64>,
    project: Option<Project>,
    #[serde(default)]
    commits: Vec<Commit>,
    total_commits_count: Option<usize>,
}

#[derive(Deserialize)]
struct Project {
    path_with_namespace: String,
    default_branch: Option<String>,
}

/// What a delivery of GitLab tells: of pushes alone.
///
/// # Errors
/// When the payload lacks what GitLab documents.
pub fn of_gitlab(body: &Value) -> Result<Option<RepositoryEvent>, serde_json::Error> {
    let payload = GitLab::deserialize(body)?;
    let (Some("push"), Some(id), Some(project)) = (
        payload.object_kind.as_deref(),
        payload.project_id,
        payload.project,
    ) else {
        return Ok(None);
    };
    let is_complete = payload.total_commits_count == Some(payload.commits.len());
    let may_touch = !is_complete
        || payload.commits.is_empty()
        || payload.commits.iter().any(Commit::touches_manifest);
    let deleted = payload.after.as_deref() == Some(ZERO);
    let branch = project.default_branch.as_deref();
    if deleted || !may_touch || !is_default(payload.git_ref.as_deref(), branch) {
        return Ok(None);
    }
    Ok(Some(RepositoryEvent {
        kind: EventKind::Pushed,
        repository: Repository {
            id: id.to_string(),
            owner_id: None,
            full_name: project.path_with_namespace,
        },
        commit: payload.after,
    }))
}

fn is_default(git_ref: Option<&str>, branch: Option<&str>) -> bool {
    let pushed = git_ref.and_then(|name| name.strip_prefix("refs/heads/"));
    pushed.is_some() && pushed == branch
}

#[derive(Deserialize)]
struct Standard {
    #[serde(rename = "type")]
    kind: String,
    data: Option<StandardData>,
}

#[derive(Deserialize)]
struct StandardData {
    repository: Option<Repository>,
}

/// What a delivery of another source tells: `repository.created` and `repository.archived`.
///
/// # Errors
/// When the payload has no `type`, or a repository that is none.
pub fn of_standard(body: &Value) -> Result<Option<RepositoryEvent>, serde_json::Error> {
    let payload = Standard::deserialize(body)?;
    let kind = match payload.kind.as_str() {
        "repository.created" => EventKind::Created,
        "repository.archived" => EventKind::Archived,
        _ => return Ok(None),
    };
    let repository = payload.data.and_then(|data| data.repository);
    Ok(repository.map(|repository| RepositoryEvent {
        kind,
        repository,
        commit: None,
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn push(change: &Value) -> Value {
        let mut body = json!({
            "ref": "refs/heads/main", "after": "b".repeat(40), "forced": false, "deleted": false,
            "commits": [{"added": [], "modified": ["slipway.yaml"], "removed": []}],
            "repository": {"id": 7, "full_name": "acme/shop", "default_branch": "main", "owner": {"id": 9}},
        });
        for (name, value) in change.as_object().unwrap() {
            body[name] = value.clone();
        }
        body
    }

    #[test]
    fn a_push_counts_if_it_may_change_the_file_on_the_default_branch() {
        let other = json!([{"modified": ["src/slipway.yaml", "README.md"]}]);
        for (change, counts) in [
            (json!({}), true),
            (json!({"commits": []}), true),
            (json!({"commits": other, "forced": true}), true),
            (json!({"commits": [{"removed": ["slipway.yaml"]}]}), true),
            (json!({"commits": other}), false),
            (json!({"ref": "refs/heads/maintenance"}), false),
            (json!({"ref": "refs/tags/main"}), false),
            (json!({"ref": "main"}), false),
            (json!({"deleted": true}), false),
        ] {
            let event = of_github("push", &push(&change)).unwrap();
            assert_eq!(event.is_some(), counts, "{change}");
        }
        let event = of_github("push", &push(&json!({}))).unwrap().unwrap();
        assert_eq!(
            (
                event.kind,
                event.repository.id.as_str(),
                event.repository.name()
            ),
            (EventKind::Pushed, "7", "shop")
        );
        assert_eq!(event.repository.owner_id.as_deref(), Some("9"));
        assert_eq!(of_github("ping", &json!({"zen": "x"})).unwrap(), None);
        assert!(of_github("push", &json!([])).is_err());
    }

    #[test]
    fn gitlab_lists_only_some_commits() {
        let push = |commits: Value, total: usize| {
            let body = json!({
                "object_kind": "push", "ref": "refs/heads/main", "after": "b".repeat(40), "project_id": 7,
                "project": {"path_with_namespace": "acme/team/shop", "default_branch": "main"},
                "commits": commits, "total_commits_count": total,
            });
            of_gitlab(&body)
                .unwrap()
                .map(|event| event.repository.full_name)
        };
        let (other, touching) = (
            json!([{"modified": ["a"]}]),
            json!([{"added": ["slipway.yaml"]}]),
        );
        let shop = Some("acme/team/shop".to_owned());
        assert_eq!(push(touching, 1), shop);
        assert_eq!(push(other.clone(), 1), None);
        assert_eq!(push(other, 21), shop);
        assert_eq!(
            of_gitlab(&json!({"object_kind": "tag_push"})).unwrap(),
            None
        );
    }
}
