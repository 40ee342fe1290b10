//! The GitHub action and the GitLab template: their scripts run against a real service, with the tokens of a fake runner.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};

use axum::extract::{Query, Request, State};
use axum::http::{Method as HttpMethod, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get};
use axum::{Json, Router};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::aws::listen::{Listening, on_loopback};
use crate::aws::{Aws, Options};
use crate::support::issuer::{Issuer, Key};
use crate::support::process::{Launch, Running};

const ACTION: &str = include_str!("../../integrations/github/action.yml");
const TEMPLATE: &str = include_str!("../../integrations/gitlab/template.yml");
const MANIFEST: &str = "app: acme-shop\nbuckets: []\nrepositories: []\naccess_key: false\n";
const REQUEST_TOKEN: &str = "the-request-token-of-the-runner";

/// A service that trusts the issuer, and a folder for a repository with a `slipway.yaml`.
struct Pipeline {
    server: Running,
    issuer: Arc<Issuer>,
    folder: tempfile::TempDir,
    _aws: Aws,
    _listening: Listening,
}

impl Pipeline {
    async fn new() -> Self {
        let aws = Aws::new(Options::default());
        let listening = on_loopback(&aws);
        let session = aws.role_session("123456789012", "slipway", None);
        let launch = Launch::at(&listening.endpoint)
            .with_credentials(&session)
            .with_short_waits()
            .with("SLIPWAY_OIDC_ALLOW_HTTP", "true");
        let server = launch.serve().await;
        let issuer = Arc::new(Issuer::start(Key::ec()).await);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("slipway.yaml"), MANIFEST).unwrap();
        symlink(env!("CARGO_BIN_EXE_slipway"), folder.path().join("slipway")).unwrap();
        let made = Self {
            server,
            issuer,
            folder,
            _aws: aws,
            _listening: listening,
        };
        made.trust("production", "operator", false).await;
        made.trust("preview", "viewer", true).await;
        made
    }

    async fn trust(&self, environment: &str, role: &str, allow_pull_requests: bool) {
        let rule = json!({
            "name": environment, "issuer": self.issuer.url, "audience": self.url(), "role": role,
            "scope": {"apps": ["acme-*"]}, "allow_pull_requests": allow_pull_requests,
            "claims": {"repository_id": "77", "environment": environment},
        });
        let request = self.server.request(Method::POST, "/v1/trust-rules");
        self.server.text(request.json(&rule)).await;
    }

    fn url(&self) -> String {
        self.server.api.url.clone()
    }

    async fn jobs(&self) -> Vec<Value> {
        let page = self.server.get("/v1/jobs").await;
        page["items"].as_array().unwrap().clone()
    }

    /// Runs a script as a runner does.
    async fn bash(&self, script: &str, environment: &BTreeMap<String, String>) -> Output {
        let path = self.folder.path().join("script.sh");
        std::fs::write(&path, script).unwrap();
        let search = format!(
            "{}:{}",
            self.folder.path().display(),
            std::env::var("PATH").unwrap()
        );
        Command::new("bash")
            .args(["--noprofile", "--norc", "-eo", "pipefail"])
            .arg(&path)
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", search)
            .env("HOME", self.folder.path())
            .envs(environment)
            .stdin(Stdio::null())
            .output()
            .await
            .unwrap()
    }
}

fn texts(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn document(text: &str, number: usize) -> Value {
    use serde::Deserialize as _;
    let document = yaml_serde::Deserializer::from_str(text)
        .nth(number)
        .unwrap();
    let value = yaml_serde::Value::deserialize(document).unwrap();
    yaml_serde::from_value(value).unwrap()
}

async fn parses(script: &str) {
    let mut child = Command::new("bash")
        .arg("-n")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    use tokio::io::AsyncWriteExt as _;
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(script.as_bytes()).await.unwrap();
    drop(stdin);
    assert!(child.wait().await.unwrap().success(), "{script}");
}

/// What GitHub's runner and API are for the action.
struct GitHub {
    url: String,
    comments: Arc<Mutex<Vec<Value>>>,
    _serving: JoinSet<()>,
}

#[derive(Clone)]
struct GitHubState {
    issuer: Arc<Issuer>,
    claims: Value,
    comments: Arc<Mutex<Vec<Value>>>,
    url: String,
}

impl GitHub {
    /// Whose runs have ID tokens with these claims.
    async fn start(issuer: &Arc<Issuer>, claims: Value) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let comments: Arc<Mutex<Vec<Value>>> = Arc::default();
        let state = GitHubState {
            issuer: issuer.clone(),
            claims,
            comments: comments.clone(),
            url: url.clone(),
        };
        let router = Router::new()
            .route("/token", get(id_token))
            .route("/repos/acme/shop/issues/5/comments", any(comment))
            .route("/comments/0", any(comment))
            .with_state(state);
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            url,
            comments,
            _serving: serving,
        }
    }
}

