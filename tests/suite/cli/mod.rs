//! The command line against a real service, on the AWS in memory: in pipes and in a pseudo-terminal.

mod accounts;
mod apps;
mod connections;
mod exits;
mod files;
mod login;
mod secrets;
mod terminal;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::aws::listen::{Listening, on_loopback};
use crate::aws::{Aws, Options};
use crate::support::aws::required;
use crate::support::process::{Launch, Running};

const ACCOUNT: &str = "123456789012";
/// Longer than anything here takes that goes well.
const PATIENCE: Duration = Duration::from_secs(60);

/// An AWS, and how a service is started on it.
struct Host {
    aws: Aws,
    launch: Launch,
    _listening: Listening,
}

impl Host {
    /// With an AWS that answers at once.
    fn new() -> Self {
        Self::with(Options::default())
    }

    /// With an AWS whose calls take so long that a job can be met at work.
    fn slow() -> Self {
        let latency = Duration::from_millis(60)..=Duration::from_millis(90);
        Self::with(Options {
            latency,
            ..Options::default()
        })
    }

    fn with(options: Options) -> Self {
        let aws = Aws::new(options);
        let listening = on_loopback(&aws);
        let session = aws.role_session(ACCOUNT, "slipway", None);
        let launch = Launch::at(&listening.endpoint)
            .with_credentials(&session)
            .with_short_waits();
        Self {
            aws,
            launch,
            _listening: listening,
        }
    }

    /// The settings file of the service, with more in it.
    fn settings(self, text: &str) -> Self {
        let path = self.launch.file("slipway.toml");
        let before = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, format!("{before}\n{text}")).unwrap();
        self
    }
}

/// Who types commands: a folder, a home, and a token.
struct Person {
    folder: tempfile::TempDir,
    environment: BTreeMap<String, String>,
}

/// How a command ended.
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Person {
    /// The administrator of a running service.
    fn admin(server: &Running, launch: &Launch) -> Self {
        Self::new(&format!("http://{}", server.address), &launch.admin_token)
    }

    fn new(url: &str, token: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().display().to_string();
        let variables = [
            ("HOME", home.as_str()),
            ("PATH", "/usr/bin:/bin"),
            ("SLIPWAY_URL", url),
            ("SLIPWAY_TOKEN", token),
        ];
        let environment = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self {
            folder,
            environment: environment.into(),
        }
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.into(), value.into());
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.environment.remove(name);
        self
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.file(name), text).unwrap();
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .envs(&self.environment)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Starts a command in pipes.
    fn start(&self, arguments: &[&str]) -> Child {
        self.command(env!("CARGO_BIN_EXE_slipway"), arguments)
            .spawn()
            .unwrap()
    }

    /// Runs a command in pipes, to its end.
    async fn run(&self, arguments: &[&str]) -> Ran {
        ended(self.start(arguments)).await
    }

    /// Runs a command that has to succeed; what it prints.
    async fn ok(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments).await;
        assert_eq!(ran.code, 0, "{arguments:?}: {}{}", ran.out, ran.err);
        ran.out
    }

    /// The same, as JSON.
    async fn json(&self, arguments: &[&str]) -> Value {
        let arguments = [arguments, &["--output", "json"]].concat();
        serde_json::from_str(&self.ok(&arguments).await).unwrap()
    }

    /// Runs a command in a pipe that gives it this text.
    async fn run_with_input(&self, arguments: &[&str], input: &str) -> Ran {
        use tokio::io::AsyncWriteExt as _;
        let mut command = self.command(env!("CARGO_BIN_EXE_slipway"), arguments);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).await.unwrap();
        drop(stdin);
        ended(child).await
    }

    /// Runs a command in a pseudo-terminal. `steps` are texts to wait for, and what to type then.
    async fn at_terminal(&self, steps: &[(&str, &str)], arguments: &[&str]) -> Ran {
        ended(self.start_at_terminal(steps, arguments)).await
    }

    fn start_at_terminal(&self, steps: &[(&str, &str)], arguments: &[&str]) -> Child {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/terminal.py");
        let steps = json!(steps).to_string();
        let before = [script, steps.as_str(), env!("CARGO_BIN_EXE_slipway")];
        let mut command = self.command(
            &required("SLIPWAY_TEST_PYTHON"),
            &[&before[..], arguments].concat(),
        );
        command.env("TERM", "xterm-256color").env("COLUMNS", "120");
        command.spawn().unwrap()
    }
}

async fn ended(child: Child) -> Ran {
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output());
    ran(output.await.expect("the command ends").unwrap())
}

fn ran(output: Output) -> Ran {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran {
        code: output.status.code().expect("it exits by itself"),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

impl Ran {
    /// Asserts the exit code, and returns what people see.
    fn exits(self, code: i32) -> String {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        format!("{}{}", self.out, self.err)
    }
}

/// Asserts that a text has others in it.
fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing:\n{text}");
    }
}
