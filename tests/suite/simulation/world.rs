//! One world: what is done in it, and what has come of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fastrand::Rng;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use slipway::domain::spec::Defaults;
use slipway::provision::conventions::Conventions;
use slipway::provision::permissions;

use super::invariants;
use super::plan::{Act, BUCKET_OF_ANOTHER_ACCOUNT, Hand, Plan, fault_of};
use crate::support::api::Api;
use crate::support::aws::AccountAdmin;
use crate::support::simulated::{Host, Process, runtime};
use crate::support::wire::Call;

/// What came of a world.
pub struct Outcome {
    pub jobs: u64,
    pub calls: u64,
    pub faults: u64,
    /// The promises that were broken.
    pub broken: Vec<String>,
}

/// What those outside the service know.
#[derive(Default)]
pub struct Known {
    /// Jobs that were accepted, with what was asked for.
    pub accepted: BTreeMap<String, String>,
    /// Secrets that were claimed, by their keys.
    pub claimed: BTreeMap<String, String>,
    /// Keys that somebody made by hand.
    pub hand_keys: BTreeSet<String>,
    /// Answers that no request should have.
    pub wrong_answers: Vec<String>,
    /// Bodies of requests that were accepted.
    pub accepted_bodies: Vec<String>,
    /// Apps that somebody has changed by hand.
    pub hand_changed: BTreeSet<String>,
    /// First console passwords that were claimed, by their persons, with when they were made.
    pub passwords: BTreeMap<String, (String, String)>,
    pub calls: Vec<Call>,
    pub denied: bool,
    pub kills: u32,
}

impl Known {
    /// Whether an app was asked to be removed.
    pub fn has_removed(&self) -> bool {
        self.accepted
            .values()
            .any(|asked| asked.starts_with("DELETE /v1/apps/"))
    }
}

pub struct World {
    pub host: Host,
    pub plan: Plan,
    pub known: Known,
    /// Apps that are worked on, by name.
    pub apps: Vec<String>,
    /// What was there before any app.
    pub before: Value,
    seed: u64,
    rng: Rng,
    processes: Vec<Process>,
    faults: Arc<AtomicU64>,
    trace: bool,
}

/// How long anything may take to settle once nothing goes wrong any more.
const SETTLED: Duration = Duration::from_secs(2 * 3600);

pub fn run(seed: u64) -> Outcome {
    let runtime = runtime();
    let outcome = runtime.block_on(async {
        let mut world = World::new(seed).await;
        world.live().await;
        world.settle().await;
        let mut broken = invariants::broken(&mut world).await;
        broken.append(&mut world.known.wrong_answers);
        world.known.calls.extend(world.host.aws.take_log());
        let outcome = Outcome {
            jobs: world.known.accepted.len() as u64,
            calls: world.known.calls.len() as u64,
            faults: world.faults.load(Ordering::Relaxed),
            broken,
        };
        for process in world.processes.drain(..) {
            process.kill().await;
        }
        outcome
    });
    runtime.shutdown_timeout(Duration::from_secs(5));
    outcome
}

