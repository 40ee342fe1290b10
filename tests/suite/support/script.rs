//! Scripts beside the tests, which call the libraries of others.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::Value;

/// What a script below `tests/` answers to a document.
pub fn answer(program: &str, script: &str, input: &Value) -> Value {
    let path = format!("{}/tests/{script}", env!("CARGO_MANIFEST_DIR"));
    let mut child = Command::new(program)
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}; `make test` installs it"));
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.to_string().as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{program} {script} failed");
    serde_json::from_slice(&output.stdout).unwrap()
}
