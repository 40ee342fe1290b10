//! An independent client (boto3) that says what is in "AWS".

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, OnceLock};

use serde_json::{Value, json};

use super::aws::Place;

struct Eyes {
    _process: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

/// Asks the one process of eyes. It ends when this process does, with its standard input.
fn ask(request: &Value) -> Value {
    static EYES: OnceLock<Mutex<Eyes>> = OnceLock::new();
    let start = || {
        let python = super::aws::required("SLIPWAY_TEST_PYTHON");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/eyes.py");
        let mut process = Command::new(python).arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("eyes.py starts");
        let (to, from) = (process.stdin.take().unwrap(), BufReader::new(process.stdout.take().unwrap()));
        Mutex::new(Eyes { _process: process, to, from })
    };
    let mut eyes = EYES.get_or_init(start).lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    writeln!(eyes.to, "{request}").expect("eyes.py listens");
    let mut line = String::new();
    eyes.from.read_line(&mut line).expect("eyes.py answers");
    serde_json::from_str(&line).expect("eyes.py answers JSON")
}

/// Everything that there is for an app.
pub fn look(place: &Place, spec: &Value) -> Value {
    let seen = ask(&json!({
        "op": "app", "endpoint": place.endpoint, "credentials": place.credentials_json(), "app": spec["name"],
        "group": "Apps", "policy": "MediaManagement", "buckets": spec["buckets"], "repositories": spec["repositories"],
    }));
    assert!(seen.get("error").is_none(), "{seen}");
    seen
}

/// Makes one call and answers what AWS said.
pub fn call(place: &Place, service: &str, method: &str, args: Value) -> Result<Value, Value> {
    call_as(place, &place.credentials_json(), service, method, args)
}

/// The same with other credentials.
pub fn call_as(place: &Place, credentials: &Value, service: &str, method: &str, args: Value) -> Result<Value, Value> {
    let mut answer = ask(&json!({
        "op": "call", "endpoint": place.endpoint, "service": service, "method": method, "args": args,
        "region": place.region, "credentials": credentials,
    }));
    match answer.get("ok") {
        Some(_) => Ok(answer["ok"].take()),
        None => Err(answer["error"].take()),
    }
}
