//! One run of a scenario in an account of its own, and what must hold after it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use slipway::domain::job_kind::JobKind;

use super::ground::Ground;
use super::scenarios::{Asked, Leaves, Scenario};
use super::setups;
use crate::support::api::Api;
use crate::support::aws::AccountAdmin;
use crate::support::unique;
use crate::support::wire::{Call, Fault};

/// What goes wrong with a call, besides what always does in the scenario.
pub type More<'a> = Option<(&'a str, usize, Fault)>;

/// A scenario in a new account, and an app's name.
pub struct Case<'a, G> {
    scenario: &'a Scenario,
    more: More<'a>,
    /// Whether the process is lost at a step of its own.
    killed: bool,
    ground: &'a G,
    pub name: String,
    /// Keys that the app's user had before us.
    foreign_keys: Vec<String>,
}

/// What a run left: what is in AWS, without what differs from run to run, and the calls of the job.
pub struct Left {
    pub seen: Value,
    pub calls: Vec<(String, usize)>,
    pub resources: Vec<String>,
}

impl<'a, G: Ground> Case<'a, G> {
    pub fn new(scenario: &'a Scenario, more: More<'a>, ground: &'a G) -> Self {
        let name = unique("acme");
        (scenario.before)(ground, &name);
        let foreign_keys = keys_of(ground, &name);
        Self {
            scenario,
            more,
            killed: false,
            ground,
            name,
            foreign_keys,
        }
    }

    /// The same, with a process that is lost at a step of its own.
    pub fn killed(self) -> Self {
        Self {
            killed: true,
            ..self
        }
    }

