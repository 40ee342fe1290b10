//! Approvals: nothing is changed that a second person has not agreed to, whatever happens in between.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use slipway::domain::job_kind::JobKind;
use slipway::domain::names::AccountName;
use strum::IntoEnumIterator as _;

use super::{Fixture, id_of, items, pause, simulate, slow, small, whole};
use crate::aws::{Consistency, Options};
use crate::support::aws::AccountAdmin as _;
use crate::support::simulated::Host;
use crate::support::wire::{Call, Fault};

/// Long enough for everything that runs by itself.
const LONG: u64 = 1200;

/// A service with its callers: ann requests, bob and cid approve.
pub(super) struct Team {
    pub(super) fixture: Fixture,
    tokens: BTreeMap<&'static str, String>,
}

impl Team {
    /// Every job of these kinds needs an approval.
    async fn of(kinds: &[JobKind]) -> Self {
        let kinds = kinds.to_vec();
        Self::with(Options::default(), move |host| {
            host.settings.approvals.job_kinds = kinds;
        })
        .await
    }

    pub(super) async fn with(options: Options, set: impl FnOnce(&mut Host)) -> Self {
        let fixture = Fixture::with(options, set).await;
        let mut tokens = BTreeMap::new();
        for (name, role) in [
            ("ann", "operator"),
            ("bob", "approver"),
            ("cid", "approver"),
            ("dan", "admin"),
        ] {
            let body = json!({"name": name, "role": role});
            let (status, token) = fixture.ask("POST", "/v1/tokens", Some(&body)).await;
            assert_eq!(status, 201, "{token:#}");
            tokens.insert(name, token["token"].as_str().unwrap().to_owned());
        }
        Self { fixture, tokens }
    }

