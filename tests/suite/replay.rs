//! The replay harness: every call of every job, met by every fault.
//!
//! Each scenario runs clean once and its calls are recorded. Then it runs again for each of those calls
//! and each fault: the job has to end as the clean one did, with exactly one live key whose secret can be
//! claimed and works, nothing left over, and nothing left to change.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use slipway::resources::{KINDS, permission};

use crate::support::aws::{Emulator, Place};
use crate::support::eyes;
use crate::support::server::{Server, Setup};
use crate::support::unique;
use crate::support::wire::Fault;

/// Cases at once: the emulators are the slowest part.
const AT_ONCE: usize = 4;

/// A job, what is there before it, and what goes wrong in every run of it.
struct Scenario {
    title: &'static str,
    emulator: Emulator,
    region: &'static str,
    body: fn(&str) -> Value,
    before: fn(&Place, &str),
    /// What is done to a place that was onboarded, before the job is a repair of it.
    damage: Option<fn(&Place, &str)>,
    always: &'static [(&'static str, usize, Fault)],
}

fn nothing(_: &Place, _: &str) {}

const SCENARIOS: [Scenario; 6] = [
    Scenario {
        title: "a new app with shared access",
        emulator: Emulator::Moto,
        region: "us-west-2",
        body: |name| json!({"name": name}),
        before: nothing,
        damage: None,
        always: &[],
    },
    Scenario {
        title: "a new app with scoped access in us-east-1",
        emulator: Emulator::Ministack,
        region: "us-east-1",
        body: |name| json!({"name": name, "media_access": "scoped", "tags": {"team": "shop"}}),
        before: nothing,
        damage: None,
        always: &[],
    },
    Scenario {
        title: "adoption of what is there",
        emulator: Emulator::Ministack,
        region: "us-west-2",
        body: |name| json!({"name": name, "on_existing": "adopt", "buckets": [{"name": format!("{name}-media")}]}),
        before: things_made_by_hand,
        damage: None,
        always: &[],
    },
    Scenario {
        title: "repair of what was changed by hand",
        emulator: Emulator::Moto,
        region: "us-west-2",
        body: |name| json!({"name": name, "media_access": "scoped", "buckets": [{"name": format!("{name}-media")}]}),
        before: nothing,
        damage: Some(undo_most),
        always: &[],
    },
    Scenario {
        title: "recovery of an access key whose answer was lost",
        emulator: Emulator::Moto,
        region: "us-west-2",
        body: |name| json!({"name": name, "buckets": [], "repositories": []}),
        before: nothing,
        damage: None,
        always: &[("iam:CreateAccessKey", 0, Fault::ResetAfter)],
    },
    Scenario {
        title: "recovery of a bucket whose answer was lost where tags do not come with it",
        emulator: Emulator::Moto,
        region: "us-west-2",
        body: |name| json!({"name": name, "access_key": false, "repositories": []}),
        before: nothing,
        damage: None,
        always: &[("s3:CreateBucket", 0, Fault::ResetAfter)],
    },
];

fn made(place: &Place, service: &str, method: &str, args: Value) -> Value {
    eyes::call(place, service, method, args).unwrap_or_else(|error| panic!("{service} {method}: {error}"))
}

fn things_made_by_hand(place: &Place, name: &str) {
    let bucket = format!("{name}-media");
    made(place, "iam", "create_user", json!({"UserName": name, "Tags": [{"Key": "own", "Value": "1"}]}));
    made(place, "iam", "create_access_key", json!({"UserName": name}));
    let constraint = json!({"LocationConstraint": place.region});
    let args = json!({"Bucket": bucket, "CreateBucketConfiguration": constraint, "ObjectOwnership": "BucketOwnerPreferred"});
    made(place, "s3", "create_bucket", args);
    let rule = json!({"AllowedMethods": ["HEAD"], "AllowedOrigins": ["https://own.example"]});
    made(place, "s3", "put_bucket_cors", json!({"Bucket": bucket, "CORSConfiguration": {"CORSRules": [rule]}}));
    let tags = json!([{"Key": "own", "Value": "1"}]);
    made(place, "s3", "put_bucket_tagging", json!({"Bucket": bucket, "Tagging": {"TagSet": tags}}));
    made(place, "ecr", "create_repository", json!({"repositoryName": name}));
}