    /// Brings about what the job starts from, plans what goes wrong in it, and asks for it; its id.
    pub async fn begin(&self, api: &Api) -> String {
        let mut key = String::new();
        if let Some(later) = &self.scenario.later {
            let first = self.scenario.first_request(api, &self.name);
            let id = accepted(api, first).await["id"]
                .as_str()
                .unwrap()
                .to_owned();
            let job = api.wait(&id).await;
            assert_eq!(job["state"], "succeeded", "{job:#}");
            key = job["result"]["access_key_id"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            if let Some(first) = later.first {
                let id = accepted(api, first(api, &self.name)).await["id"]
                    .as_str()
                    .unwrap()
                    .to_owned();
                assert_eq!(api.wait(&id).await["state"], "succeeded");
            }
            (later.damage)(self.ground, &self.name);
        }
        let faults: Vec<_> = self
            .scenario
            .always
            .iter()
            .copied()
            .chain(self.more)
            .collect();
        self.ground.break_calls(&faults);
        let job = self
            .asked(
                api,
                &Asked {
                    name: &self.name,
                    key: &key,
                },
            )
            .await;
        let kind = if self.scenario.kind() == JobKind::Remove {
            JobKind::Offboard
        } else {
            self.scenario.kind()
        };
        assert_eq!(job["kind"], kind.to_string());
        job["id"].as_str().unwrap().to_owned()
    }

    /// Asks for the job. Some requests look at AWS before they are accepted: what goes wrong with that look is told, nothing is
    /// done, and asking again helps once it is over.
    async fn asked(&self, api: &Api, asked: &Asked<'_>) -> Value {
        for _ in 0..4 {
            let response = api.send(self.scenario.request(api, asked)).await;
            let (status, answer): (_, Value) = (response.status(), response.json().await.unwrap());
            if status == 202 {
                return answer;
            }
            assert!(
                self.more.is_some() && [502, 503].contains(&status.as_u16()),
                "{status}: {answer:#}"
            );
            assert!(answer["aws"]["operation"].is_string(), "{answer:#}");
            if let Some((.., Fault::Denied)) = self.more {
                assert!(answer["remedy"].is_string(), "{answer:#}");
                self.ground.mend();
            }
        }
        panic!("the job was not accepted");
    }

    /// Waits for the job's end, and checks everything that must hold then.
    pub async fn end(&self, api: &Api, id: &str) -> Left {
        let mut job = self.ended_well(api, id).await;
        if self.scenario.kind() == JobKind::Remove {
            // The quarantine is over at once: the app is taken apart by a job that nobody has to ask for.
            job = self.ended_well(api, &self.removal(api).await).await;
        }
        assert!(self.ground.all_met(), "the fault was met");
        let calls = self.ground.take_log();
        self.nothing_foreign_is_touched(&calls);
        one_change_of_a_bucket_at_a_time(&calls);
        let seen = self.left_behind(api).await;
        let resources = job["steps"]
            .as_array()
            .unwrap()
            .iter()
            .map(|step| step["resource"].as_str().unwrap().to_owned())
            .collect();
        let of_the_job = calls.iter().filter(|call| call.service != "sts");
        Left {
            seen,
            calls: of_the_job.map(|call| (call.name(), call.nth)).collect(),
            resources,
        }
    }

    /// The job that takes the app apart.
    async fn removal(&self, api: &Api) -> String {
        loop {
            let jobs = api
                .json(&format!("/v1/jobs?app={}&kind=remove", self.name))
                .await;
            if let Some(id) = jobs["items"][0]["id"].as_str() {
                return id.to_owned();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The job succeeds by itself; while a call is denied it waits for a person, says why, and goes on when asked to.
    async fn ended_well(&self, api: &Api, id: &str) -> Value {
        let mut job = api.wait(id).await;
        let retried = async || {
            assert_eq!(
                api.post_empty(&format!("/v1/jobs/{id}/retry"))
                    .await
                    .status(),
                202
            );
            api.wait(id).await
        };
        while job["error"]["code"] == "credential_in_doubt" {
            // A key on a user that we have not made is never deleted: the answer to its create may be what was lost.
            let killed = self.killed
                || self
                    .more
                    .is_some_and(|(.., fault)| fault.loses_the_process());
            // An answer that was cut short has no secret in it, or nobody can read it.
            let lost = self.ground.left_unanswered("iam:CreateAccessKey")
                || matches!(self.more, Some(("iam:CreateAccessKey", _, Fault::CutShort)));
            assert!(self.is_adopted() && (killed || lost), "{job:#}");
            self.delete_the_key_in_doubt(&job);
            job = retried().await;
        }
        if let Some((call, _, Fault::Denied)) = self.more
            && job["state"] != "succeeded"
        {
            let (_, operation) = call.split_once(':').unwrap();
            assert_eq!(
                (&job["state"], &job["error"]["aws"]["operation"]),
                (&json!("needs_attention"), &json!(operation)),
                "{job:#}"
            );
            for text in ["detail", "remedy"] {
                assert!(
                    job["error"][text]
                        .as_str()
                        .is_some_and(|text| !text.is_empty()),
                    "{job:#}"
                );
            }
            self.ground.mend();
            job = retried().await;
        }
        assert_eq!(job["state"], "succeeded", "{job:#}");
        job
    }

    fn is_adopted(&self) -> bool {
        self.ground
            .make("iam", "list_user_tags", json!({"UserName": self.name}))
            .to_string()
            .contains("slipway:adopted")
    }

    /// What the error tells a person to do.
    fn delete_the_key_in_doubt(&self, job: &Value) {
        let told = job["error"]["remedy"].as_str().unwrap();
        let key = keys_of(self.ground, &self.name)
            .into_iter()
            .find(|key| told.contains(key))
            .expect("the key is named");
        self.ground.make(
            "iam",
            "delete_access_key",
            json!({"UserName": self.name, "AccessKeyId": key}),
        );
    }

    /// Every change is of something by the app's name, or of what all apps share.
    fn nothing_foreign_is_touched(&self, calls: &[Call]) {
        // An account has one password policy, which has no name.
        let of_things = |call: &&Call| call.mutates() && !call.name().ends_with("PasswordPolicy");
        for call in calls.iter().filter(of_things) {
            let things = call.things();
            let is_ours = |thing: &String| {
                let shared = [
                    "Apps",
                    "MediaManagement",
                    "ReadOnlyAccess",
                    "AdministratorAccess",
                    "Billing",
                    "IAMUserChangePassword",
                    "gitlab.com",
                    "token.actions.githubusercontent.com",
                ];
                thing.contains(&self.name) || shared.contains(&thing.as_str())
            };
            assert!(
                !things.is_empty() && things.iter().all(is_ours),
                "{} of {things:?}",
                call.name()
            );
        }
    }

    /// What is in AWS after the job, and that nothing is left to change.
    async fn left_behind(&self, api: &Api) -> Value {
        self.ground.break_calls(&[]);
        if self.scenario.is_of_setup() {
            return self.left_by_setup(api).await;
        }
        let app = api.json(&format!("/v1/apps/{}", self.name)).await;
        let mut seen = self.ground.look(&app["spec"]);
        let listed = seen["access_keys"].as_array().unwrap().clone();
        let ours: Vec<&Value> = listed
            .iter()
            .filter(|key| !self.foreign_keys.iter().any(|it| key["id"] == **it))
            .collect();
        match self.scenario.leaves {
            Leaves::App { keys } => {
                assert_eq!(ours.len(), keys, "exactly those keys that there should be");
                let known = api
                    .json(&format!("/v1/apps/{}/credentials", self.name))
                    .await;
                for key in &ours {
                    assert_eq!(key["status"], "Active");
                    if known["rotation"]["new_key"] == key["id"] {
                        // A claim would set the rotation going.
                        let listed = known["items"]
                            .as_array()
                            .unwrap()
                            .iter()
                            .find(|it| it["access_key_id"] == key["id"])
                            .unwrap();
                        assert_eq!(
                            (&listed["secret"], listed["claim"].is_string()),
                            (&json!("unclaimed"), true),
                            "the secret is known"
                        );
                    } else {
                        self.assert_claimed_works(
                            api,
                            key["id"].as_str().unwrap(),
                            &seen["user"]["arn"],
                        )
                        .await;
                    }
                }
                self.assert_converged(api).await;
            }
            Leaves::Asleep => assert!(
                !ours.is_empty() && ours.iter().all(|key| key["status"] == "Inactive"),
                "{ours:?}"
            ),
            Leaves::Setup => unreachable!("it is no app"),
            Leaves::Gone => {
                assert!(ours.is_empty(), "{ours:?}");
                assert_eq!(app["state"], "removed");
            }
        }
        seen["access_keys"] = json!(ours.len());
        self.plain(&seen)
    }

    async fn left_by_setup(&self, api: &Api) -> Value {
        setups::assert_passwords_are_known(api, self.ground).await;
        self.assert_converged(api).await;
        let person = setups::ana(&self.name);
        let mut seen = self
            .ground
            .look(&json!({"name": person, "buckets": [], "repositories": []}));
        seen["access_keys"] = json!(seen["access_keys"].as_array().unwrap().len());
        self.plain(&seen)
    }

    /// A repair makes no change.
    async fn assert_converged(&self, api: &Api) {
        self.ground.take_log();
        let subject = match self.scenario.is_of_setup() {
            true => setups::PATH.to_owned(),
            false => format!("/v1/apps/{}", self.name),
        };
        let again = api.run(&format!("{subject}/repair"), None).await;
        assert_eq!(again["state"], "succeeded", "{again:#}");
        let changing: Vec<String> = self
            .ground
            .take_log()
            .iter()
            .filter(|call| call.mutates())
            .map(Call::name)
            .collect();
        assert_eq!(changing, Vec::<String>::new(), "nothing is left to change");
    }

    /// The key's secret is known, and works.
    async fn assert_claimed_works(&self, api: &Api, key: &str, user_arn: &Value) {
        let claim = format!("/v1/apps/{}/credentials/{key}/claim", self.name);
        let claimed: Value = api.post_empty(&claim).await.json().await.unwrap();
        assert!(
            claimed["AWS_SECRET_ACCESS_KEY"]
                .as_str()
                .is_some_and(|secret| secret.len() >= 40),
            "the secret is known"
        );
        let identity = self
            .ground
            .identity_of(key, &claimed["AWS_SECRET_ACCESS_KEY"])
            .await;
        // ministack knows the keys of its first account alone.
        assert!(
            identity["Arn"] == *user_arn || identity["Account"] == "000000000000",
            "{identity}"
        );
    }

    /// Without names, accounts, ids and times.
    fn plain(&self, seen: &Value) -> Value {
        let text = seen
            .to_string()
            .replace(&self.name, "APP")
            .replace(self.ground.account(), "ACCOUNT");
        let mut seen: Value = serde_json::from_str(&text).unwrap();
        forget_what_differs(&mut seen);
        seen
    }
}

/// What differs from run to run, or by how often a call was made.
fn forget_what_differs(seen: &mut Value) {
    const DIFFERS: [&str; 10] = [
        "slipway:job",
        "slipway:installation",
        "acl_grants",
        "id",
        "created",
        "create_date",
        "pushed_at",
        "versions",
        "default",
        "digest",
    ];
    match seen {
        Value::Object(fields) => {
            fields.retain(|name, _| !DIFFERS.contains(&name.as_str()));
            fields.values_mut().for_each(forget_what_differs);
        }
        Value::Array(list) => list.iter_mut().for_each(forget_what_differs),
        _ => {}
    }
}

/// The job that a request is answered with.
async fn accepted(api: &Api, request: reqwest::RequestBuilder) -> Value {
    let response = api.send(request).await;
    let (status, job): (_, Value) = (response.status(), response.json().await.unwrap());
    assert_eq!(status, 202, "{job:#}");
    job
}

fn keys_of(admin: &dyn AccountAdmin, name: &str) -> Vec<String> {
    let Ok(listed) = admin.call("iam", "list_access_keys", json!({"UserName": name})) else {
        return Vec::new();
    };
    listed["AccessKeyMetadata"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["AccessKeyId"].as_str().unwrap().to_owned())
        .collect()
}

/// AWS refuses changes of one bucket that overlap, so none is begun before the one before it is answered.
fn one_change_of_a_bucket_at_a_time(calls: &[Call]) {
    let mut ended: BTreeMap<Vec<String>, Instant> = BTreeMap::new();
    for call in calls
        .iter()
        .filter(|call| call.service == "s3" && call.mutates())
    {
        let before = call.ended.and_then(|end| ended.insert(call.things(), end));
        assert!(
            before.is_none_or(|before| before <= call.began),
            "{} overlaps another change",
            call.name()
        );
    }
}