impl World {
    async fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let plan = Plan::of(seed, &mut rng);
        let mut host = Host::new(plan.options.clone());
        if plan.authorization {
            let conventions = Conventions::new(&Defaults::default(), "aws", host.account());
            host.role_policy = Some(permissions::role_policy(&conventions));
        }
        host.settings.quarantine = Duration::from_secs(120);
        host.settings.approvals.administrator_access = false;
        host.settings.rotation_idle_period = Duration::from_secs(90);
        host.settings.rotation_delete_delay = Duration::from_secs(90);
        let apps: Vec<String> = (0..plan.apps)
            .map(|n| ["acme", "beta-2", "gamma-shop"][n].to_owned())
            .collect();
        host.aws
            .owner("999999999999")
            .call(
                "s3",
                "CreateBucket",
                json!({"Bucket": BUCKET_OF_ANOTHER_ACCOUNT, "CreateBucketConfiguration": {"LocationConstraint": "us-west-2"}}),
            )
            .expect("a bucket");
        for name in &apps {
            let bucket = json!({"Bucket": format!("{}-hand", name.to_lowercase()), "CreateBucketConfiguration": {"LocationConstraint": host.region}});
            host.make("s3", "create_bucket", bucket);
            if rng.u32(..4) == 0 {
                host.make("iam", "create_user", json!({"UserName": name, "Path": "/apps/", "Tags": [{"Key": "own", "Value": "1"}]}));
            }
        }
        // What is older than its app is told apart by when it was made, where an answer was lost.
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let before = host.aws.snapshot(host.account());
        let known = Known::default();
        let (faults, trace) = (
            Arc::default(),
            std::env::var_os("SLIPWAY_TEST_TRACE").is_some(),
        );
        let mut world = Self {
            host,
            plan,
            known,
            apps,
            before,
            seed,
            rng,
            processes: Vec::new(),
            faults,
            trace,
        };
        world.break_calls();
        world.start_missing().await;
        world
    }

    /// Calls meet the faults that the plan draws, until [`Self::settle`].
    fn break_calls(&mut self) {
        let seed = self.seed;
        let (per_thousand, faults, trace) = (self.plan.faults, self.faults.clone(), self.trace);
        self.host.break_by(move |call| {
            let fault = fault_of(seed, per_thousand, call)?;
            faults.fetch_add(1, Ordering::Relaxed);
            if trace {
                println!("    {} meets {fault:?}", call.name());
            }
            Some(fault)
        });
    }

    /// Whether the plan had something go wrong with a call.
    pub fn met_fault(&self, call: &Call) -> bool {
        fault_of(self.seed, self.plan.faults, call).is_some()
    }

    fn tell(&self, text: impl FnOnce() -> String) {
        if self.trace {
            println!("{} {}", self.host.clock.now(), text());
        }
    }

    /// Starts a process in the place of each that is lost. Several share what stands for a database server.
    async fn start_missing(&mut self) {
        while self.processes.len() < self.plan.replicas {
            let store = self
                .processes
                .first()
                .map(|process| process.service.store.clone());
            self.processes
                .push(self.host.start_with(store).await.expect("a process starts"));
        }
    }

    /// Processes that were lost at a step of theirs are dropped, and others started.
    async fn bury(&mut self) {
        let (lost, alive) = std::mem::take(&mut self.processes)
            .into_iter()
            .partition(|process: &Process| process.simulated.is_killed());
        self.processes = alive;
        for process in lost {
            self.known.kills += 1;
            self.tell(|| "a process is lost".into());
            process.kill().await;
        }
        self.start_missing().await;
    }

    async fn live(&mut self) {
        for step in 0..self.plan.steps {
            let name = self.apps[self.rng.usize(..self.apps.len())].clone();
            self.job_error().await;
            let exists = self.json(&format!("/v1/apps/{name}")).await.is_some();
            let act = Act::draw(&mut self.rng, &name, exists);
            self.act(&name, act).await;
            // Drawn aside, so that a seed goes on as it did without.
            let mut aside = Rng::with_seed(self.seed.wrapping_mul(31).wrapping_add(step as u64));
            if aside.u32(..4) == 0 {
                self.act_on_setup(&mut aside).await;
            }
            let pause = [0, 0, 300, 2_000, 15_000, 90_000][self.rng.usize(..6)];
            tokio::time::sleep(Duration::from_millis(self.rng.u64(..=pause))).await;
            self.bury().await;
        }
    }

    /// What happens to processes and clocks before a step.
    async fn job_error(&mut self) {
        let of_a_hundred = |rng: &mut Rng, share: u32| rng.u32(..100) < share;
        if of_a_hundred(&mut self.rng, self.plan.kills) {
            // The first of several holds what stands for the database server.
            let process = &self.processes[self.plan.replicas - 1].simulated;
            process.kill_before(process.steps() + self.rng.u64(1..400));
        }
        if of_a_hundred(&mut self.rng, self.plan.freezes) && self.plan.replicas > 1 {
            self.tell(|| "a process is frozen for 45 s".into());
            self.processes[1].simulated.freeze();
            tokio::time::sleep(Duration::from_secs(45)).await;
            self.processes[1].simulated.thaw();
        }
        if of_a_hundred(&mut self.rng, self.plan.clock_steps) {
            let span = Duration::from_secs([5, 90, 3600][self.rng.usize(..3)]);
            let back = self.rng.bool();
            self.tell(|| {
                format!(
                    "the clock steps {} by {span:?}",
                    if back { "back" } else { "forward" }
                )
            });
            if back {
                self.host.clock.step_back(span)
            } else {
                self.host.clock.advance(span)
            }
        }
    }

    fn api(&self) -> Api {
        self.processes[0].api.clone()
    }

    /// Answers a request, if need be of the next process.
    async fn answer(&mut self, request: impl Fn(&Api) -> RequestBuilder) -> (u16, Value) {
        for _ in 0..20 {
            let api = self.api();
            let response = api.answer(request(&api)).await;
            // The next process opens the database once nobody holds this one's.
            drop(api);
            if let Some(response) = response {
                let status = response.status().as_u16();
                let text = response.text().await.unwrap_or_default();
                return (status, serde_json::from_str(&text).unwrap_or(Value::Null));
            }
            self.bury().await;
        }
        panic!("no process lives long enough to answer");
    }

    /// The JSON at a path, if it is there.
    pub async fn json(&mut self, path: &str) -> Option<Value> {
        let (status, body) = self.answer(|api| api.request(Method::GET, path)).await;
        (status == 200).then_some(body)
    }

    /// Asks for a job by a POST, PUT or DELETE, with an Idempotency-Key of its own.
    pub async fn ask(&mut self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let key = format!("key-{}", self.rng.u64(..));
        let verb: Method = method.parse().expect("a method");
        let answer = self.answer(|api| {
            let request = api
                .request(verb.clone(), path)
                .header("idempotency-key", &key);
            match body {
                Some(body) => request.json(body),
                None => request,
            }
        });
        let (status, answer) = answer.await;
        self.tell(|| {
            format!(
                "{method} {path} {}: {status} {}",
                body.map(Value::to_string).unwrap_or_default(),
                short(&answer)
            )
        });
        match (status, answer["id"].as_str()) {
            (202, Some(id)) => {
                self.known
                    .accepted
                    .insert(id.to_owned(), format!("{method} {path}"));
                self.known
                    .accepted_bodies
                    .extend(body.map(Value::to_string));
            }
            (500.., _) if !matches!(status, 502 | 503) => self
                .known
                .wrong_answers
                .push(format!("{method} {path} was answered {status} {answer}")),
            _ => {}
        }
        (status, answer)
    }

    async fn act(&mut self, name: &str, act: Act) {
        match act {
            Act::Request { method, path, body } => {
                drop(self.ask(method, &path, body.as_ref()).await)
            }
            Act::Claim => self.claim_all(name).await,
            Act::OfLatestJob(verb) => {
                let jobs = self
                    .json(&format!("/v1/jobs?app={name}&limit=1"))
                    .await
                    .unwrap_or_default();
                if let Some(id) = jobs["items"][0]["id"].as_str() {
                    self.ask("POST", &format!("/v1/jobs/{id}/{verb}"), None)
                        .await;
                }
            }
            Act::OfKey(verb) => {
                let keys = self.keys(name).await;
                if !keys.is_empty() {
                    let key = keys[self.rng.usize(..keys.len())].clone();
                    self.ask(
                        "POST",
                        &format!("/v1/apps/{name}/credentials/{key}/{verb}"),
                        None,
                    )
                    .await;
                }
            }
            Act::ByHand(hand) => self.change_by_hand(name, hand),
        }
    }

    async fn keys(&mut self, name: &str) -> Vec<String> {
        let listed = self
            .json(&format!("/v1/apps/{name}/credentials"))
            .await
            .unwrap_or_default();
        let items = listed["items"].as_array().cloned().unwrap_or_default();
        items
            .iter()
            .filter_map(|item| Some(item["access_key_id"].as_str()?.to_owned()))
            .collect()
    }

    /// Claims every secret of an app that is unclaimed.
    pub async fn claim_all(&mut self, name: &str) {
        for key in self.keys(name).await {
            let (status, claim) = self
                .ask(
                    "POST",
                    &format!("/v1/apps/{name}/credentials/{key}/claim"),
                    None,
                )
                .await;
            if status == 200 {
                let secret = claim["AWS_SECRET_ACCESS_KEY"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned();
                if secret.len() < 20 {
                    self.known
                        .wrong_answers
                        .push(format!("the claim of {key} shows the secret {secret:?}"));
                }
                self.known.claimed.insert(key, secret);
            }
        }
    }

    fn change_by_hand(&mut self, name: &str, hand: Hand) {
        self.known.hand_changed.insert(name.to_owned());
        let host = &self.host;
        let user = host.aws.snapshot(host.account())["users"][name].clone();
        self.tell(|| format!("by hand: {hand:?} of {name}"));
        let first_key = user["keys"][0]["id"].as_str();
        let done = match hand {
            Hand::DetachPolicies => {
                let arns = user["attached"].as_array().cloned().unwrap_or_default();
                arns.iter()
                    .map(|arn| {
                        host.call(
                            "iam",
                            "detach_user_policy",
                            json!({"UserName": name, "PolicyArn": arn}),
                        )
                    })
                    .next_back()
            }
            Hand::AddKey => Some(host.call("iam", "create_access_key", json!({"UserName": name}))),
            Hand::DeleteKey => first_key.map(|key| {
                host.call(
                    "iam",
                    "delete_access_key",
                    json!({"UserName": name, "AccessKeyId": key}),
                )
            }),
            Hand::DeleteCors => Some(host.call(
                "s3",
                "delete_bucket_cors",
                json!({"Bucket": format!("{name}-one")}),
            )),
            Hand::UntagUser => Some(host.call(
                "iam",
                "untag_user",
                json!({"UserName": name, "TagKeys": ["team"]}),
            )),
            Hand::PutObject => Some(host.call(
                "s3",
                "put_object",
                json!({"Bucket": format!("{name}-one"), "Key": "k", "Body": {"base64": "aGk="}}),
            )),
            Hand::LeaveGroup => Some(host.call(
                "iam",
                "remove_user_from_group",
                json!({"UserName": name, "GroupName": "Apps"}),
            )),
            Hand::DeleteRepository => Some(host.call(
                "ecr",
                "delete_repository",
                json!({"repositoryName": name, "force": true}),
            )),
        };
        if let (Hand::AddKey, Some(Ok(made))) = (hand, &done) {
            let key = made["AccessKey"]["AccessKeyId"].as_str().expect("a key");
            self.known.hand_keys.insert(key.to_owned());
        }
    }

    /// Nothing goes wrong any more; returns when nothing is under way.
    pub async fn settle(&mut self) {
        self.known.denied |= self.faults.load(Ordering::Relaxed) > 0;
        self.host.break_by(|_| None);
        for process in &self.processes {
            process.simulated.kill_before(u64::MAX);
        }
        self.bury().await;
        let began = tokio::time::Instant::now();
        let mut quiet = 0;
        while quiet < 3 {
            assert!(
                began.elapsed() < SETTLED,
                "what is under way does not end: {:?}",
                self.under_way().await
            );
            tokio::time::sleep(Duration::from_secs(20)).await;
            self.bury().await;
            quiet = if self.under_way().await.is_empty() {
                quiet + 1
            } else {
                0
            };
        }
        self.tell(|| "settled".into());
    }

    /// Jobs that have not ended, and removals whose time has not come.
    async fn under_way(&mut self) -> Vec<String> {
        let mut under_way = Vec::new();
        for state in ["queued", "running", "waiting"] {
            let jobs = self
                .json(&format!("/v1/jobs?state={state}&limit=100"))
                .await
                .unwrap_or_default();
            under_way.extend(
                jobs["items"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|job| format!("{state} {}", job["id"])),
            );
        }
        for name in self.apps.clone() {
            let app = self
                .json(&format!("/v1/apps/{name}"))
                .await
                .unwrap_or_default();
            if app["state"] == "quarantined" {
                under_way.push(format!("{name} is in quarantine"));
            }
        }
        under_way
    }

    /// Jobs that were accepted, as they stand.
    pub async fn jobs(&mut self) -> Vec<Option<Value>> {
        let mut jobs = Vec::new();
        for id in self.known.accepted.keys().cloned().collect::<Vec<_>>() {
            jobs.push(self.json(&format!("/v1/jobs/{id}")).await);
        }
        jobs
    }

    /// Runs a job to its end.
    pub async fn run(&mut self, path: &str) -> Option<Value> {
        let (status, job) = self.ask("POST", path, None).await;
        if status != 202 {
            return None;
        }
        let id = job["id"].as_str()?.to_owned();
        loop {
            let job = self.json(&format!("/v1/jobs/{id}?wait=60s")).await?;
            if !matches!(
                job["state"].as_str(),
                Some("queued" | "running" | "waiting")
            ) {
                return Some(job);
            }
        }
    }
}

fn short(answer: &Value) -> String {
    match (&answer["kind"], &answer["code"]) {
        (Value::String(kind), _) => format!("{kind} {}", answer["id"]),
        (_, Value::String(code)) => format!("{code}: {}", answer["detail"]),
        _ => String::new(),
    }
}