fn undo_most(place: &Place, name: &str) {
    let bucket = format!("{name}-media");
    let policy = format!("arn:aws:iam::{}:policy/MediaManagement-{name}", place.account);
    made(place, "iam", "remove_user_from_group", json!({"UserName": name, "GroupName": "Apps"}));
    made(place, "iam", "detach_user_policy", json!({"UserName": name, "PolicyArn": policy}));
    let document = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]});
    for _ in 0..4 {
        let args = json!({"PolicyArn": policy, "PolicyDocument": document.to_string(), "SetAsDefault": true});
        made(place, "iam", "create_policy_version", args);
    }
    made(place, "iam", "untag_policy", json!({"PolicyArn": policy, "TagKeys": ["slipway:app"]}));
    made(place, "s3", "delete_bucket_cors", json!({"Bucket": bucket}));
    made(place, "s3", "delete_public_access_block", json!({"Bucket": bucket}));
    made(place, "s3", "delete_bucket_tagging", json!({"Bucket": bucket}));
    made(place, "ecr", "delete_repository", json!({"repositoryName": name, "force": true}));
}

/// What a run left: what is in AWS, without what differs from run to run, and the calls of the job.
struct Run {
    seen: Value,
    calls: Vec<(String, usize)>,
    resources: Vec<String>,
}

/// One run of a scenario on a new account, with one more fault or none.
fn run(scenario: &Scenario, more: Option<(&str, usize, Fault)>) -> Run {
    let place = Place::new(scenario.emulator).in_region(scenario.region);
    let name = unique("acme");
    (scenario.before)(&place, &name);
    let keys_before = keys_of(&place, &name);
    let mut setup = Setup::new(place);
    setup.timing.answer = Duration::from_millis(400);
    let mut process = Process::start(&setup);
    if let Some(damage) = scenario.damage {
        process.block_on(async |server| drop(server.onboard(&(scenario.body)(&name)).await));
        damage(&setup.place, &name);
    }
    setup.wire.break_calls(scenario.always.iter().copied().chain(more));
    let id = process.block_on(async |server| ask(server, scenario, &name).await);
    if more.is_some_and(|(.., fault)| fault.loses_the_process()) {
        process.block_on(async |_| tokio::time::timeout(Duration::from_secs(20), setup.wire.lost()).await.expect("the call is made"));
        process.kill();
        process = Process::start(&setup);
    }
    let job = process.block_on(async |server| ended_well(server, &setup, &name, &id, more).await);
    assert!(setup.wire.all_met(), "the fault was met");
    let calls = setup.wire.take_log().into_iter().filter(|call| call.service != "sts").map(|call| (call.name(), call.nth)).collect();
    let seen = process.block_on(async |server| left_behind(server, &setup, &name, &keys_before).await);
    let resources = job["steps"].as_array().unwrap().iter().map(|step| step["resource"].as_str().unwrap().to_owned()).collect();
    process.stop();
    Run { seen, calls, resources }
}

/// A process of the service, as far as a test can tell: a runtime of its own, which can be lost at any call.
struct Process {
    runtime: tokio::runtime::Runtime,
    server: Server,
}

impl Process {
    fn start(setup: &Setup) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let server = runtime.block_on(setup.start());
        Self { runtime, server }
    }

    fn block_on<T>(&self, work: impl AsyncFnOnce(&Server) -> T) -> T {
        self.runtime.block_on(work(&self.server))
    }

    /// Everything that it was doing ends where it stands.
    fn kill(self) {
        drop(self.server);
        self.runtime.shutdown_timeout(Duration::from_secs(5));
    }

    fn stop(self) {
        self.runtime.block_on(self.server.stop());
        self.runtime.shutdown_timeout(Duration::from_secs(5));
    }
}

async fn ask(server: &Server, scenario: &Scenario, name: &str) -> String {
    let response = match scenario.damage {
        None => server.post("/v1/apps", &(scenario.body)(name)).await,
        Some(_) => server.post_empty(&format!("/v1/apps/{name}/repair")).await,
    };
    assert_eq!(response.status(), 202);
    let job: Value = response.json().await.unwrap();
    job["id"].as_str().unwrap().to_owned()
}

