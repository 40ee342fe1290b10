//! Properties of the service as a whole: whatever is asked, in whatever order and at once.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use crate::api;
use crate::api::{Answer, light};
use crate::support::server::Server;
use crate::support::unique;

const CASES: u32 = 40;
const APPS: usize = 2;

/// A request for a job.
#[derive(Debug, Clone, Copy)]
struct Request {
    key: Option<u8>,
    app: usize,
    wanted: Wanted,
}

#[derive(Debug, Clone, Copy)]
enum Wanted {
    /// An onboarding; the number makes bodies for one app differ.
    Onboarding(u8),
    Repair,
}

/// What happens next.
#[derive(Debug, Clone)]
enum Step {
    /// Requests at once.
    JobRequest(Vec<Request>),
    /// The app's active job is canceled, so that the next one may come.
    Cancel(usize),
}

/// What is the same when two requests are the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Sent {
    route: String,
    body: Option<String>,
}

fn any_request() -> impl Strategy<Value = Request> {
    let wanted = prop_oneof![3 => (0..2u8).prop_map(Wanted::Onboarding), 1 => Just(Wanted::Repair)];
    (option::weighted(0.8, 0..3u8), 0..APPS, wanted).prop_map(|(key, app, wanted)| Request {
        key,
        app,
        wanted,
    })
}

fn any_steps() -> impl Strategy<Value = Vec<Step>> {
    vec(
        prop_oneof![3 => vec(any_request(), 1..6).prop_map(Step::JobRequest), 1 => (0..APPS).prop_map(Step::Cancel)],
        1..7,
    )
}

/// What the service has promised so far.
struct Promises<'a> {
    server: &'a Server,
    names: Vec<String>,
    /// What was sent with a key of a route, and the first answer.
    by_key: BTreeMap<(String, u8), (Sent, Value)>,
    /// The jobs of each app.
    jobs: BTreeMap<String, BTreeSet<String>>,
}

impl Promises<'_> {
    fn sent(&self, request: Request) -> Sent {
        let name = &self.names[request.app];
        match request.wanted {
            Wanted::Repair => Sent {
                route: format!("/v1/apps/{name}/repair"),
                body: None,
            },
            Wanted::Onboarding(variant) => {
                let mut body = light(name);
                body["tags"] = json!({"variant": variant.to_string()});
                Sent {
                    route: "/v1/apps".into(),
                    body: Some(body.to_string()),
                }
            }
        }
    }

    async fn ask(&self, request: Request) -> Answer {
        let Sent { route, body } = self.sent(request);
        let mut asked = self.server.request(Method::POST, &route);
        if let Some(key) = request.key {
            asked = asked.header("idempotency-key", format!("{} {key}", self.names[0]));
        }
        if let Some(body) = body {
            asked = asked.header("content-type", "application/json").body(body);
        }
        api::ask(asked).await
    }

    async fn take(&mut self, step: &Step) {
        match step {
            Step::Cancel(app) => {
                for job in self.active(*app).await {
                    api::ask(
                        self.server
                            .request(Method::POST, &format!("/v1/jobs/{job}/cancel")),
                    )
                    .await
                    .expect(202);
                }
            }
            Step::JobRequest(requests) => {
                let earlier = self.by_key.clone();
                let answers = join_all(requests.iter().map(|request| self.ask(*request))).await;
                // Which came first is known by the answer that is not a replay.
                let mut told: Vec<_> = requests.iter().zip(&answers).collect();
                told.sort_by_key(|(_, answer)| (answer.status != 202, answer.is_replay()));
                for (request, answer) in told {
                    self.hold(*request, answer, &earlier);
                }
            }
        }
        for app in 0..APPS {
            assert!(
                self.active(app).await.len() <= 1,
                "two jobs at work on one app"
            );
            assert_eq!(
                self.all(app).await,
                self.jobs.get(&self.names[app]).cloned().unwrap_or_default(),
                "one job for each 202 and no other"
            );
        }
    }

    /// Holds an answer against what was promised before, and takes note of what it promises.
    fn hold(
        &mut self,
        request: Request,
        answer: &Answer,
        earlier: &BTreeMap<(String, u8), (Sent, Value)>,
    ) {
        let sent = self.sent(request);
        let place = request.key.map(|key| (sent.route.clone(), key));
        let (first, known) = (
            place.as_ref().and_then(|it| self.by_key.get(it)),
            place.as_ref().and_then(|it| earlier.get(it)),
        );
        match (answer.status, first) {
            (202, Some((like, job))) if answer.is_replay() => {
                assert_eq!(*like, sent, "another request was answered like the first");
                assert_eq!(
                    answer.expect(202),
                    *job,
                    "the same request got another answer"
                );
            }
            (202, None) => {
                let job = answer.expect(202);
                assert!(!answer.is_replay(), "{job}");
                let id = job["id"].as_str().unwrap().to_owned();
                assert!(
                    self.jobs
                        .entry(self.names[request.app].clone())
                        .or_default()
                        .insert(id),
                    "two promises of one job"
                );
                self.by_key.extend(place.map(|place| (place, (sent, job))));
            }
            (202, first) => panic!("a second job for one key: {request:?} after {first:?}"),
            (422, Some((like, _))) => {
                answer.problem(422, "idempotency_key_reused");
                assert_ne!(*like, sent, "the same request is called another");
            }
            (409, _) => assert!(
                known.is_none(),
                "the key was known, and {request:?} refused"
            ),
            (404, None) => assert!(matches!(request.wanted, Wanted::Repair), "{request:?}"),
            (status, first) => panic!("{status} to {request:?} after {first:?}"),
        }
    }

    async fn listed(&self, app: usize) -> Vec<Value> {
        let page = self
            .server
            .json(&format!("/v1/jobs?limit=200&app={}", self.names[app]))
            .await;
        page["items"].as_array().unwrap().clone()
    }

    async fn all(&self, app: usize) -> BTreeSet<String> {
        self.listed(app)
            .await
            .iter()
            .map(|job| job["id"].as_str().unwrap().to_owned())
            .collect()
    }

    async fn active(&self, app: usize) -> Vec<String> {
        let is_active = |job: &&Value| {
            matches!(
                job["state"].as_str(),
                Some("queued" | "running" | "waiting")
            )
        };
        self.listed(app)
            .await
            .iter()
            .filter(is_active)
            .map(|job| job["id"].as_str().unwrap().to_owned())
            .collect()
    }
}

/// The same key and request: the same answer. The same key and another request: 422. One job for each
/// key, and never two at work on one app.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_asked_with_whatever_keys_a_promise_is_kept() {
    let setup = api::idle();
    let server = setup.start().await;
    let keep = |steps: Vec<Step>| {
        let names = (0..APPS).map(|_| unique("acme")).collect();
        let mut promises = Promises {
            server: &server,
            names,
            by_key: BTreeMap::new(),
            jobs: BTreeMap::new(),
        };
        block_in_place(|| {
            Handle::current().block_on(async {
                for step in &steps {
                    promises.take(step).await;
                }
            });
        });
        Ok(())
    };
    let mut runner = TestRunner::new(Config {
        cases: CASES,
        failure_persistence: None,
        max_shrink_iters: 200,
        ..Config::default()
    });
    runner.run(&any_steps(), keep).unwrap();
}