fn bearer(request: &Request) -> String {
    let value = request.headers().get("authorization");
    value.map_or(String::new(), |value| value.to_str().unwrap().to_owned())
}

async fn id_token(
    State(state): State<GitHubState>,
    Query(query): Query<BTreeMap<String, String>>,
    request: Request,
) -> Response {
    if bearer(&request) != format!("Bearer {REQUEST_TOKEN}") || query["api-version"] != "2.0" {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let mut claims = state.claims.clone();
    claims["aud"] = json!(query["audience"]);
    Json(json!({"value": state.issuer.token(&claims)})).into_response()
}

async fn comment(State(state): State<GitHubState>, request: Request) -> Response {
    if bearer(&request) != "Bearer the-github-token" {
        return StatusCode::FORBIDDEN.into_response();
    }
    let method = request.method().clone();
    let body = axum::body::to_bytes(request.into_body(), usize::MAX)
        .await
        .unwrap();
    let mut comments = state.comments.lock().unwrap();
    if method == HttpMethod::GET {
        return Json(comments.clone()).into_response();
    }
    let mut body: Value = serde_json::from_slice(&body).unwrap();
    body["url"] = json!(format!("{}/comments/0", state.url));
    body["user"] = json!({"type": "Bot"});
    if method == HttpMethod::PATCH {
        comments.clear();
    }
    comments.push(body.clone());
    Json(body).into_response()
}

/// A run of the action's steps.
struct Run<'p> {
    pipeline: &'p Pipeline,
    /// The contexts of expressions.
    contexts: BTreeMap<String, String>,
    environment: BTreeMap<String, String>,
}

