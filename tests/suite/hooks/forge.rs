//! The API of a forge over a bare git repository.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path as FilePath;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};
use serde_json::json;
use tokio::task::JoinSet;

use super::FORGE_TOKEN;
use crate::support::fake_server::serve;

/// The id of the only repository.
pub const ID: u64 = 7;

pub struct Forge {
    pub url: String,
    shared: Arc<Shared>,
    _serving: JoinSet<()>,
}

struct Shared {
    folder: tempfile::TempDir,
    state: Mutex<Trouble>,
}

#[derive(Default)]
struct Trouble {
    /// Requests that are answered 500.
    failures: u32,
    /// Whether requests are not answered at all.
    silent: bool,
    archived: bool,
    requests: Vec<String>,
}

impl Forge {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = Mutex::default();
        let shared = Arc::new(Shared { folder, state });
        git(
            shared.folder.path(),
            &["init", "-q", "--bare", "-b", "main", "."],
            "",
        );
        let head = get(commit);
        let router = Router::new()
            .route("/repositories/{id}", get(repository))
            .route("/repositories/{id}/commits/main", head)
            .route("/repositories/{id}/contents/slipway.yaml", get(contents))
            .route("/projects/{id}", get(repository))
            .route("/projects/{id}/repository/commits/main", get(gitlab_commit))
            .route(
                "/projects/{id}/repository/files/{file}/raw",
                get(gitlab_file),
            )
            .layer(middleware::from_fn_with_state(shared.clone(), trouble))
            .with_state(shared.clone());
        let (url, _serving) = serve(router).await;
        Self {
            url,
            shared,
            _serving,
        }
    }

    /// Commits the file to the default branch; the commit.
    pub fn push(&self, text: &str) -> String {
        let folder = self.shared.folder.path();
        let blob = git(folder, &["hash-object", "-w", "--stdin"], text);
        let tree = git(
            folder,
            &["mktree"],
            &format!("100644 blob {blob}\tslipway.yaml\n"),
        );
        self.advance(&tree)
    }

    /// Commits the removal of the file.
    pub fn push_without_file(&self) -> String {
        let tree = git(self.shared.folder.path(), &["mktree"], "");
        self.advance(&tree)
    }

    /// Sets the default branch back to a commit.
    pub fn reset(&self, commit: &str) {
        let folder = self.shared.folder.path();
        git(folder, &["update-ref", "refs/heads/main", commit], "");
    }

    fn advance(&self, tree: &str) -> String {
        let folder = self.shared.folder.path();
        let mut arguments = vec!["commit-tree", tree, "-m", "Change the app"];
        let parent = head_of(folder);
        if let Some(parent) = &parent {
            arguments.extend(["-p", parent]);
        }
        let commit = git(folder, &arguments, "");
        git(folder, &["update-ref", "refs/heads/main", &commit], "");
        commit
    }

    /// The next requests are answered 500.
    pub fn fail(&self, requests: u32) {
        self.shared.state.lock().unwrap().failures = requests;
    }

    /// Requests are not answered from now on, or again.
    pub fn silence(&self, silent: bool) {
        self.shared.state.lock().unwrap().silent = silent;
    }

    /// What was asked for.
    pub fn requests(&self) -> Vec<String> {
        self.shared.state.lock().unwrap().requests.clone()
    }

    pub fn archive(&self) {
        self.shared.state.lock().unwrap().archived = true;
    }
}

fn git(folder: &FilePath, arguments: &[&str], input: &str) -> String {
    let mut child = Command::new("git")
        .args(arguments)
        .current_dir(folder)
        .envs([
            ("GIT_AUTHOR_NAME", "Ana"),
            ("GIT_AUTHOR_EMAIL", "ana@example.com"),
            ("GIT_COMMITTER_NAME", "Ana"),
            ("GIT_COMMITTER_EMAIL", "ana@example.com"),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "git {arguments:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn head_of(folder: &FilePath) -> Option<String> {
    let output = Command::new("git")
        .args(["rev-parse", "--verify", "-q", "refs/heads/main"])
        .current_dir(folder)
        .output()
        .unwrap();
    let sha = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    output.status.success().then_some(sha)
}

async fn trouble(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let authorization = request.headers().get("authorization");
    if authorization.and_then(|value| value.to_str().ok()) != Some(&format!("Bearer {FORGE_TOKEN}"))
    {
        return StatusCode::NOT_FOUND.into_response();
    }
    let silent = {
        let mut state = shared.state.lock().unwrap();
        state.requests.push(request.uri().to_string());
        if state.failures > 0 {
            state.failures -= 1;
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
        state.silent
    };
    if silent {
        tokio::time::sleep(Duration::from_secs(3600)).await;
    }
    next.run(request).await
}

async fn repository(State(shared): State<Arc<Shared>>, Path(id): Path<u64>) -> Response {
    if id != ID {
        return StatusCode::NOT_FOUND.into_response();
    }
    let archived = shared.state.lock().unwrap().archived;
    Json(json!({"id": ID, "default_branch": "main", "archived": archived})).into_response()
}

async fn commit(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    assert_eq!(request.headers()["accept"], "application/vnd.github.sha");
    match head_of(shared.folder.path()) {
        Some(sha) => sha.into_response(),
        None => StatusCode::CONFLICT.into_response(),
    }
}

async fn gitlab_commit(State(shared): State<Arc<Shared>>) -> Response {
    match head_of(shared.folder.path()) {
        Some(sha) => Json(json!({"id": sha})).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn contents(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<BTreeMap<String, String>>,
    request: Request,
) -> Response {
    assert_eq!(
        request.headers()["accept"],
        "application/vnd.github.raw+json"
    );
    file(&shared, &query["ref"])
}

async fn gitlab_file(
    State(shared): State<Arc<Shared>>,
    Path((_, name)): Path<(u64, String)>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    assert_eq!(name, "slipway.yaml");
    file(&shared, &query["ref"])
}

fn file(shared: &Shared, commit: &str) -> Response {
    let output = Command::new("git")
        .args(["show", &format!("{commit}:slipway.yaml")])
        .current_dir(shared.folder.path())
        .output()
        .unwrap();
    match output.status.success() {
        true => output.stdout.into_response(),
        false => StatusCode::NOT_FOUND.into_response(),
    }
}
