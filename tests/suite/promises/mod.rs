//! Attacks on the promises of the service, on the AWS in memory and in simulated time: what the other tests look at one by one
//! comes together here. Each scenario says what was promised, brings trouble, and looks at what is in AWS and what people
//! are told once nothing goes wrong any more.

mod accounts;
mod approvals;
mod data;
mod identities;
mod keys;
mod ownership;
mod removal;
mod rotation;
mod setup;
mod setup_approvals;
mod time;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::aws::Options;
use crate::support::aws::AccountAdmin;
use crate::support::simulated::{Host, Process, runtime};
use crate::support::wire::Call;

/// How long a removal waits here, a rotation watches, and it holds.
const SHORT: Duration = Duration::from_secs(90);

/// Runs a scenario in a simulation of its own.
fn simulate<R>(scenario: impl Future<Output = R>) -> R {
    let runtime = runtime();
    let result = runtime.block_on(scenario);
    runtime.shutdown_timeout(Duration::from_secs(5));
    result
}

/// A host and the process on it.
struct Fixture {
    host: Host,
    process: Option<Process>,
    /// Keys that somebody made by hand.
    by_hand: Vec<String>,
    /// Keep the files of a database that was copied.
    copies: Vec<tempfile::TempDir>,
}

impl Fixture {
    async fn new(options: Options) -> Self {
        Self::with(options, |_| {}).await
    }

    async fn with(options: Options, set: impl FnOnce(&mut Host)) -> Self {
        let mut host = Host::new(options);
        host.settings.quarantine = SHORT;
        host.settings.rotation_idle_period = SHORT;
        host.settings.rotation_delete_delay = SHORT;
        set(&mut host);
        let process = Some(host.start().await);
        Self {
            host,
            process,
            by_hand: Vec::new(),
            copies: Vec::new(),
        }
    }

    /// Another installation in the same account.
    async fn beside(&self) -> Self {
        let aws = self.host.aws.clone();
        Self::with(Options::default(), |host| {
            host.aws = aws;
            // Its id is made with its database, and a template has one.
            host.settings.database_url = host
                .settings
                .database_url
                .replace("slipway.db", "another.db");
        })
        .await
    }

    fn process(&self) -> &Process {
        self.process.as_ref().expect("a process")
    }