/// The job succeeds by itself; after a denied call it waits for a person, says why, and goes on when asked to.
async fn ended_well(server: &Server, setup: &Setup, name: &str, id: &str, more: Option<(&str, usize, Fault)>) -> Value {
    let mut job = server.wait(id).await;
    if job["error"]["code"] == "credential_in_doubt" {
        // A key on a user that we have not made is never deleted: the answer to its create may be what was lost.
        let lost = more.is_some_and(|(call, _, fault)| fault.loses_the_process() || call == "iam:CreateAccessKey");
        assert!(is_adopted(setup, name) && lost, "{job:#}");
        delete_the_key_in_doubt(setup, name, &job);
        server.post_empty(&format!("/v1/jobs/{id}/retry")).await;
        job = server.wait(id).await;
    }
    if let Some((call, _, Fault::Denied)) = more
        && job["state"] != "succeeded"
    {
        let (_, operation) = call.split_once(':').unwrap();
        assert_eq!(job["error"]["aws"]["operation"], operation, "{job:#}");
        assert!(job["error"]["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()), "{job:#}");
        server.post_empty(&format!("/v1/jobs/{id}/retry")).await;
        job = server.wait(id).await;
    }
    assert_eq!(job["state"], "succeeded", "{job:#}");
    job
}

fn is_adopted(setup: &Setup, name: &str) -> bool {
    made(&setup.place, "iam", "list_user_tags", json!({"UserName": name})).to_string().contains("slipway:adopted")
}

/// What the error tells a person to do.
fn delete_the_key_in_doubt(setup: &Setup, name: &str, job: &Value) {
    let told = job["error"]["remedy"].as_str().unwrap();
    let key = keys_of(&setup.place, name).into_iter().find(|key| told.contains(key)).expect("the key is named");
    made(&setup.place, "iam", "delete_access_key", json!({"UserName": name, "AccessKeyId": key}));
}

/// What is in AWS after a job, having checked the promises about it.
async fn left_behind(server: &Server, setup: &Setup, name: &str, keys_before: &[String]) -> Value {
    let app = server.json(&format!("/v1/apps/{name}")).await;
    let mut seen = eyes::look(&setup.place, &app["spec"]);
    let keys: Vec<String> = keys_of(&setup.place, name).into_iter().filter(|key| !keys_before.contains(key)).collect();
    if app["spec"]["access_key"] == true {
        assert_eq!(keys.len(), 1, "exactly one key that was not there before");
        let claim = format!("/v1/apps/{name}/credentials/{}/claim", keys[0]);
        let claimed: Value = server.post_empty(&claim).await.json().await.unwrap();
        assert!(claimed["AWS_SECRET_ACCESS_KEY"].as_str().is_some_and(|secret| secret.len() >= 40), "the secret is known");
        let credentials = json!({"access_key_id": keys[0], "secret_access_key": claimed["AWS_SECRET_ACCESS_KEY"]});
        let identity = eyes::call_as(&setup.place, &credentials, "sts", "get_caller_identity", json!({})).expect("the key works");
        // ministack knows the keys of its first account alone.
        assert!(identity["Arn"] == seen["user"]["arn"] || identity["Account"] == "000000000000", "{identity}");
    } else {
        assert_eq!(keys, Vec::<String>::new());
    }
    setup.wire.break_calls([]);
    let again = server.run(&format!("/v1/apps/{name}/repair"), None).await;
    assert_eq!(again["state"], "succeeded", "{again:#}");
    let changing: Vec<String> = setup.wire.take_log().iter().filter(|call| call.mutates()).map(|call| call.name()).collect();
    assert_eq!(changing, Vec::<String>::new(), "nothing is left to change");
    seen["access_keys"] = json!(keys.len());
    plain(seen, setup, name)
}

fn keys_of(place: &Place, name: &str) -> Vec<String> {
    let Ok(listed) = eyes::call(place, "iam", "list_access_keys", json!({"UserName": name})) else { return Vec::new() };
    listed["AccessKeyMetadata"].as_array().unwrap().iter().map(|key| key["AccessKeyId"].as_str().unwrap().to_owned()).collect()
}

/// Without names, accounts and the ids of jobs.
fn plain(seen: Value, setup: &Setup, name: &str) -> Value {
    let text = seen.to_string().replace(name, "APP").replace(&setup.place.account, "ACCOUNT");
    let mut seen: Value = serde_json::from_str(&text).unwrap();
    let without_job = |tagged: &mut Value| {
        if let Some(tags) = tagged["tags"].as_object_mut() {
            tags.remove("slipway:job");
        }
    };
    without_job(&mut seen["user"]);
    for kind in ["buckets", "repositories"] {
        for (_, thing) in seen[kind].as_object_mut().unwrap() {
            without_job(thing);
            if let Some(thing) = thing.as_object_mut() {
                thing.remove("acl_grants");
            }
        }
    }
    seen
}

/// Runs a scenario clean, then with every fault at every call.
fn every_fault_at_every_call(scenario: &Scenario) {
    let clean = run(scenario, None);
    let cases: Vec<(&str, usize, Fault)> =
        clean.calls.iter().flat_map(|(call, nth)| Fault::ALL.map(|fault| (call.as_str(), *nth, fault))).collect();
    let cases: Vec<_> =
        cases.into_iter().filter(|(call, nth, _)| !scenario.always.iter().any(|(name, n, _)| name == call && n == nth)).collect();
    let (next, done, failed) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((call, nth, fault)) = cases.get(next.fetch_add(1, Ordering::Relaxed)).copied() {
                    let outcome = std::panic::catch_unwind(|| run(scenario, Some((call, nth, fault))).seen);
                    match outcome {
                        Ok(seen) if seen == clean.seen => drop(done.fetch_add(1, Ordering::Relaxed)),
                        Ok(seen) => {
                            let differences = differences("", &seen, &clean.seen).join("; ");
                            failed.lock().unwrap().push(format!("{fault:?} at {call} #{nth} left {differences}"));
                        }
                        Err(_) => failed.lock().unwrap().push(format!("{fault:?} at {call} #{nth}")),
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    println!("{}: {} calls, {} cases, {} failed", scenario.title, clean.calls.len(), cases.len(), failed.len());
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert_eq!(done.into_inner(), (clean.calls.len() - scenario.always.len()) * Fault::ALL.len(), "every case was run");
    assert!(cases.len() > 50, "the enumeration is not empty");
}

/// Where two documents differ.
fn differences(at: &str, left: &Value, right: &Value) -> Vec<String> {
    let (Some(l), Some(r)) = (left.as_object(), right.as_object()) else {
        return if left == right { Vec::new() } else { vec![format!("{at}: {left}, not {right}")] };
    };
    let names: BTreeSet<&String> = l.keys().chain(r.keys()).collect();
    names.into_iter().flat_map(|key| differences(&format!("{at}/{key}"), &left[key], &right[key])).collect()
}

#[test]
fn a_new_app_with_shared_access() {
    every_fault_at_every_call(&SCENARIOS[0]);
}

#[test]
fn a_new_app_with_scoped_access() {
    every_fault_at_every_call(&SCENARIOS[1]);
}

#[test]
fn adoption() {
    every_fault_at_every_call(&SCENARIOS[2]);
}

#[test]
fn repair() {
    every_fault_at_every_call(&SCENARIOS[3]);
}

#[test]
fn recovery_of_a_key() {
    every_fault_at_every_call(&SCENARIOS[4]);
}

#[test]
fn recovery_of_a_bucket() {
    every_fault_at_every_call(&SCENARIOS[5]);
}

/// No kind of resource and no call of one can be left out of the replay.
#[test]
fn the_scenarios_reach_every_kind_and_every_call() {
    let runs: Vec<Run> = SCENARIOS.iter().map(|scenario| run(scenario, None)).collect();
    let kinds: BTreeSet<&str> = runs.iter().flat_map(|run| &run.resources).map(|id| id.split('/').next().unwrap()).collect();
    assert_eq!(kinds, KINDS.iter().copied().collect());
    let called: BTreeSet<String> = runs.iter().flat_map(|run| &run.calls).map(|(call, _)| call.clone()).collect();
    let declared: BTreeSet<String> = permission::all().map(|p| format!("{}:{}", p.service, p.operation)).collect();
    // Only plans look at images.
    let in_jobs: BTreeSet<String> = declared.into_iter().filter(|call| call != "ecr:DescribeImages").collect();
    assert_eq!(called, in_jobs);
}