    pub(super) async fn ask(
        &self,
        who: &str,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> (u16, Value) {
        let method: Method = method.parse().unwrap();
        let process = self.fixture.process();
        let request = process
            .anonymous(method, path)
            .bearer_auth(&self.tokens[who]);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        let response = process.send(request).await;
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// Ann requests a job, which awaits approval: its id and its approval.
    async fn request(&self, method: &str, path: &str, body: Option<Value>) -> (String, Value) {
        let (status, job) = self.ask("ann", method, path, body).await;
        assert_eq!(
            (status, &job["state"], &job["needs_approval"]),
            (202, &json!("awaiting_approval"), &json!(true)),
            "{method} {path}: {job:#}"
        );
        let id = id_of(&job);
        let approval = self.approval(&id).await;
        assert_eq!(approval["state"], "pending", "{approval:#}");
        (id, approval)
    }

    pub(super) async fn approval(&self, job: &str) -> Value {
        self.fixture.json(&format!("/v1/jobs/{job}/approval")).await
    }

    pub(super) async fn approve(&self, who: &str, job: &str, digest: &Value) -> (u16, Value) {
        let body = json!({"plan_digest": digest, "comment": "Agreed."});
        let path = format!("/v1/jobs/{job}/approve");
        self.ask(who, "POST", &path, Some(body)).await
    }

    pub(super) async fn reject(&self, who: &str, job: &str) -> (u16, Value) {
        let path = format!("/v1/jobs/{job}/reject");
        let body = json!({"comment": "Not now."});
        self.ask(who, "POST", &path, Some(body)).await
    }

    /// Bob approves the plan as it is, and the job succeeds.
    pub(super) async fn agreed(&self, job: &str) -> Value {
        let digest = self.approval(job).await["plan_digest"].clone();
        let (status, answer) = self.approve("bob", job, &digest).await;
        assert_eq!(status, 202, "{answer:#}");
        let job = self.fixture.process().wait(job).await;
        assert_eq!(job["state"], "succeeded", "{job:#}");
        job
    }

    /// Onboards an app with its approval.
    async fn onboarded(&self, body: Value) {
        let (status, job) = self.ask("ann", "POST", "/v1/apps", Some(body)).await;
        assert_eq!(status, 202, "{job:#}");
        match job["state"] == "awaiting_approval" {
            true => self.agreed(&id_of(&job)).await,
            false => self.fixture.process().wait(&id_of(&job)).await,
        };
    }

    pub(super) fn changes_in_aws(&self) -> Vec<String> {
        let calls = self.fixture.host.aws.take_log();
        let changing = calls
            .iter()
            .filter(|call| call.mutates() && call.service != "sts");
        changing.map(|call| call.name()).collect()
    }
}

#[test]
fn a_job_changes_nothing_until_another_person_approves_its_plan() {
    simulate(async {
        let team = Team::of(&[JobKind::Onboard]).await;
        let (id, approval) = team
            .request("POST", "/v1/apps", Some(whole("acme", "shared")))
            .await;
        assert_eq!(approval["reasons"], json!(["job_kind"]));
        assert!(approval["changes"].to_string().contains("create user acme"));
        pause(LONG).await;
        assert_eq!(team.changes_in_aws(), Vec::<String>::new());
        let waiting = items(&team.fixture.json("/v1/approvals").await);
        assert_eq!(waiting.len(), 1, "{waiting:#?}");

        let digest = &approval["plan_digest"];
        let (status, problem) = team.approve("ann", &id, digest).await;
        assert_eq!((status, &problem["code"]), (403, &json!("forbidden")));
        let (status, problem) = team.approve("bob", &id, &json!("0".repeat(64))).await;
        assert_eq!((status, &problem["code"]), (409, &json!("plan_changed")));
        assert_eq!(problem["difference"]["added"], approval["changes"]);
        let (status, problem) = team.approve("bob", &id, &json!("none")).await;
        assert_eq!((status, &problem["code"]), (422, &json!("invalid_fields")));
        let seen = team
            .ask("bob", "GET", &format!("/v1/jobs/{id}/approve"), None)
            .await;
        assert_eq!(seen.0, 405, "reading approves nothing");
        assert_eq!(team.changes_in_aws(), Vec::<String>::new());

        team.agreed(&id).await;
        let decided = team.approval(&id).await;
        assert_eq!(
            (
                &decided["state"],
                &decided["decided_by"],
                &decided["comment"]
            ),
            (&json!("approved"), &json!("bob"), &json!("Agreed."))
        );
        let audit = items(&team.fixture.json("/v1/audit?action=job_approved").await);
        assert_eq!(
            (
                &audit[0]["actor"],
                &audit[0]["plan_digest"],
                &audit[0]["break_glass"]
            ),
            (&json!("bob"), digest, &json!(false))
        );
        team.fixture.end().await;
    });
}

#[test]
fn nobody_approves_a_job_of_his_own() {
    simulate(async {
        let team = Team::of(&[JobKind::Onboard]).await;
        let (status, job) = team
            .ask("dan", "POST", "/v1/apps", Some(small("acme")))
            .await;
        assert_eq!(status, 202, "{job:#}");
        let id = id_of(&job);
        let digest = team.approval(&id).await["plan_digest"].clone();
        let (status, problem) = team.approve("dan", &id, &digest).await;
        assert_eq!((status, &problem["code"]), (403, &json!("self_approval")));

        let path = format!("/v1/jobs/{id}/approve");
        let glass = json!({"plan_digest": digest, "break_glass": true});
        let (status, problem) = team.ask("dan", "POST", &path, Some(glass)).await;
        assert_eq!(
            (status, &problem["errors"][0]["pointer"]),
            (422, &json!("/comment")),
            "the reason is missing: {problem:#}"
        );
        let glass =
            json!({"plan_digest": digest, "break_glass": true, "comment": "The shop is down."});
        let (status, _) = team.ask("dan", "POST", &path, Some(glass)).await;
        assert_eq!(status, 202);
        assert_eq!(team.fixture.process().wait(&id).await["state"], "succeeded");
        let audit = items(&team.fixture.json("/v1/audit?action=job_approved").await);
        assert_eq!(
            (&audit[0]["break_glass"], &audit[0]["comment"]),
            (&json!(true), &json!("The shop is down."))
        );
        team.fixture.end().await;
    });
}

/// Between the plan and the run, AWS changes: fewer changes go on, others wait for another approval.
#[test]
fn a_plan_that_aws_has_outrun_is_put_before_a_person_again() {
    simulate(async {
        let team = Team::of(&[JobKind::Onboard, JobKind::Repair]).await;
        team.onboarded(whole("acme", "shared")).await;
        let host = &team.fixture.host;
        host.make("s3", "delete_bucket_cors", json!({"Bucket": "acme-media"}));
        let (id, approval) = team.request("POST", "/v1/apps/acme/repair", None).await;
        let policy = format!("arn:aws:iam::{}:policy/MediaManagement", host.account());
        let detach = json!({"UserName": "acme", "PolicyArn": policy});
        host.make("iam", "detach_user_policy", detach);
        pause(60).await;
        team.changes_in_aws();

        let (status, _) = team.approve("bob", &id, &approval["plan_digest"]).await;
        assert_eq!(status, 202);
        let job = team.fixture.process().wait(&id).await;
        assert_eq!(job["state"], "awaiting_approval", "{job:#}");
        assert_eq!(team.changes_in_aws(), Vec::<String>::new());
        let again = team.approval(&id).await;
        assert_eq!(again["state"], "pending");
        let added = again["difference"]["added"].to_string();
        assert!(
            added.contains("attach policy") && !added.contains("CORS"),
            "{added}"
        );
        let (status, problem) = team.approve("bob", &id, &approval["plan_digest"]).await;
        assert_eq!((status, &problem["code"]), (409, &json!("plan_changed")));
        assert_eq!(problem["difference"], again["difference"]);

        // Somebody does half of it by hand: fewer changes are left than were approved.
        let attach = json!({"UserName": "acme", "PolicyArn": policy});
        host.make("iam", "attach_user_policy", attach);
        pause(60).await;
        team.changes_in_aws();
        team.agreed(&id).await;
        assert_eq!(team.changes_in_aws(), ["s3:PutBucketCors"]);
        team.fixture.end().await;
    });
}

#[test]
fn of_two_decisions_at_once_one_applies() {
    simulate(async {
        let team = Team::of(&[JobKind::Onboard]).await;
        for (number, second_approves) in [(1, true), (2, false)] {
            let app = format!("acme-{number}");
            let (id, approval) = team.request("POST", "/v1/apps", Some(small(&app))).await;
            let digest = &approval["plan_digest"];
            let second = async {
                match second_approves {
                    true => team.approve("cid", &id, digest).await,
                    false => team.reject("cid", &id).await,
                }
            };
            let (one, other) = tokio::join!(team.approve("bob", &id, digest), second);
            let mut statuses = [one.0, other.0];
            statuses.sort_unstable();
            assert_eq!(statuses, [202, 409], "{one:?} {other:?}");
            let decisions = items(&team.fixture.json(&format!("/v1/audit?job={id}")).await);
            let decided =
                |it: &&Value| it["action"] == "job_approved" || it["action"] == "job_rejected";
            assert_eq!(decisions.iter().filter(decided).count(), 1);
            let job = team.fixture.process().wait(&id).await;
            let approved = team.approval(&id).await["state"] == "approved";
            assert_eq!(job["state"] == "succeeded", approved, "{job:#}");
        }
        team.fixture.end().await;
    });
}

/// The rejected request leaves no trace: neither in AWS nor in the app's record.
#[test]
fn a_rejected_change_is_as_if_it_had_not_been_requested() {
    simulate(async {
        let kinds: Vec<JobKind> = JobKind::iter().collect();
        let team = Team::of(&kinds).await;
        team.onboarded(whole("acme", "shared")).await;
        let key = team.fixture.keys("acme").into_keys().next().unwrap();
        team.fixture.claim("acme", &key).await;
        team.changes_in_aws();
        let before = team.fixture.app("acme").await;
        let update =
            json!({"name": "acme", "media_access": "scoped", "buckets": [], "repositories": []});
        let requests = [
            (
                "PUT",
                "/v1/apps/acme?remove=true&confirm=acme".to_owned(),
                Some(update),
            ),
            ("POST", "/v1/apps/acme/repair".into(), None),
            ("POST", "/v1/apps/acme/credentials/rotate".into(), None),
            (
                "POST",
                format!("/v1/apps/acme/credentials/{key}/deactivate"),
                None,
            ),
            (
                "DELETE",
                "/v1/apps/acme?buckets=acme-media&confirm=acme".into(),
                None,
            ),
        ];
        for (method, path, body) in requests {
            let (id, _) = team.request(method, &path, body.clone()).await;
            let (status, problem) = team.ask("ann", "POST", "/v1/apps/acme/repair", None).await;
            assert_eq!((status, &problem["code"]), (409, &json!("job_active")));
            let (status, job) = team.reject("bob", &id).await;
            assert_eq!(
                (status, &job["state"]),
                (202, &json!("canceled")),
                "{job:#}"
            );
            assert_eq!(job["reason"], "Rejected by bob: Not now.");
            let (status, problem) = team
                .ask("ann", "POST", &format!("/v1/jobs/{id}/retry"), None)
                .await;
            assert_eq!(
                (status, &problem["code"]),
                (409, &json!("not_approved")),
                "{method} {path}"
            );
            let after = team.fixture.app("acme").await;
            for field in ["spec", "state", "removal", "retained"] {
                assert_eq!(after[field], before[field], "{method} {path}: {field}");
            }
            assert_eq!(
                team.fixture.rotation("acme").await,
                Value::Null,
                "{method} {path}"
            );
        }
        pause(2 * LONG).await;
        assert_eq!(team.changes_in_aws(), Vec::<String>::new());
        team.fixture.end().await;
    });
}

#[test]
fn a_rejected_app_is_onboarded_only_with_an_approval_whatever_is_asked_for() {
    simulate(async {
        let team = Team::of(&[JobKind::Onboard]).await;
        let (id, _) = team.request("POST", "/v1/apps", Some(small("acme"))).await;
        assert_eq!(team.reject("bob", &id).await.0, 202);
        for (method, path, body) in [
            ("POST", "/v1/apps/acme/repair", None),
            ("PUT", "/v1/apps/acme", Some(small("acme"))),
            ("POST", "/v1/apps", Some(small("acme"))),
        ] {
            let (id, _) = team.request(method, path, body).await;
            assert_eq!(team.reject("cid", &id).await.0, 202);
        }
        assert_eq!(team.changes_in_aws(), Vec::<String>::new());
        team.onboarded(small("acme")).await;
        team.fixture.sound("acme").await;
        team.fixture.end().await;
    });
}

#[test]
fn an_approval_expires_and_a_request_can_be_withdrawn() {
    simulate(async {
        let team = Team::with(Options::default(), |host| {
            host.settings.approvals.job_kinds = vec![JobKind::Onboard];
            host.settings.approvals.expires_after = Duration::from_secs(LONG);
        })
        .await;
        let (old, approval) = team.request("POST", "/v1/apps", Some(small("acme"))).await;
        let (withdrawn, _) = team.request("POST", "/v1/apps", Some(small("beta"))).await;
        let cancel = format!("/v1/jobs/{withdrawn}/cancel");
        assert_eq!(team.ask("ann", "POST", &cancel, None).await.0, 202);
        assert_eq!(team.approval(&withdrawn).await["state"], "canceled");
        pause(2 * LONG).await;
        let job = team.fixture.json(&format!("/v1/jobs/{old}")).await;
        assert_eq!(
            (&job["state"], &job["reason"]),
            (
                &json!("canceled"),
                &json!("Nobody approved the plan in time.")
            )
        );
        assert_eq!(team.approval(&old).await["state"], "expired");
        let (status, problem) = team.approve("bob", &old, &approval["plan_digest"]).await;
        assert_eq!(
            (status, &problem["code"]),
            (409, &json!("not_awaiting_approval"))
        );
        assert_eq!(
            items(&team.fixture.json("/v1/approvals").await),
            Vec::<Value>::new()
        );
        assert_eq!(team.changes_in_aws(), Vec::<String>::new());
        team.fixture.end().await;
    });
}

/// The quarantine of a removal begins with its approval, not with its request.
#[test]
fn an_approved_removal_has_its_whole_quarantine() {
    simulate(async {
        let team = Team::with(Options::default(), |host| {
            host.settings.approvals.data_deletion = true;
            host.settings.quarantine = Duration::from_secs(LONG);
        })
        .await;
        team.onboarded(whole("acme", "shared")).await;
        let path = "/v1/apps/acme?buckets=acme-media&confirm=acme";
        let (id, approval) = team.request("DELETE", path, None).await;
        assert_eq!(approval["reasons"], json!(["data_deletion"]));
        let told = approval["warnings"].to_string();
        assert!(
            told.contains("After the quarantine: delete bucket acme-media"),
            "{told}"
        );
        pause(2 * LONG).await;
        assert_eq!(team.fixture.app("acme").await["state"], "ready");
        team.agreed(&id).await;
        pause(LONG / 2).await;
        assert_eq!(team.fixture.app("acme").await["state"], "quarantined");
        pause(LONG).await;
        team.fixture.settled("acme").await;
        assert_eq!(team.fixture.app("acme").await["state"], "removed");
        team.fixture.end().await;
    });
}

/// The process is lost at each call of an approved job: the next one goes on by the same approval.
#[test]
fn an_approved_job_goes_on_after_its_process_is_lost() {
    for nth in [0, 1, 2, 4] {
        simulate(async move {
            let consistency = Consistency::as_aws_documents();
            let options = Options {
                consistency,
                seed: nth,
                ..slow()
            };
            let mut team = Team::with(options, |host| {
                host.settings.approvals.accounts = [AccountName::parse("default").unwrap()].into();
            })
            .await;
            let call = [
                "iam:CreateUser",
                "iam:CreateAccessKey",
                "iam:AttachUserPolicy",
                "s3:PutBucketCors",
                "ecr:CreateRepository",
            ][nth as usize];
            let (id, approval) = team
                .request("POST", "/v1/apps", Some(whole("acme", "scoped")))
                .await;
            assert_eq!(approval["reasons"], json!(["account"]));
            let (status, _) = team.approve("bob", &id, &approval["plan_digest"]).await;
            assert_eq!(status, 202);
            team.fixture.killed_at(call, 0).await;
            let job = team.fixture.process().wait(&id).await;
            assert_eq!(job["state"], "succeeded", "{call}: {job:#}");
            team.fixture.end().await;
        });
    }
}

#[test]
fn an_adoption_needs_an_approval_where_the_settings_say_so() {
    simulate(async {
        let team = Team::with(Options::default(), |host| {
            host.settings.approvals.adoption = true;
        })
        .await;
        team.fixture.host.make(
            "iam",
            "create_user",
            json!({"UserName": "acme", "Path": "/apps/"}),
        );
        let mut body = small("acme");
        body["on_existing"] = json!("adopt");
        let (id, approval) = team.request("POST", "/v1/apps", Some(body)).await;
        assert_eq!(approval["reasons"], json!(["adoption"]));
        team.agreed(&id).await;
        // Without adoption there is nothing to approve.
        let (status, job) = team
            .ask("ann", "POST", "/v1/apps", Some(small("beta")))
            .await;
        assert_eq!((status, &job["state"]), (202, &json!("queued")));
        team.fixture.end().await;
    });
}

/// While AWS cannot be asked, no plan can be put before anybody.
#[test]
fn without_a_plan_there_is_nothing_to_approve() {
    simulate(async {
        let team = Team::of(&[JobKind::Repair]).await;
        team.onboarded(small("acme")).await;
        let throttled = |_: &Call| Some(Fault::Throttled);
        team.fixture.host.break_by(throttled);
        let (status, problem) = team.ask("ann", "POST", "/v1/apps/acme/repair", None).await;
        assert!(
            status >= 500 && problem["retryable"] == true,
            "{status} {problem:#}"
        );
        team.fixture.host.break_by(|_| None);
        pause(60).await;
        let (id, _) = team.request("POST", "/v1/apps/acme/repair", None).await;
        team.agreed(&id).await;
        team.fixture.end().await;
    });
}