    async fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill().await;
        }
    }

    /// Loses the process, and starts another.
    async fn again(&mut self) {
        self.kill().await;
        self.process = Some(self.host.start().await);
    }

    /// Loses the process once the nth call of an operation is made, and starts another.
    async fn killed_at(&mut self, call: &str, nth: usize) {
        let made = |log: &[Call]| log.iter().filter(|it| it.name() == call).count() > nth;
        for _ in 0..60_000 {
            if made(&self.host.aws.log()) {
                return self.again().await;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!(
            "{call} was not made {nth} times: {:?}",
            names(&self.host.aws.log())
        );
    }

    /// A copy of the database as it is, taken while no process is there.
    async fn copy(&mut self) -> PathBuf {
        self.kill().await;
        let folder = tempfile::tempdir().expect("a folder");
        self.closed().await;
        for file in database_files(&self.database()) {
            if file.exists() {
                std::fs::copy(&file, folder.path().join(file.file_name().expect("a name")))
                    .expect("a copy");
            }
        }
        let path = folder.path().to_owned();
        self.copies.push(folder);
        self.process = Some(self.host.start().await);
        path
    }

    /// Waits until SQLite's threads of a lost process have closed the database: the last to close it deletes its log.
    async fn closed(&self) {
        let database = self.database().display().to_string();
        let is_open = || {
            let files = std::fs::read_dir("/proc/self/fd").expect("the open files");
            let mut open = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
            open.any(|path| path.display().to_string().starts_with(&database))
        };
        while is_open() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Puts a copy in the place of the database.
    async fn restore_copy(&mut self, copy: &Path) {
        self.kill().await;
        self.closed().await;
        for file in database_files(&self.database()) {
            let _ = std::fs::remove_file(&file);
            let copied = copy.join(file.file_name().expect("a name"));
            if copied.exists() {
                std::fs::copy(copied, file).expect("a copy");
            }
        }
        self.process = Some(self.host.start().await);
    }

    fn database(&self) -> PathBuf {
        self.host
            .settings
            .database_url
            .trim_start_matches("sqlite://")
            .into()
    }

    /// A request's status and answer.
    async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let method: Method = method.parse().expect("a method");
        let request = self.process().request(method, path);
        let request = if let Some(body) = body {
            request.json(body)
        } else {
            request
        };
        let response = self.process().send(request).await;
        let (status, text) = (
            response.status().as_u16(),
            response.text().await.expect("a body"),
        );
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// Asks for a job, which has to be accepted; its id.
    async fn begin(&self, method: &str, path: &str, body: Option<&Value>) -> String {
        let (status, job) = self.ask(method, path, body).await;
        assert_eq!(status, 202, "{method} {path}: {job:#}");
        id_of(&job)
    }

    /// Asks for a job and waits for its end.
    async fn ended(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let id = self.begin(method, path, body).await;
        self.process().wait(&id).await
    }

    /// Asks for a job, which has to succeed.
    async fn done(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let job = self.ended(method, path, body).await;
        assert_eq!(job["state"], "succeeded", "{method} {path}: {job:#}");
        job
    }

    /// Onboards an app and claims its key: the key and its secret.
    async fn onboard(&self, body: &Value) -> (String, String) {
        let job = self.done("POST", "/v1/apps", Some(body)).await;
        let key = job["result"]["access_key_id"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        if key.is_empty() {
            return (key, String::new());
        }
        let secret = self.claim(body["name"].as_str().unwrap(), &key).await;
        (key, secret)
    }

    /// Claims a secret, which has to be there.
    async fn claim(&self, name: &str, key: &str) -> String {
        let (status, claim) = self
            .ask(
                "POST",
                &format!("/v1/apps/{name}/credentials/{key}/claim"),
                None,
            )
            .await;
        let secret = claim["AWS_SECRET_ACCESS_KEY"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert!(status == 200 && secret.len() >= 40, "{status} {claim:#}");
        secret
    }

    async fn json(&self, path: &str) -> Value {
        self.process().json(path).await
    }

    async fn app(&self, name: &str) -> Value {
        self.json(&format!("/v1/apps/{name}")).await
    }

    async fn jobs(&self, name: &str) -> Vec<Value> {
        items(&self.json(&format!("/v1/jobs?app={name}&limit=100")).await)
    }

    async fn rotation(&self, name: &str) -> Value {
        self.json(&format!("/v1/apps/{name}/credentials")).await["rotation"].clone()
    }

    /// Waits until the rotation is at one of the stages.
    async fn until_stage(&self, name: &str, stages: &[&str]) -> Value {
        for _ in 0..600 {
            let rotation = self.rotation(name).await;
            if rotation["stage"]
                .as_str()
                .is_some_and(|stage| stages.contains(&stage))
            {
                return rotation;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        panic!(
            "the rotation does not come to {stages:?}: {:#}",
            self.rotation(name).await
        );
    }

    /// Waits until nothing is under way; the states of all jobs of the app.
    async fn settled(&self, name: &str) -> Vec<Value> {
        for _ in 0..1200 {
            let active = self
                .process()
                .service
                .store
                .active_jobs()
                .await
                .expect("the database answers");
            let state = self.ask("GET", &format!("/v1/apps/{name}"), None).await.1["state"].clone();
            if active.is_empty() && state != "quarantined" && state != "removing" {
                return self.jobs(name).await;
            }
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        panic!("{name} does not settle: {:#?}", self.jobs(name).await);
    }

    fn snapshot(&self) -> Value {
        self.host.aws.snapshot(self.host.account())
    }

    fn user(&self, name: &str) -> Value {
        self.snapshot()["users"][name].clone()
    }

    /// The user's keys, and whether each is active.
    fn keys(&self, name: &str) -> BTreeMap<String, bool> {
        let user = self.user(name);
        let keys = user["keys"].as_array().cloned().unwrap_or_default();
        keys.iter()
            .map(|key| {
                (
                    key["id"].as_str().unwrap().to_owned(),
                    key["status"] == "Active",
                )
            })
            .collect()
    }

    /// The names of the attached media policies.
    fn media_policies(&self, name: &str) -> Vec<String> {
        let user = self.user(name);
        let arns = user["attached"].as_array().cloned().unwrap_or_default();
        let names = arns
            .iter()
            .filter_map(|arn| arn.as_str()?.rsplit('/').next().map(str::to_owned));
        names
            .filter(|policy| policy.starts_with("MediaManagement"))
            .collect()
    }

    /// Makes an access key of the user by hand.
    fn key_by_hand(&mut self, name: &str) -> String {
        let made = self
            .host
            .make("iam", "create_access_key", json!({"UserName": name}));
        let key = made["AccessKey"]["AccessKeyId"]
            .as_str()
            .unwrap()
            .to_owned();
        self.by_hand.push(key.clone());
        key
    }

    /// What has to hold of every app, whatever has happened. Everything has settled before.
    async fn sound(&self, name: &str) {
        let (app, jobs) = (self.app(name).await, self.settled(name).await);
        for job in &jobs {
            let state = job["state"].as_str().unwrap_or_default();
            let error = &job["error"];
            let told = ["code", "detail", "remedy"]
                .iter()
                .all(|field| error[*field].as_str().is_some_and(|text| !text.is_empty()));
            assert!(
                ["succeeded", "canceled"].contains(&state) || told,
                "a job says why it did not succeed: {job:#}"
            );
        }
        self.keys_are_known(name, &json!(jobs).to_string()).await;
        if app["state"] != "ready" {
            return;
        }
        let scoped = format!("MediaManagement-{name}");
        let wanted = match app["spec"]["media_access"].as_str() {
            Some("scoped") if app["spec"]["buckets"] == json!([]) => vec![],
            Some("scoped") => vec![scoped.as_str()],
            _ => vec!["MediaManagement"],
        };
        assert_eq!(
            self.media_policies(name),
            wanted,
            "{name} has the attachments of its spec alone"
        );
        self.everything_is_explained(&app);
        self.repaired_twice(name).await;
    }

    /// Every key of the user is listed with what became of its secret, or was made by hand, or a job names it.
    async fn keys_are_known(&self, name: &str, jobs: &str) {
        let listed = self
            .ask("GET", &format!("/v1/apps/{name}/credentials"), None)
            .await
            .1;
        for key in self
            .keys(name)
            .into_keys()
            .filter(|key| !self.by_hand.contains(key))
        {
            let known = items(&listed).iter().any(|it| {
                it["access_key_id"] == key.as_str()
                    && it["managed"] == true
                    && !it["secret"].is_null()
            });
            assert!(
                known || jobs.contains(&key),
                "nobody knows the key {key} of {name}: {listed:#}"
            );
        }
    }

    /// Everything in AWS that carries the app's name in our tag is in its spec, its resources or retained.
    fn everything_is_explained(&self, app: &Value) {
        let told = app.to_string();
        let snapshot = self.snapshot();
        for (kind, prefix) in [
            ("users", "iam:user/"),
            ("policies", "iam:policy/"),
            ("buckets", "s3:bucket/"),
            ("repositories", "ecr:repository/"),
        ] {
            for (name, thing) in snapshot[kind].as_object().into_iter().flatten() {
                let last = if kind == "policies" {
                    name.rsplit('/').next().unwrap_or_default()
                } else {
                    name
                };
                if thing["tags"]["slipway:app"] == app["name"] {
                    assert!(
                        told.contains(&format!("{prefix}{last}\"")),
                        "nothing explains {prefix}{last}: {app:#}"
                    );
                }
            }
        }
    }

    /// A repair succeeds, and the one after it changes nothing.
    async fn repaired_twice(&self, name: &str) {
        let path = format!("/v1/apps/{name}/repair");
        self.host.mend();
        // IAM shows everything by then.
        pause(30).await;
        self.done("POST", &path, None).await;
        pause(30).await;
        self.host.aws.take_log();
        self.done("POST", &path, None).await;
        let changing: Vec<String> = self
            .host
            .aws
            .take_log()
            .iter()
            .filter(|call| call.mutates() && call.service != "sts")
            .map(Call::name)
            .collect();
        assert_eq!(
            changing,
            Vec::<String>::new(),
            "a second repair changes nothing"
        );
    }

    /// The app has exactly one active key besides those made by hand, and its secret works.
    async fn one_live_key(&self, name: &str, secrets: &BTreeMap<String, String>) -> String {
        let live: Vec<String> = self
            .keys(name)
            .into_iter()
            .filter(|(key, active)| *active && !self.by_hand.contains(key))
            .map(|(key, _)| key)
            .collect();
        assert_eq!(live.len(), 1, "exactly one live key: {:?}", self.keys(name));
        let secret = match secrets.get(&live[0]) {
            Some(secret) => secret.clone(),
            None => self.claim(name, &live[0]).await,
        };
        // STS knows a new key by then.
        pause(20).await;
        self.host
            .identity_of(&live[0], &secret)
            .await
            .expect("its secret works");
        live[0].clone()
    }

    async fn end(mut self) {
        if let Some(process) = self.process.take() {
            process.kill().await;
        }
    }
}

fn database_files(path: &Path) -> [PathBuf; 3] {
    ["", "-wal", "-shm"].map(|end| PathBuf::from(format!("{}{end}", path.display())))
}

fn id_of(job: &Value) -> String {
    job["id"]
        .as_str()
        .unwrap_or_else(|| panic!("no job: {job:#}"))
        .to_owned()
}

fn items(list: &Value) -> Vec<Value> {
    list["items"].as_array().cloned().unwrap_or_default()
}

fn names(calls: &[Call]) -> Vec<String> {
    calls.iter().map(Call::name).collect()
}

/// An app without data.
fn small(name: &str) -> Value {
    json!({"name": name, "buckets": [], "repositories": []})
}

/// An app with a bucket and a repository.
fn whole(name: &str, media_access: &str) -> Value {
    json!({"name": name, "media_access": media_access, "buckets": [{"name": format!("{name}-media")}], "repositories": [{"name": name}]})
}

async fn pause(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// The kinds of job, each of an app called acme.
const KINDS: [&str; 8] = [
    "onboard",
    "update",
    "repair",
    "rotate",
    "set_key_status",
    "offboard",
    "remove",
    "restore",
];

/// The app that jobs begin with, and what an update makes of it.
fn first_spec() -> Value {
    let buckets = json!([{"name": "acme-media"}, {"name": "acme-old"}]);
    json!({"name": "acme", "media_access": "scoped", "buckets": buckets, "repositories": [{"name": "acme"}]})
}

fn next_spec() -> Value {
    let buckets = json!([{"name": "acme-media"}, {"name": "acme-new"}]);
    json!({"name": "acme", "media_access": "shared", "buckets": buckets, "repositories": [{"name": "acme", "lifecycle": "protected"}]})
}

/// Brings about what a kind of job starts from, and begins one: its id.
async fn begin(fixture: &Fixture, kind: &str) -> String {
    if kind == "onboard" {
        fixture.host.aws.take_log();
        return fixture.begin("POST", "/v1/apps", Some(&first_spec())).await;
    }
    let (key, _) = fixture.onboard(&first_spec()).await;
    if kind == "repair" {
        let policy = format!(
            "arn:aws:iam::{}:policy/MediaManagement-acme",
            fixture.host.account()
        );
        fixture.host.make(
            "iam",
            "detach_user_policy",
            json!({"UserName": "acme", "PolicyArn": policy}),
        );
        fixture
            .host
            .make("s3", "delete_bucket_cors", json!({"Bucket": "acme-media"}));
        fixture.host.make(
            "ecr",
            "delete_repository",
            json!({"repositoryName": "acme", "force": true}),
        );
    }
    if kind == "restore" {
        fixture.done("DELETE", "/v1/apps/acme", None).await;
    }
    fixture.host.aws.take_log();
    let app = "/v1/apps/acme";
    match kind {
        "update" => {
            fixture
                .begin("PUT", &format!("{app}?remove=true"), Some(&next_spec()))
                .await
        }
        "repair" => fixture.begin("POST", &format!("{app}/repair"), None).await,
        "rotate" => {
            fixture
                .begin(
                    "POST",
                    &format!("{app}/credentials/rotate?force=true"),
                    None,
                )
                .await
        }
        "set_key_status" => {
            fixture
                .begin("POST", &format!("{app}/credentials/{key}/deactivate"), None)
                .await
        }
        "restore" => fixture.begin("POST", &format!("{app}/restore"), None).await,
        "offboard" => fixture.begin("DELETE", app, None).await,
        "remove" => {
            fixture.done("DELETE", app, None).await;
            fixture.host.aws.take_log();
            loop {
                let jobs = items(&fixture.json("/v1/jobs?app=acme&kind=remove").await);
                if let Some(job) = jobs.first() {
                    return id_of(job);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        _ => panic!("{kind} is no kind of job"),
    }
}

/// Calls of the service's own session to IAM, S3 and ECR.
fn own_calls(fixture: &Fixture) -> Vec<Call> {
    fixture
        .host
        .aws
        .log()
        .into_iter()
        .filter(|call| call.service != "sts")
        .collect()
}

/// Waits until the job has made so many calls; `false` when it ends before.
async fn has_made(fixture: &Fixture, job: &str, calls: usize) -> bool {
    for _ in 0..100_000 {
        if own_calls(fixture).len() >= calls {
            return true;
        }
        let state = fixture.json(&format!("/v1/jobs/{job}")).await["state"].clone();
        if !["queued", "running", "waiting"]
            .iter()
            .any(|active| state == *active)
        {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the job {job} neither ends nor calls");
}

/// Calls that take some time, so that a request can come between two of them.
fn slow() -> Options {
    Options {
        latency: Duration::from_millis(30)..=Duration::from_millis(60),
        ..Options::default()
    }
}
