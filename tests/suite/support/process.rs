//! The real binary as a child process.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_credential_types::Credentials;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::api::Api;
use super::aws::{Place, required};
use super::aws_inspector;

/// The waits of the tests in this process, for the service's file of settings. With its own, a key whose answer was lost
/// is waited for for most of a minute after each kill.
const SHORT_WAITS: &str = "[timing]\nbackoff = \"10ms\"\nbackoff_cap = \"100ms\"\npoll_delay = \"20ms\"\nkey_list = \"500ms\"\n\
    answer = \"5s\"\nhold = \"200ms\"\nattachment = \"0s\"\n";

/// Longer than anything here takes that goes well.
const PATIENCE: Duration = Duration::from_secs(60);

/// A role's session in a new account of the emulator that enforces identities and policies.
pub fn enforced_place() -> Place {
    let account = format!("{:012}", fastrand::u64(100_000_000_000..1_000_000_000_000));
    let owner = Credentials::new(account.clone(), "test", None, None, "test");
    let place = Place {
        endpoint: required("SLIPWAY_TEST_MINISTACK_AUTH"),
        account,
        region: "us-west-2",
        credentials: owner,
    };
    let statement = |rest: Value| {
        let mut statement = json!({"Effect": "Allow"});
        statement
            .as_object_mut()
            .unwrap()
            .extend(rest.as_object().unwrap().clone());
        json!({"Version": "2012-10-17", "Statement": [statement]}).to_string()
    };
    let trust = statement(json!({"Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}));
    let all = statement(json!({"Action": ["iam:*", "s3:*", "ecr:*", "sts:*"], "Resource": "*"}));
    aws_inspector::call(
        &place,
        "iam",
        "create_role",
        json!({"RoleName": "slipway", "AssumeRolePolicyDocument": trust}),
    )
    .unwrap();
    aws_inspector::call(
        &place,
        "iam",
        "put_role_policy",
        json!({"RoleName": "slipway", "PolicyName": "all", "PolicyDocument": all}),
    )
    .unwrap();
    place.assume("slipway")
}

/// How the binary is started: its whole environment, its folder.
#[derive(Clone)]
pub struct Launch {
    environment: BTreeMap<String, String>,
    pub folder: Arc<tempfile::TempDir>,
    pub admin_token: String,
    pub encryption_key: String,
}

impl Launch {
    /// Without any AWS credentials.
    pub fn at(endpoint: &str) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let admin_token = format!("admin+{}/token", fastrand::u128(..));
        let encryption_key = slipway::vault::Vault::new_key().unwrap();
        let encryption_key = secrecy::ExposeSecret::expose_secret(&encryption_key).to_owned();
        let mut launch = Self {
            environment: BTreeMap::new(),
            folder,
            admin_token,
            encryption_key,
        };
        let home = launch.folder.path().display().to_string();
        launch.set("PATH", &std::env::var("PATH").unwrap_or_default());
        launch.set(
            "SLIPWAY_DATABASE_URL",
            &format!("sqlite://{home}/slipway.db"),
        );
        launch.set("HOME", &home);
        launch.set("AWS_REGION", "us-west-2");
        launch.set("AWS_ENDPOINT_URL", endpoint);
        launch.set("AWS_EC2_METADATA_DISABLED", "true");
        launch.set("SLIPWAY_ENCRYPTION_KEY", &launch.encryption_key.clone());
        launch.set("SLIPWAY_ADMIN_TOKEN", &launch.admin_token.clone());
        launch
    }

    /// With a place's credentials in the environment.
    pub fn new(place: &Place) -> Self {
        Self::at(&place.endpoint).with_credentials(&place.credentials)
    }

    pub fn with_credentials(mut self, credentials: &Credentials) -> Self {
        self.set("AWS_ACCESS_KEY_ID", credentials.access_key_id());
        self.set("AWS_SECRET_ACCESS_KEY", credentials.secret_access_key());
        if let Some(token) = credentials.session_token() {
            self.set("AWS_SESSION_TOKEN", token);
        }
        self
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.set(name, value);
        self
    }

    /// For processes that are killed.
    pub fn with_short_waits(self) -> Self {
        std::fs::write(self.file("slipway.toml"), SHORT_WAITS).unwrap();
        self.with("SLIPWAY_CONFIG", "slipway.toml")
    }

    pub fn without(mut self, name: &str) -> Self {
        self.environment.remove(name);
        self
    }

    pub fn environment(&self) -> &BTreeMap<String, String> {
        &self.environment
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn set(&mut self, name: &str, value: &str) {
        self.environment.insert(name.to_owned(), value.to_owned());
    }

    fn command(&self, arguments: &[&str]) -> Command {
        // SIGXFSZ ends a process that writes more than it may; a full disk sends none.
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "trap '' XFSZ; exec \"$0\" \"$@\"",
            env!("CARGO_BIN_EXE_slipway"),
        ]);
        command
            .args(arguments)
            .env_clear()
            .envs(&self.environment)
            .current_dir(self.folder.path());
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs a command to its end.
    pub async fn run(&self, arguments: &[&str]) -> Output {
        timeout(PATIENCE, self.command(arguments).output())
            .await
            .expect("the command ends")
            .unwrap()
    }

    /// Runs a `serve` that does not start: its exit code and what it says.
    pub async fn refusal(&self) -> (Option<i32>, String) {
        let output = self
            .clone()
            .with("SLIPWAY_LISTEN", &free_address().to_string())
            .run(&["serve"])
            .await;
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    }

    /// Runs `serve` until it is ready.
    pub async fn serve(&self) -> Running {
        self.serve_at(free_address()).await
    }

    /// Runs `serve` at an address of its own until it is ready.
    pub async fn serve_at(&self, address: SocketAddr) -> Running {
        loop {
            let mut child = self.spawn(address);
            match ready(&mut child, address).await {
                Ok(()) => return Running::new(child, address, self),
                // A connection of somebody's has the port for a moment.
                Err(())
                    if self
                        .log()
                        .trim_end()
                        .ends_with("Set SLIPWAY_LISTEN to a free address") => {}
                Err(()) => panic!("slipway serve did not get ready:\n{}", self.log()),
            }
        }
    }

    fn spawn(&self, address: SocketAddr) -> Child {
        let mut command = self.command(&["serve"]);
        let append = |name| {
            std::fs::File::options()
                .create(true)
                .append(true)
                .open(self.file(name))
                .unwrap()
        };
        command
            .env("SLIPWAY_LISTEN", address.to_string())
            // Its calls come at any time, between those that a test counts.
            .env("SLIPWAY_ACCOUNT_CHECK_INTERVAL", "0s")
            .stdout(append("stdout.log"))
            .stderr(append("stderr.log"));
        command.spawn().unwrap()
    }

    /// What all processes of this launch have logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.file("stderr.log")).unwrap_or_default()
    }
}

fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .unwrap()
}