impl<'p> Run<'p> {
    fn of(pipeline: &'p Pipeline, github: &GitHub, event: &str, git_ref: &str) -> Self {
        let temp = pipeline.folder.path().join("runner");
        std::fs::create_dir_all(&temp).unwrap();
        let file = |name: &str| temp.join(name).display().to_string();
        let environment = [
            ("RUNNER_TEMP", temp.display().to_string()),
            ("GITHUB_OUTPUT", file("output")),
            ("GITHUB_PATH", file("path")),
            ("GITHUB_STEP_SUMMARY", file("summary")),
            ("GITHUB_EVENT_NAME", event.to_owned()),
            ("GITHUB_REF", git_ref.to_owned()),
            ("GITHUB_API_URL", github.url.clone()),
            ("GITHUB_REPOSITORY", "acme/shop".to_owned()),
            ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", REQUEST_TOKEN.to_owned()),
            (
                "ACTIONS_ID_TOKEN_REQUEST_URL",
                format!("{}/token?api-version=2.0", github.url),
            ),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value));
        let pull = if event == "pull_request" { "5" } else { "" };
        let contexts = [
            ("github.token", "the-github-token"),
            ("github.event.repository.default_branch", "main"),
            ("github.event.pull_request.number", pull),
        ];
        let contexts = contexts.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self {
            pipeline,
            contexts: contexts.into(),
            environment: environment.into(),
        }
        .with("url", &pipeline.url())
    }

    fn with(mut self, input: &str, value: &str) -> Self {
        self.contexts
            .insert(format!("inputs.{input}"), value.to_owned());
        self
    }

    /// Runs the steps, as GitHub's runner does. Returns all output, and whether all went well.
    async fn go(mut self) -> (bool, String) {
        let action = document(ACTION, 0);
        for (name, input) in action["inputs"].as_object().unwrap() {
            let default = input["default"].as_str().map(|text| self.expand(text));
            let context = self.contexts.entry(format!("inputs.{name}"));
            context.or_insert_with(|| default.expect("a required input is given"));
        }
        let mut all = String::new();
        for step in action["runs"]["steps"].as_array().unwrap() {
            assert_eq!(step["shell"], "bash");
            if let Some(condition) = step["if"].as_str() {
                let input = condition.strip_suffix(" != ''").unwrap();
                if self.contexts[input].is_empty() {
                    continue;
                }
            }
            let mut environment = self.environment.clone();
            for (name, value) in step["env"].as_object().unwrap() {
                environment.insert(name.clone(), self.expand(value.as_str().unwrap()));
            }
            let script = step["run"].as_str().unwrap();
            assert!(
                !script.contains("${{"),
                "an expression in a script is an injection"
            );
            let output = self.pipeline.bash(script, &environment).await;
            all += &texts(&output);
            if !output.status.success() {
                return (false, all);
            }
            let path = std::fs::read_to_string(&self.environment["GITHUB_PATH"]);
            if let Some(folder) = path
                .ok()
                .and_then(|text| text.lines().next().map(str::to_owned))
            {
                let binary = Path::new(&folder).join("slipway");
                self.contexts
                    .insert("inputs.binary".into(), binary.display().to_string());
            }
        }
        (true, all)
    }

    /// A value with its only expression, if it has one, replaced.
    fn expand(&self, text: &str) -> String {
        let expression = text
            .strip_prefix("${{ ")
            .and_then(|rest| rest.strip_suffix(" }}"));
        expression.map_or(text.to_owned(), |name| self.contexts[name].clone())
    }

    fn file(pipeline: &Pipeline, name: &str) -> String {
        let path = pipeline.folder.path().join("runner").join(name);
        std::fs::read_to_string(path).unwrap_or_default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_github_action_plans_pull_requests_and_applies_the_default_branch() {
    let pipeline = Pipeline::new().await;
    let claims =
        json!({"environment": "preview", "event_name": "pull_request", "ref": "refs/pull/5/merge"});
    let github = GitHub::start(&pipeline.issuer, claims).await;
    for _ in 0..2 {
        let run = Run::of(&pipeline, &github, "pull_request", "refs/pull/5/merge");
        let (went_well, output) = run.go().await;
        assert!(went_well, "{output}");
    }
    let summary = Run::file(&pipeline, "summary");
    assert!(summary.contains("### Slipway: `acme-shop`"), "{summary}");
    let comments = github.comments.lock().unwrap().clone();
    assert_eq!(comments.len(), 1, "the second plan replaces the first");
    let body = comments[0]["body"].as_str().unwrap();
    assert!(
        body.starts_with("<!-- slipway: slipway.yaml -->\n### Slipway")
            && body.contains("+ create"),
        "{body}"
    );
    assert!(pipeline.jobs().await.is_empty());
    // A pull request cannot apply, whatever its workflow says.
    let forced =
        Run::of(&pipeline, &github, "pull_request", "refs/pull/5/merge").with("mode", "apply");
    let (went_well, output) = forced.go().await;
    assert!(!went_well && pipeline.jobs().await.is_empty(), "{output}");

    let github = GitHub::start(&pipeline.issuer, json!({})).await;
    let (went_well, output) = Run::of(&pipeline, &github, "push", "refs/heads/main")
        .go()
        .await;
    assert!(went_well, "{output}");
    let jobs = pipeline.jobs().await;
    assert_eq!(
        json!([jobs[0]["app"], jobs[0]["state"]]),
        json!(["acme-shop", "succeeded"])
    );
    assert!(
        jobs[0]["requested_by"]
            .as_str()
            .unwrap()
            .starts_with("oidc:production/")
    );
    assert!(Run::file(&pipeline, "output").ends_with("mode=apply\n"));
    // Another branch is planned. No comment without a pull request.
    let (went_well, output) = Run::of(&pipeline, &github, "push", "refs/heads/other")
        .go()
        .await;
    assert!(went_well, "{output}");
    assert_eq!(pipeline.jobs().await.len(), 1);
    // Nothing stays on the runner, and nothing secret was printed unmasked.
    assert_eq!(Run::file(&pipeline, "slipway-token"), "");
    for line in output
        .lines()
        .filter(|line| !line.starts_with("::add-mask::"))
    {
        assert!(
            !line.contains("slipway_") && !line.contains("eyJ"),
            "{line}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_github_action_says_what_is_missing() {
    let pipeline = Pipeline::new().await;
    let github = GitHub::start(&pipeline.issuer, json!({"repository_id": "78"})).await;
    let (went_well, output) = Run::of(&pipeline, &github, "push", "refs/heads/main")
        .go()
        .await;
    assert!(
        !went_well && output.contains("::error::Slipway did not exchange the ID token (400)"),
        "{output}"
    );
    let mut run = Run::of(&pipeline, &github, "pull_request", "refs/pull/5/merge");
    run.environment.remove("ACTIONS_ID_TOKEN_REQUEST_URL");
    let (went_well, output) = run.go().await;
    assert!(!went_well && output.contains("id-token: write"), "{output}");
    // It runs a download only if it is what was meant.
    let binary = format!("file://{}", env!("CARGO_BIN_EXE_slipway"));
    let run = || {
        Run::of(&pipeline, &github, "push", "refs/heads/main")
            .with("binary", "nowhere")
            .with("download-url", &binary)
    };
    let (went_well, output) = run().with("download-sha256", &"0".repeat(64)).go().await;
    assert!(!went_well && output.contains("FAILED"), "{output}");
}

/// GitLab writes the inputs in before it reads the second document.
fn gitlab_jobs(inputs: &[(&str, &str)]) -> Value {
    let header = document(TEMPLATE, 0);
    let mut text = TEMPLATE.to_owned();
    for (name, input) in header["spec"]["inputs"].as_object().unwrap() {
        let given = inputs.iter().find(|(known, _)| known == name);
        let value = given.map(|(_, value)| *value).or(input["default"].as_str());
        text = text.replace(&format!("$[[ inputs.{name} ]]"), value.unwrap());
    }
    assert!(!text.contains("$[["), "an input that is not declared");
    document(&text, 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gitlab_template_plans_merge_requests_and_applies_the_default_branch() {
    let pipeline = Pipeline::new().await;
    let url = pipeline.url();
    let jobs = gitlab_jobs(&[("url", &url), ("image", "slipway-ci")]);
    let base = &jobs[".slipway"];
    assert_eq!(base["id_tokens"]["SLIPWAY_ID_TOKEN"]["aud"], json!(url));
    let lines = |value: &Value| {
        let lines = value.as_array().unwrap().iter();
        let lines: Vec<&str> = lines.map(|line| line.as_str().unwrap()).collect();
        lines.join("\n")
    };
    let run = async |job: &str, claims: Value| {
        assert_eq!(jobs[job]["extends"], ".slipway");
        let script = format!(
            "{}\n{}",
            lines(&base["before_script"]),
            lines(&jobs[job]["script"])
        );
        parses(&script).await;
        let mut claims = claims;
        claims["aud"] = json!(url);
        let variables = base["variables"].as_object().unwrap().iter();
        let mut environment: BTreeMap<String, String> = variables
            .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
            .collect();
        environment.insert("SLIPWAY_ID_TOKEN".into(), pipeline.issuer.token(&claims));
        pipeline.bash(&script, &environment).await
    };
    let merge_request = json!({"environment": "preview", "pipeline_source": "merge_request_event"});
    let output = run("slipway-plan", merge_request.clone()).await;
    assert!(
        output.status.success() && texts(&output).contains("+ create"),
        "{}",
        texts(&output)
    );
    let plan = std::fs::read_to_string(pipeline.folder.path().join("slipway-plan.md")).unwrap();
    assert!(plan.starts_with("### Slipway: `acme-shop`"), "{plan}");
    let output = run("slipway-apply", merge_request).await;
    assert!(
        !output.status.success() && pipeline.jobs().await.is_empty(),
        "{}",
        texts(&output)
    );
    let output = run("slipway-apply", json!({"repository_id": "78"})).await;
    assert!(
        texts(&output).contains("did not exchange the ID token (400)"),
        "{}",
        texts(&output)
    );
    let output = run("slipway-apply", json!({})).await;
    assert!(output.status.success(), "{}", texts(&output));
    assert_eq!(pipeline.jobs().await[0]["state"], "succeeded");
}

#[tokio::test]
async fn every_script_of_the_action_is_bash() {
    let action = document(ACTION, 0);
    for step in action["runs"]["steps"].as_array().unwrap() {
        parses(step["run"].as_str().unwrap()).await;
    }
}
