//! An independent client (boto3) that says what is in "AWS".

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Condvar, Mutex, PoisonError};

use serde_json::{Value, json};

use super::aws::Place;

/// Processes at most: each takes a second to start, and an emulator does one thing at a time anyway.
const MOST: usize = 4;

struct Eyes {
    _process: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

/// The processes that nobody asks at the moment. They end when this process does, with their standard input.
struct Pool {
    idle: Vec<Eyes>,
    started: usize,
}

static POOL: Mutex<Pool> = Mutex::new(Pool {
    idle: Vec::new(),
    started: 0,
});
static IDLE_AGAIN: Condvar = Condvar::new();

impl Eyes {
    fn start() -> Self {
        let python = super::aws::required("SLIPWAY_TEST_PYTHON");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/aws_inspector.py");
        let mut process = Command::new(python)
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("aws_inspector.py starts");
        let (to, from) = (
            process.stdin.take().unwrap(),
            BufReader::new(process.stdout.take().unwrap()),
        );
        Self {
            _process: process,
            to,
            from,
        }
    }

    /// One that is idle, or a new one, or the next that is idle again.
    fn take() -> Self {
        let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(eyes) = pool.idle.pop() {
                return eyes;
            }
            if pool.started < MOST {
                pool.started += 1;
                drop(pool);
                return Self::start();
            }
            pool = IDLE_AGAIN
                .wait(pool)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn answer(&mut self, request: &Value) -> std::io::Result<String> {
        writeln!(self.to, "{request}")?;
        let mut line = String::new();
        self.from.read_line(&mut line)?;
        Ok(line)
    }
}

fn ask(request: &Value) -> Value {
    let mut eyes = Eyes::take();
    let answer = eyes.answer(request);
    let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    match answer {
        Ok(_) => pool.idle.push(eyes),
        Err(_) => pool.started -= 1,
    }
    drop(pool);
    IDLE_AGAIN.notify_one();
    serde_json::from_str(&answer.expect("aws_inspector.py answers"))
        .expect("aws_inspector.py answers JSON")
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
pub fn call_as(
    place: &Place,
    credentials: &Value,
    service: &str,
    method: &str,
    args: Value,
) -> Result<Value, Value> {
    let mut answer = ask(&json!({
        "op": "call", "endpoint": place.endpoint, "service": service, "method": method, "args": args,
        "region": place.region, "credentials": credentials,
    }));
    match answer.get("ok") {
        Some(_) => Ok(answer["ok"].take()),
        None => Err(answer["error"].take()),
    }
}