async fn ready(child: &mut Child, address: SocketAddr) -> Result<(), ()> {
    let client = Client::new();
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until && child.try_wait().unwrap().is_none() {
        let answer = client.get(format!("http://{address}/readyz")).send().await;
        if answer.is_ok_and(|answer| answer.status().is_success()) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Err(())
}

/// A running `slipway serve`, which is killed when this is dropped.
pub struct Running {
    child: Child,
    pub address: SocketAddr,
    pub api: Api,
    /// With its files, which are there as long as it runs.
    launch: Launch,
}

impl Drop for Running {
    /// What it complained of, where its test fails.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.launch.log();
            let complaints = log
                .lines()
                .filter(|line| line.contains("\"ERROR\"") || line.contains("\"WARN\""));
            complaints
                .take(20)
                .for_each(|line| eprintln!("slipway: {line}"));
        }
    }
}

impl Running {
    fn new(child: Child, address: SocketAddr, launch: &Launch) -> Self {
        let api = Api::new(format!("http://{address}"), launch.admin_token.clone());
        Self {
            child,
            address,
            api,
            launch: launch.clone(),
        }
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.api.request(method, path)
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// The body of an answer that is a success.
    pub async fn text(&self, request: RequestBuilder) -> String {
        let response = request.send().await.unwrap();
        let (status, url) = (response.status(), response.url().clone());
        let body = response.text().await.unwrap();
        assert!(status.is_success(), "{url}: {status} {body}");
        body
    }

    pub async fn get(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(self.request(Method::GET, path)).await).unwrap()
    }

    /// Asks for an app; the answer's job.
    pub async fn ask(&self, app: &str) -> Value {
        let request = self
            .request(Method::POST, "/v1/apps")
            .header("idempotency-key", app)
            .json(&json!({"name": app}));
        serde_json::from_str(&self.text(request).await).unwrap()
    }

    /// The job, when it has ended.
    pub async fn ended(&self, job: &Value) -> Value {
        let path = format!("/v1/jobs/{}?wait=30s", job["id"].as_str().unwrap());
        let until = Instant::now() + PATIENCE;
        loop {
            let job = self.get(&path).await;
            if !matches!(
                job["state"].as_str(),
                Some("queued" | "running" | "waiting")
            ) {
                return job;
            }
            assert!(Instant::now() < until, "the job does not end: {job:#}");
        }
    }

    /// The names of a job's events.
    pub async fn events(&self, job: &Value) -> Vec<String> {
        let path = format!("/v1/jobs/{}/events", job["id"].as_str().unwrap());
        let request = self
            .request(Method::GET, &path)
            .header("accept", "application/json");
        let page: Value = serde_json::from_str(&self.text(request).await).unwrap();
        page["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| event["event"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Ends the process at once: SIGKILL.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Sends the process a signal.
    pub async fn signal(&self, name: &str) {
        let id = self.child.id().expect("it runs").to_string();
        let sent = Command::new("sh")
            .args(["-c", "kill -s \"$1\" \"$2\"", "sh", name, &id])
            .status()
            .await
            .unwrap();
        assert!(sent.success());
    }

    /// Its resident memory, in MB.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!(
            "/proc/{}/status",
            self.child.id().expect("it runs")
        ))
        .unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// How it ends by itself.
    pub async fn exit(&mut self) -> ExitStatus {
        timeout(PATIENCE, self.child.wait())
            .await
            .expect("the process ends")
            .unwrap()
    }

    /// Ends it in good order.
    pub async fn stop(mut self) {
        self.signal("TERM").await;
        assert_eq!(self.exit().await.code(), Some(0));
    }
}
